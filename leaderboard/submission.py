"""Assembles a submission: records as claims, pictures, plug-ins' source, and a checklist."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from splitsec.errors import DataError, PluginError, UsageError
from splitsec.escaping import for_markdown, for_markdown_code, one_line
from splitsec.files import write_bytes, write_text
from splitsec.leaderboard.web.publication import command, publish, without_folders
from splitsec.plugins.loading import Plugin, is_builtin, load_plugin
from splitsec.plugins.names import KINDS, Kind, path_of, plain_name
from splitsec.plugins.source_code import source_files, source_sha256
from splitsec.records.official import SUBMISSION
from splitsec.records.record import FLAGS, PROTOCOL_VERSION, Evidence, Record
from splitsec.records.store import StoredRecord
from splitsec.records.wording import flags_of, threat_in_words
from splitsec.running.verification import locate


class SubmittedPlugin(NamedTuple):
    """A plug-in that is not built in, and the path of its source in the submission."""

    plugin: Plugin
    name: str
    path: str

    @property
    def spec(self) -> str:
        """Its path relative to the submission's folder."""
        return f"{self.path}:{self.plugin.cls.__name__}"


def assemble(found: Sequence[StoredRecord], folder: Path, given: Mapping[str, str]) -> Path:
    """Write a submission into a new folder.

    Args:
        found: records with their folders.
        folder: folder to create; its name is the submission's.
        given: plain name to the path of a plug-in whose source is not at the record's path.

    Returns:
        The checklist.

    Raises:
        UsageError: the folder is in use.
        DataError: the records cannot be submitted together, none is ok, or a source has changed.
        OutputError: the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--output {folder} is in use; name a new folder")
    records = [one.record for one in found]
    check(records)
    submitted = find_sources(found, given)
    for mine in submitted.values():
        source = Path(mine.plugin.source)
        for name, content in source_files(source).items():
            inside = Path(name).relative_to(source.name)
            write_bytes(folder / mine.path / inside, content)
    for one in found:
        claim = _claim(one.record, submitted, folder.absolute().name)
        publish(StoredRecord(claim, one.folder), folder / "records")
    text = render(folder.absolute().name, records, list(submitted.values()))
    write_text(folder / SUBMISSION, text)
    return folder / SUBMISSION


def check(records: Sequence[Record]) -> None:
    """Raise a DataError if records cannot be submitted together."""
    if all(record.status != "ok" for record in records):
        reason = next((record.reason for record in records if record.reason), "no reason was given")
        raise DataError(
            f"nothing to submit: none of {len(records)} cells is ok (the first: {reason})"
        )
    protocols = sorted({record.protocol for record in records})
    if protocols != [PROTOCOL_VERSION]:
        raise DataError(
            f"these records use protocol {' and '.join(map(str, protocols))}, and this splitsec "
            f"uses protocol {PROTOCOL_VERSION}; run the older cells again"
        )
    profiles = sorted({record.spec.profile for record in records})
    if len(profiles) > 1:
        raise DataError(
            f"these records use the profiles {' and '.join(profiles)}, which are never ranked "
            "together; submit each on its own"
        )


def find_sources(
    found: Sequence[StoredRecord], given: Mapping[str, str]
) -> dict[tuple[Kind, str], SubmittedPlugin]:
    """Return the plug-ins that are not built in, with the source that made the records.

    Raises:
        DataError: a source differs from a record's, or records have several versions.
        UsageError: a source is not at the record's path.
        PluginError: a plug-in cannot be loaded.
    """
    submitted: dict[tuple[Kind, str], SubmittedPlugin] = {}
    known: dict[tuple[Kind, str], str] = {}
    for kind, one in itertools.product(KINDS, found):
        name, record = getattr(one.record.spec, kind), one.record
        label = f"{kind} {name!r}"
        said = record.provenance.plugins.get(kind)
        if said is None:
            raise DataError(f"{record.spec.title()}: it does not tell the source of its {label}")
        digest = known.setdefault((kind, name), said["sha256"])
        if digest != said["sha256"]:
            raise DataError(
                f"these records are of two versions of {label}; run the cells of the older one "
                "again"
            )
        if (kind, name) in submitted:
            continue
        spec = locate(kind, record, one.folder, given)
        path = path_of(spec)
        here = source_sha256(path.path) if path else load_plugin(kind, spec).sha256
        if here != digest:
            raise DataError(
                f"the source of {label} is no longer the one of the records (SHA-256 {here[:10]}, "
                f"not {digest[:10]}); run the cells again, or restore it"
            )
        plugin = load_plugin(kind, spec)
        if not is_builtin(kind, spec):
            _check_alone(plugin)
            taken = {other.path: other.plugin.source for other in submitted.values()}
            submitted[kind, name] = SubmittedPlugin(plugin, name, _path_of(plugin, taken))
    return submitted


def _check_alone(plugin: Plugin) -> None:
    """Raise a DataError unless a plug-in's source works by its path, as in a submission."""
    if plugin.spec != plugin.name:  # it was named by its path
        return
    try:
        load_plugin(plugin.kind, f"{plugin.source}:{plugin.cls.__name__}")
    except UsageError:
        return  # its file has the name of a built-in one, and gets another in the submission
    except PluginError as error:
        raise DataError(
            f"{plugin.label} works only where its package is installed, so nobody could run the "
            f"submission: {error}; its package must offer the class in __init__.py, and import "
            "its own modules by relative imports"
        ) from None


def _path_of(plugin: Plugin, taken: Mapping[str, str]) -> str:
    """Return a plug-in's path in the submission, which no other source has.

    Args:
        plugin: the plug-in.
        taken: paths of other plug-ins to their sources.
    """
    source = Path(plugin.source)
    place = f"./plugins/{plugin.kind}/{source.name}"
    if is_builtin(plugin.kind, plain_name(place)) or taken.get(place, plugin.source) != str(source):
        return (
            f"./plugins/{plugin.kind}/{re.sub(r'[^0-9A-Za-z]+', '_', plugin.name)}{source.suffix}"
        )
    return place


def _claim(
    record: Record, submitted: Mapping[tuple[Kind, str], SubmittedPlugin], claimant: str
) -> Record:
    """Return a record as a claim with paths to the plug-ins in the submission."""
    plugins = {kind: dict(said) for kind, said in record.provenance.plugins.items()}
    for (kind, name), one in submitted.items():
        if getattr(record.spec, kind) == name:
            plugins[kind] |= {"spec": one.spec, "source": one.path}
    provenance = record.provenance.model_copy(update={"plugins": plugins})
    evidence = Evidence(origin="claimed", claimant=claimant)
    return record.model_copy(update={"provenance": provenance, "evidence": evidence})


def render(name: str, records: Sequence[Record], submitted: Sequence[SubmittedPlugin]) -> str:
    """Return the checklist.

    Args:
        name: name of the submission.
        records: all its records.
        submitted: the plug-ins that are not built in.
    """
    environment = Environment(
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_as_markdown,
    )
    environment.filters["code"] = lambda text: Markup(for_markdown_code(without_folders(text)))
    environment.globals["box"] = lambda ticked: "x" if ticked else " "
    template = resources.files("splitsec.leaderboard").joinpath("submission.md.j2")
    facts = _facts(records)
    example = next(record for record in records if record.status == "ok")
    again = command(_claim(example, {(one.plugin.kind, one.name): one for one in submitted}, name))
    labels = [f"the {one.plugin.kind} {one.name}" for one in submitted]
    attacks = sorted({one.spec.attack for one in records} - {"none"})
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        name=name,
        what=f"A submission of {' and '.join(labels)}."
        if labels
        else f"A submission of results of {', '.join(attacks) or 'utility alone'}.",
        plugins=[
            {
                "kind": one.plugin.kind,
                "name": one.name,
                "path": one.path,
                "check": shlex.join(["splitsec", "check", one.plugin.kind, one.spec]),
                "sha256": one.plugin.sha256,
                "summary": (one.plugin.cls.__doc__ or "").strip().partition("\n")[0],
                "parameters": sorted(
                    {
                        json.dumps(record.spec.parameters[one.plugin.kind])
                        for record in records
                        if getattr(record.spec, one.plugin.kind) == one.name
                    }
                ),
            }
            for one in submitted
        ],
        command=Markup(one_line(without_folders(shlex.join(again)))) if again else None,
        renamed=any("/" in getattr(example.spec, kind) for kind in KINDS),
        **facts,
    )


def _as_markdown(value: Any) -> Any:
    """Return what the template puts into the checklist, escaped unless it is markup of ours."""
    return value if isinstance(value, Markup) else for_markdown(without_folders(value))


def _facts(records: Sequence[Record]) -> dict[str, Any]:
    """Return the checklist's facts about records."""
    threats = {
        one.spec.attack: threat_in_words(one, one.threat_model)
        for one in records
        if one.status == "ok" and one.threat_model is not None and one.spec.attack != "none"
    }
    counts = Counter(flag for one in records for flag in flags_of(one))
    statuses = Counter(one.status for one in records)
    about = [one.provenance for one in records]
    return {
        "threats": threats or {"none": "no attack is mounted; these cells measure utility."},
        "axes": _axes(records),
        "statuses": ", ".join(f"{count} {status}" for status, count in statuses.items()),
        "failed": len(records) - statuses["ok"] - statuses["skipped"],
        "flags": [
            f"{flag} in {count} of {len(records)} cells: {FLAGS.get(flag, 'unknown')}"
            for flag, count in counts.items()
        ],
        "versions": sorted({one.packages.get("splitsec", "unknown") for one in about}),
        "commits": sorted({one.commit[:10] for one in about if one.commit}),
        "machines": sorted(
            {
                f"{one.processor or one.platform}, {one.threads} threads, Python "
                f"{one.python}, torch {one.packages.get('torch')}"
                for one in about
            }
        ),
        "dirty": sum(bool(one.dirty) for one in about),
        "seeds": len({one.spec.seed for one in records}),
        "control": _without_control(records),
        "missing": _missing(records),
    }


def _place(record: Record) -> tuple[str, str, str, str]:
    """Return a cell's attack, defense, target and data, each with its parameters."""
    spec = record.spec

    def named(kind: str) -> str:
        given = spec.parameters.get(kind, {})
        return f"{getattr(spec, kind)}{json.dumps(given, sort_keys=True) if given else ''}"

    return (
        named("attack"),
        named("defense"),
        f"{named('target')} cut {spec.cut_name}",
        f"{named('data')} at {spec.size} px",
    )


def _axes(records: Sequence[Record]) -> dict[str, list[str]]:
    specs = [one.spec for one in records]
    return {
        "attacks": sorted({spec.attack for spec in specs}),
        "defenses": sorted({spec.defense for spec in specs}),
        "targets": sorted({f"{spec.target} cut {spec.cut_name}" for spec in specs}),
        "data": sorted({f"{spec.data} at {spec.size} px" for spec in specs}),
        "profile": sorted({spec.profile for spec in specs}),
        "seeds": [str(seed) for seed in sorted({spec.seed for spec in specs})],
    }


def _without_control(records: Sequence[Record]) -> str | None:
    """Return which attack has no undefended cell in some setting and seed, or None."""
    there = {
        (_place(one)[0], *_place(one)[2:], one.spec.seed)
        for one in records
        if one.spec.defense == "none" and one.status == "ok"
    }
    wanted = {
        (_place(one)[0], *_place(one)[2:], one.spec.seed)
        for one in records
        if one.spec.attack != "none" and one.status != "skipped"
    }
    short = sorted(wanted - there, key=str)
    if not short:
        return None
    attack, target, data, seed = short[0]
    return f"{len(short)} are missing, such as {attack} on {target}, {data}, seed {seed}."


def _missing(records: Sequence[Record]) -> str | None:
    """Return how many cells are missing from the grid of all varied axes, or None."""
    there = {(*_place(one), one.spec.seed) for one in records}
    axes = [sorted(set(values), key=str) for values in zip(*there, strict=True)]
    wanted = list(itertools.product(*axes))
    short = [cell for cell in wanted if cell not in there]
    if not short:
        return None
    attack, defense, target, data, seed = short[0]
    return (
        f"{len(there)} of {len(wanted)} cells are there; missing, for example: {attack} against "
        f"{defense} on {target}, {data}, seed {seed}."
    )
