"""Verifies records that somebody else made, by running their cells again.

The first step needs no run: it checks that a record is intact and that it describes the same cell
as here. If a source, the images or the protocol differ, the cell differs too, and running it would
say nothing about the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from splitsec.data.loading import ImageHashes
from splitsec.errors import DataError, SplitsecError, UsageError
from splitsec.isolation import Isolation
from splitsec.plugins.loading import existing_path, load_plugin
from splitsec.plugins.names import KINDS, METHODS, Kind, path_of
from splitsec.plugins.source_code import source_sha256
from splitsec.records.agreement import Comparison
from splitsec.records.cell_progress import CellProgress
from splitsec.records.finding import read_each
from splitsec.records.official import submission_of
from splitsec.records.per_image import load_per_image
from splitsec.records.record import PROTOCOL_VERSION, Record

if TYPE_CHECKING:
    from splitsec.cells.cell import Cell


@dataclass
class ClaimedRecord:
    """A claimed record and the results of checking it.

    Attributes:
        where: its file, and the line of a ``.jsonl`` file.
        folder: folder that its paths are relative to; None for a line of a ``.jsonl`` file.
        record: the record; None if it could not be read.
        problems: reasons why its cell is not run again, one sentence each.
        notes: further sentences for the reader.
        cell: the cell, once it is known to be the same.
        rerun: the record of the new run.
        comparison: comparison of both records.
    """

    where: str
    folder: Path | None
    record: Record | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cell: Cell | None = None
    rerun: Record | None = None
    comparison: Comparison | None = None

    @property
    def outcome(self) -> str:
        """The verdict in words."""
        if self.problems:
            return "could not be run"
        return "not run" if self.comparison is None else self.comparison.agreement

    @property
    def agrees(self) -> bool:
        """Whether no check contradicts the record."""
        return self.outcome not in ("could not be run", "differs")


def read_claims(paths: Iterable[Path]) -> list[ClaimedRecord]:
    """Read records one by one; an invalid record becomes a claim with a problem.

    Args:
        paths: folders, ``record.json`` or ``.jsonl`` files.

    Raises:
        DataError: there is no record at a path.
    """
    return [
        ClaimedRecord(
            found.where, found.folder, found.record, [found.problem] if found.problem else []
        )
        for path in paths
        for found in read_each(path)
    ]


class Checker:
    """Compares records with the sources and images on this machine, without running a cell.

    Args:
        plugins: plain name to the path or name of the plug-in to use for it.
        progress: receives progress reports while images are decoded.
        isolation: how attacks are isolated; those that are not built in are then not loaded here.
    """

    def __init__(
        self,
        plugins: Mapping[str, str],
        progress: CellProgress,
        isolation: Isolation | None = None,
    ) -> None:
        self._plugins = plugins
        self._isolation = isolation
        self._images = ImageHashes(progress)

    def check(self, claim: ClaimedRecord) -> None:
        """Add to a claim its problems, or else its cell."""
        record = claim.record
        if record is None:
            return
        if record.protocol != PROTOCOL_VERSION:
            claim.problems.append(
                f"it uses protocol {record.protocol}, and this splitsec uses protocol "
                f"{PROTOCOL_VERSION}, which gives the same cell other numbers"
            )
        if record.evidence.origin != "claimed" and claim.folder and submission_of(claim.folder):
            claim.problems.append(
                "it is in a submission and does not say that it is a claim; assemble the folder "
                "with splitsec submit"
            )
        try:
            if record.folder is not None:  # a line of JSON has no file of values
                load_per_image(record)
        except DataError as error:
            claim.problems.append(str(error))
        beside = self._isolation is not None and self._isolation.sandbox
        problems = unvouched(record, self._plugins) if beside else []
        claim.problems += problems
        specs = None if problems else self._find_plugins(claim, record)
        if specs is None:
            return
        try:
            self._resolve(claim, record, specs)
        except SplitsecError as error:
            claim.problems.append(str(error))

    def _find_plugins(self, claim: ClaimedRecord, record: Record) -> dict[Kind, str] | None:
        """Return kind to its plug-in's name or path here; None if one differs or is missing.

        A plug-in that is named by a path is imported only after its source has been compared.
        """
        from splitsec.cells.configured import is_apart

        specs: dict[Kind, str] = {}
        for kind in METHODS:
            label = f"{kind} {getattr(record.spec, kind)!r}"
            said = record.provenance.plugins.get(kind, {})
            if not {"spec", "sha256"} <= set(said):
                claim.problems.append(f"it does not tell the source of its {label}")
                continue
            try:
                spec = locate(kind, record, claim.folder, self._plugins)
                found = existing_path(kind, spec)
                if found is None and is_apart(kind, spec, self._isolation):
                    specs[kind] = spec  # not imported here; the cell id covers its source
                    continue
                here = source_sha256(found.path) if found else load_plugin(kind, spec).sha256
            except (SplitsecError, OSError) as error:
                claim.problems.append(str(error))
                continue
            if here != said["sha256"]:
                claim.problems.append(
                    f"the source of {label} here is not the record's (SHA-256 {here[:10]}, not "
                    f"{said['sha256'][:10]}): it is another cell"
                )
                continue
            specs[kind] = spec
        if len(specs) < len(METHODS):
            return None
        try:
            specs["data"] = self._find_data(claim, record)
        except (SplitsecError, OSError) as error:
            claim.problems.append(str(error))
            return None
        return specs

    def _find_data(self, claim: ClaimedRecord, record: Record) -> str:
        """Return the name or path of a record's data set here.

        The images count, not the code that made them; but code that is named by a path is imported
        only if its hash is the record's.
        """
        said = record.provenance.plugins.get("data")
        if said is None:
            return record.spec.data
        spec = locate("data", record, claim.folder, self._plugins)
        found = existing_path("data", spec)
        named = record.spec.data in self._plugins
        if found and not named and source_sha256(found.path) != said.get("sha256"):
            raise UsageError(
                f"the source of data {record.spec.data!r} here is not the record's; name it with "
                f"--plugin {record.spec.data}={found.path} if it is to be taken"
            )
        return spec

    def _resolve(self, claim: ClaimedRecord, record: Record, specs: dict[Kind, str]) -> None:
        """Set a claim's cell, if it is the cell that the record describes.

        Raises:
            SplitsecError: the cell or its images are not available here.
        """
        from splitsec.cells.provenance import core_sha256
        from splitsec.cells.transport import build_again

        cell = build_again(record.spec, specs, self._isolation)
        images = self._images.of(cell.data_spec())
        said = record.data.get("sha256")
        if images != said:
            claim.problems.append(
                f"the images of {record.spec.data} here are not the record's (SHA-256 "
                f"{images[:10]}, not {str(said)[:10]}): it is another cell"
            )
        core = record.provenance.core
        if core is not None and core != core_sha256():
            claim.notes.append(
                f"splitsec's own source here is not the record's (SHA-256 {core_sha256()[:10]}, "
                f"not {core[:10]})"
            )
        if not claim.problems and cell.cell_id(images) != record.cell_id:
            claim.problems.append(
                "its cell id does not match its specification, sources and images: it was changed, "
                "or it was made by a splitsec with other layers, networks, inversion or members of "
                "an ensemble"
            )
        if not claim.problems:
            claim.cell = cell


def unvouched(record: Record, given: Mapping[str, str]) -> list[str]:
    """Return which strangers' code would run where the scores are made, in a sentence each.

    The scorer has the target's server and decodes the images, so the code of both is in its
    process, sandbox or not. Whoever names its source has read it.

    Args:
        record: any record.
        given: plain name to the path or name of the plug-in to use for it.
    """
    beside: tuple[Kind, ...] = ("target", "data")
    found = []
    for kind in beside:
        name = getattr(record.spec, kind)
        if name not in given and path_of(record.provenance.plugins.get(kind, {}).get("spec", "")):
            found.append(
                f"{kind} {name!r} is not built in, so its code runs where the scores are made; "
                f"read it, then name it with --plugin {name}=PATH"
            )
    return found


def locate(kind: Kind, record: Record, folder: Path | None, given: Mapping[str, str]) -> str:
    """Return the name or path of a record's plug-in on this machine.

    Args:
        kind: which of its plug-ins.
        record: has the name or path that the original run used.
        folder: the record's folder; a path is searched there, above it, and in the working folder.
        given: plain name to the path or name of the plug-in to use for it.

    Raises:
        UsageError: the plug-in is named by a path, and no such file exists.
    """
    name = getattr(record.spec, kind)
    recorded = record.provenance.plugins[kind]["spec"]
    path = path_of(recorded)
    if name in given:
        found = path_of(given[name])
        if found is None:
            return given[name]
        return found._replace(cls=found.cls or (path.cls if path else None)).below(Path.cwd())
    if path is None:
        return recorded
    folders = [] if folder is None else [folder.absolute(), *folder.absolute().parents]
    for place in (*folders, Path.cwd()):
        if (place / path.path).exists():
            return path.below(place)
    raise UsageError(
        f"{kind} {name!r} came from {path.path}, which is not here; say where its source is "
        f"with --plugin {name}=PATH"
    )


def sources_of(claims: Iterable[ClaimedRecord], given: Mapping[str, str]) -> set[Path]:
    """Return the files and folders that records name as plug-ins, without importing them.

    A record can name any path, so a file counts only if its hash is the record's or if the path
    was given here.
    """
    found = {known.path for spec in given.values() if (known := path_of(spec)) is not None}
    for claim in claims:
        said = {} if claim.record is None else claim.record.provenance.plugins
        for kind in KINDS:
            try:
                if claim.record is not None and "spec" in said.get(kind, {}):
                    here = existing_path(kind, locate(kind, claim.record, claim.folder, given))
                    if here and source_sha256(here.path) == said[kind].get("sha256"):
                        found.add(here.path)
            except (SplitsecError, OSError):
                continue  # the check of the claim reports it
    return found


def parse_plugins(texts: Sequence[str]) -> dict[str, str]:
    """Read options such as ``my-attack=./my_attack.py``.

    Raises:
        UsageError: an option is malformed.
    """
    found = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not (name and path):
            raise UsageError(f"--plugin {text!r} is not of the form my-attack=./my_attack.py")
        found[name] = path
    return found


def sample_of(claims: Sequence[ClaimedRecord], count: int, seed: int) -> list[ClaimedRecord]:
    """Choose claims whose cells can run, at random but the same for the same seed.

    Claims with the status ``"ok"`` come before others.
    """
    from splitsec.randomness import numpy_generator

    able = [claim for claim in claims if claim.cell is not None]
    order = numpy_generator("sample", seed=seed).permutation(len(able)).tolist()
    mixed = [able[place] for place in order]
    mixed.sort(key=lambda claim: claim.record is None or claim.record.status != "ok")
    return mixed[:count]
