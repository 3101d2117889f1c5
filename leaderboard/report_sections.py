"""The sections of a report after its verdict: who attacked, what is sure, what was not tested."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from splitsec.leaderboard.report_rows import ReportRow
from splitsec.leaderboard.web.publication import command
from splitsec.records.record import FLAGS, INVALIDATING, LABELS_SHARED, Record
from splitsec.records.spec import RECORDED, CellSpec, value_in_words
from splitsec.records.store import StoredRecord
from splitsec.records.wording import (
    LABEL_SOURCES,
    flags_of,
    labels_in_words,
    linear_in_words,
    threat_in_words,
)

_FLAGS = {
    "oracle-access": "the attack could ask the client about images of its own, as somebody with an "
    "account there could; what a server recovers that only listens was not measured here",
    "attack-not-converged": "an attack was still getting better when it ended; a longer one would "
    "recover more",
    "in-process": "attack and images shared one process; only the attack's interface kept them "
    "apart (--isolate for an attack that you have not read)",
}
"""Flags in the words of a report, where those of a summary say too little."""


def attackers(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Yield the name of each attack and, in words, what kind of server it was."""
    for one in records:
        if one.threat_model is not None:
            yield one.spec.named("attack"), threat_in_words(one, one.threat_model)


def labels(rows: Sequence[ReportRow]) -> Iterator[str]:
    """Yield what the server knows of the diagnoses, for each way."""
    for row in rows:
        record = row.example.record
        if record.labels_shared():
            yield f"In this set-up {FLAGS[LABELS_SHARED]}."
            continue
        answers = record.labels and record.labels.held_out.get("outputs")
        best = record.labels and record.labels.best()
        if answers and best:
            source, score = best
            better = "" if source == "outputs" else f"; {LABEL_SOURCES[source]} tell more"
            yield (
                f"{first_upper(way_in_words(row))}: the server ends the network, so it computes "
                f"the model's answer for every image ({row.measure} {answers.score:.2f}){better}. "
                f"At best it tells diagnoses with {row.measure} {score.score:.2f}."
            )
        else:
            says = labels_in_words(record)
            if says:
                yield f"{first_upper(way_in_words(row))}: {says}"


def model_facts(row: ReportRow, rows: Sequence[ReportRow]) -> Iterator[tuple[str, str]]:
    """Yield what is known of the model, as lines of a table."""
    record = row.example.record
    spec = record.spec
    given = spec.parameters.get("target", {})
    yield "Model", model_name(record)
    yield "Cuts", ", ".join(dict.fromkeys(one.cut for one in rows))
    if spec.training.mode == "inference":
        yield "Use", "as it is: nothing was trained, and each image was sent once"
    elif spec.training.mode == "replay":
        yield "Use", "recorded elsewhere: what was sent of each image was replayed"
    elif given.get("weights"):
        yield "Use", f"trained on from the given weights, {spec.training.epochs} epochs"
    else:
        yield "Use", f"trained here from random weights, {spec.training.epochs} epochs"
    yield (
        "Images",
        f"{spec.size} x {spec.size} pixels, {'grey' if spec.channels == 1 else 'colour'}",
    )
    if given.get("normalise"):
        yield "Normalised", f"{given['normalise']}, by the client"
    if spec.clients > 1:
        yield "Clients", str(spec.clients)
    linear = linear_in_words(record)
    if linear:
        yield "Beside simple models", linear


def data_facts(record: Record) -> Iterator[tuple[str, str]]:
    """Yield what is known of the images, as lines of a table."""
    spec = record.spec
    yield "Data set", data_name(spec)
    classes = record.data.get("classes") or []
    if classes:
        order = ", ".join(f"{index} is {name!r}" for index, name in enumerate(classes))
        yield "The model's outputs", f"output {order}"
    yield (
        "Divided into",
        f"{spec.private} private images of the clients, {spec.public} of the attacker's own, "
        f"{spec.validation} for validation, {spec.held_out} held out",
    )
    for part, counts in record.data.get("balance", {}).items():
        yield (
            f"Classes, {part}",
            ", ".join(f"{count} of {name!r}" for name, count in counts.items()),
        )
    for said in record.data.get("disclosures", []):
        yield "To know", said


def certainty(rows: Sequence[ReportRow], found: Sequence[StoredRecord]) -> Iterator[str]:
    """Yield what limits the certainty of the figures."""
    seeds = min(row.seeds for row in rows)
    if seeds < 3:
        yield (
            f"{seeds} run{'s' if seeds > 1 else ''} of each: intervals are over images alone, and "
            "say nothing of another training. Run again with --seeds 3 or more."
        )
    else:
        yield f"{seeds} runs of each: intervals are over runs and images."
    failed = [one.record for one in found if one.record.status != "ok"]
    for one in failed:
        yield f"No result ({one.status}): {one.spec.brief()}: {one.reason}"
    flags = {flag for row in rows for one in row.records for flag in flags_of(one)}
    for flag in FLAGS:
        if flag in flags and flag != LABELS_SHARED:
            said = _FLAGS.get(flag, FLAGS[flag])
            if flag in INVALIDATING:
                yield f"These figures cannot be relied on: {said}."
            else:
                yield f"{first_upper(said)}."
    yield from dict.fromkeys(note for row in rows for one in row.records for note in one.notes)


def untested(records: Sequence[Record]) -> Iterator[str]:
    """Yield what these records say nothing of."""
    threats = [one.threat_model for one in records if one.threat_model is not None]
    inference = not any(one.spec.training.trains for one in records)
    if not any(one.active for one in threats) and not inference:
        yield "A malicious server, which steers the training (--attack strongest:server=malicious)."
    recorded = all(one.spec.target == RECORDED for one in records)
    if not any(one.queries for one in threats) and not recorded:
        yield (
            "A server that can also ask the client's part of the model about images of its own "
            "(--attack strongest)."
        )
    if all(one.oracle for one in threats):
        yield "A server that only listens (--attack strongest:server=listening)."
    sizes = sorted({one.spec.size for one in records})
    yield f"Images of other sizes than {', '.join(map(str, sizes))} pixels."
    if {one.spec.defense for one in records} == {"none"} and not recorded:
        such = "gaussian-noise" if inference else "dcor"
        yield f"Protections: none was tried (--defense none,{such})."
    yield (
        "Attacks that nobody has published yet, and attackers with images of the same patients. A "
        "low figure is no proof of safety."
    )
    yield (
        "Whether a patient took part in the training, what else than the image the data tell of a "
        "patient, and the security of the machines and the network."
    )


def model_name(record: Record) -> str:
    """Return what a person calls the model; a whole network by its own name."""
    spec = record.spec
    given = spec.parameters.get("target", {})
    if spec.target == RECORDED:
        return "recorded traffic"
    if given.get("model"):
        return f"{spec.target} {given['model']}"
    asked = record.provenance.plugins.get("target", {}).get("spec", "")
    return value_in_words(asked) if asked and "at" in given else spec.named("target")


def data_name(spec: CellSpec) -> str:
    """Return what a person calls the images."""
    if spec.target == RECORDED:
        return "images that were sent"
    path = spec.parameters.get("data", {}).get("path")
    return f"{spec.data} {value_in_words(path)}" if path else spec.named("data")


def command_of(record: Record) -> str:
    """Return the command that ran a record, or one that runs its cell again."""
    words = record.provenance.command
    return shlex.join(words if words[:1] == ["splitsec"] else command(record))


def versions(records: Sequence[Record]) -> str:
    """Return what ran the cells."""
    packages = records[0].provenance.packages
    about = records[0].provenance
    ran = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"{ran}; Python {about.python}, {about.device}, {about.platform}"


def first_upper(text: str) -> str:
    """Return a sentence's beginning."""
    return text[:1].upper() + text[1:]


def way_in_words(row: ReportRow) -> str:
    """Return the defense and the cut of a row."""
    if row.example.record.spec.target == RECORDED:
        return "as it was recorded" if row.undefended else f"recorded, then {row.defense}"
    behind = "without protection" if row.undefended else f"behind {row.defense}"
    return f"{behind} at the cut {row.cut}"
