"""Prints a record in words and tables, for a person who has to decide something.

The summary fits in 80 columns and does not rely on colour alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from splitsec.escaping import one_line, short_name
from splitsec.metrics.figures import Estimate
from splitsec.metrics.schema import VictimScores
from splitsec.records.artifacts import artifact
from splitsec.records.members import MemberScores
from splitsec.records.record import INVALIDATING, Record
from splitsec.records.wording import (
    LABEL_SOURCES,
    MISSING,
    best_guess,
    flag_in_words,
    flags_of,
    headline,
    labels_in_words,
    linear_in_words,
    measures,
    short_number,
    threat_in_words,
    with_interval,
)

_FRAME = 6  # columns of a terminal for the frame of a title

_VICTIMS = {
    "training": "training images, from what was sent during the session",
    "held_out": "held-out images, which trained nothing",
}
_COLUMNS = {"training": "training", "held_out": "held-out"}


def print_summary(record: Record, console: Console, folder: Path | None = None) -> None:
    """Print a record's summary.

    Args:
        record: any record, including failed ones.
        console: the console to print on.
        folder: folder of the record and its pictures, if known.
    """
    title = Text(record.spec.title(), style="bold")
    fits = len(title) <= console.width - _FRAME
    if not fits:
        console.print(title)
    console.print(
        Panel(Text(one_line(headline(record))), title=title if fits else None, box=box.ROUNDED)
    )
    if record.victims is not None:
        sets = _victim_sets(record)
        _print_recovered(sets, console)
    if record.members:
        _print_members(record, console)
    if record.victims is not None:
        _print_labels(record, console)
        _print_yardsticks(record, console)
    if record.utility is not None:
        _print_utility(record, console)
    if record.threat_model is not None:
        _heading("What the server was", console)
        _say(threat_in_words(record, record.threat_model), console)
    flags = flags_of(record)
    if flags or record.notes or record.data.get("disclosures"):
        _heading("What to know before relying on this", console)
        for flag in flags:
            mark = "INVALID, not to be ranked" if flag in INVALIDATING else "flag"
            _say(f"- {mark}: {flag_in_words(flag, record)} [{flag}]", console)
        for sentence in [*record.notes, *record.data.get("disclosures", [])]:
            _say(f"- note: {sentence}", console)
    _print_files(record, console, folder)


def print_brief(record: Record, console: Console) -> None:
    """Print what a cell is and its headline."""
    console.print(Text(record.spec.brief(), style="bold"))
    _say(headline(record), console)
    console.print()


def _victim_sets(record: Record) -> dict[str, VictimScores]:
    assert record.victims is not None
    both = {"training": record.victims.training, "held_out": record.victims.held_out}
    return {name: scores for name, scores in both.items() if scores is not None}


def _heading(text: str, console: Console) -> None:
    console.print()
    console.print(Text(text, style="bold underline"))


def _say(text: str, console: Console) -> None:
    """Print a sentence as it is. List items have a hanging indent."""
    text = one_line(text)
    if text.startswith("- "):
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_row(Text("-"), Text(text[2:]))
        console.print(Padding(table, (0, 0, 0, 1), expand=False))
    else:
        console.print(Padding(Text(text), (0, 0, 0, 1), expand=False))


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _print_recovered(sets: dict[str, VictimScores], console: Console) -> None:
    _heading(
        "What the server recovered, beside the best guess of an attacker who sees nothing", console
    )
    for name in sets:
        _say(f"- {_COLUMNS[name]}: {_VICTIMS[name]}", console)
    if "training" not in sets:
        _say("- training images are not scored: the attack was given some of them", console)
    columns = [""]
    for name in sets:
        columns += [f"{_COLUMNS[name]}\nserver", "sees\nnothing", "skill"]
    table = _table(columns)
    for row in zip(*(measures(scores) for scores in sets.values()), strict=True):
        table.add_row(row[0][0], *(cell for one in row for cell in one[1:]))
    console.print(table)
    first = next(iter(sets.values()))
    _say(
        "Skill is 1 for a perfect copy, 0 for the best guess without seeing anything, below 0 "
        f"for worse. Leakage is the mean of the {_skills_averaged(first)}, each at least 0. "
        f"{best_guess(first)}",
        console,
    )
    if first.privacy.lpips is None:
        _say(f"LPIPS, and with it leakage, is {MISSING} (n/a).", console)


def _print_members(record: Record, console: Console) -> None:
    """Print one line per attack of an ensemble, and why some have no numbers."""
    _heading(
        f"The attacks of {short_name(record.spec.attack)}, of which the worst counts for each set",
        console,
    )
    table = _table(["", "leakage of\ntraining", "\nheld-out", "held-out\nby shapes", "s", ""])
    for one in record.members:
        said = "" if one.converged else "not converged"
        table.add_row(
            short_name(one.attack),
            _leakage_of(one.training),
            _leakage_of(one.held_out),
            f"{one.held_out.identification.structure:.0%}" if one.held_out else "-",
            f"{one.seconds:.0f}",
            said if one.status == "ok" else one.status,
        )
    console.print(table)
    for one in record.members:
        if one.status != "ok":
            _say(f"- {one.attack} {one.status}: {one.reason}", console)


def _leakage_of(scores: MemberScores | None) -> str:
    return "-" if scores is None else short_number(scores.leakage, 2)


def _skills_averaged(scores: VictimScores) -> str:
    """Return the skills that leakage averages, in words."""
    return "three skills" if scores.skill.identification is None else "four skills"


def _print_labels(record: Record, console: Console) -> None:
    """Print how well labels or masks that clients keep are predicted, if the record says."""
    says, labels = labels_in_words(record), record.labels
    if says is None or labels is None:
        return
    masks = labels.measure == "jaccard"
    _heading(f"What the server knows of the {'masks' if masks else 'labels'}", console)
    _say(says, console)
    sets = {"training": labels.training, "held_out": labels.held_out}
    shown = {name: scored for name, scored in sets.items() if scored}
    columns = ["Jaccard, from" if masks else "AUC, from"]
    for name in shown:
        columns += [f"{_COLUMNS[name]}\nserver", "sees\nnothing", "skill"]
    table = _table(columns)
    for source, words in LABEL_SOURCES.items():
        found = [scored.get(source) for scored in shown.values()]
        if any(one is not None for one in found):
            cells = [
                (short_number(one.score, 2), short_number(one.prior, 2), _skill(one.skill))
                if one
                else ("", "", "")
                for one in found
            ]
            table.add_row(words, *(cell for three in cells for cell in three))
    console.print(table)


def _skill(value: float | None) -> str:
    """Return a skill; what is worse than a guess counts as 0."""
    return short_number(None if value is None else max(value, 0.0), 2)


def _print_yardsticks(record: Record, console: Console) -> None:
    assert record.leakage is not None
    scores: VictimScores = getattr(record.victims, record.leakage.victims)
    if not scores.yardsticks:
        return
    which = _COLUMNS[record.leakage.victims]
    _heading(f"For comparison: who is told a few numbers about each {which} image", console)
    table = _table(["told", "leakage", "identified\nby shapes", "identified\nby pixels"])
    rows = [
        (_told(name), one.leakage, one.structure, one.pixel)
        for name, one in scores.yardsticks.items()
    ]
    found = scores.privacy.identification
    rows.append(("this attack", scores.leakage.mean, found.structure, found.pixel))
    for name, leakage, structure, pixel in rows:
        table.add_row(
            name,
            short_number(leakage, 2),
            f"{structure:.0%}",
            f"{pixel:.0%}",
            style="bold" if name == "this attack" else None,
        )
    console.print(table)


def _told(yardstick: str) -> str:
    if yardstick == "colour":
        return "how bright each colour is"
    count = short_name(yardstick.removeprefix("components-"))
    return f"{count} principal component{'' if count == '1' else 's'}"


def _print_utility(record: Record, console: Console) -> None:
    utility = record.utility
    assert utility is not None
    undefended = record.spec.defense == "none"
    with_it = (
        "without a defense"
        if undefended
        else f"with the defense {short_name(record.spec.defense)} on"
    )
    _heading(f"What the model is worth to the hospital {with_it}", console)
    trivial = utility.trivial
    segments = utility.jaccard is not None
    guess = "always the mean training mask" if segments else "always the commonest class"
    table = _table(["", "this model", guess])
    for name, (value, low, high) in (
        ("AUC", utility.estimate("auc")),
        ("Jaccard", utility.estimate("jaccard")),
        ("Dice", Estimate(utility.dice)),
    ):
        if value is not None:
            label = name if low is None else f"{name}, 95 % interval"
            shown = with_interval(value, low, high, ".3f")
            table.add_row(label, shown, short_number(trivial.get(name.lower())))
    commonest = trivial.get("accuracy")
    table.add_row(
        "pixels right" if segments else "accuracy",
        f"{utility.accuracy:.1%}",
        "n/a" if commonest is None else f"{commonest:.1%}",
    )
    console.print(table)
    if utility.clients:
        _print_clients(record, console)
    linear = linear_in_words(record)
    if linear is not None:
        _say(linear, console)
    trained = record.spec.training.trains
    says = f"On {utility.n} held-out images, "
    says += "trained with an honest server." if trained else "used as it is: nothing was trained."
    if not undefended:
        says += " What the defense cost is the difference to the same run with --defense none."
    if utility.distance_correlation is not None:
        says += (
            " Squared distance correlation of images and smashed data: "
            f"{utility.distance_correlation:.2f} (0: independent)."
        )
    _say(says, console)


def _print_clients(record: Record, console: Console) -> None:
    """Print one line per client: its own utility and its own leakage."""
    assert record.utility is not None
    names = list(record.utility.clients[0])
    leakages = record.leakage.clients if record.leakage is not None else None
    table = _table(["client", *map(short_name, names), "leakage"])
    for index, own in enumerate(record.utility.clients):
        leakage = short_number(leakages[index] if leakages else None, 2)
        table.add_row(str(index), *(f"{own[name]:.3f}" for name in names), leakage)
    console.print(table)


def _print_files(record: Record, console: Console, folder: Path | None) -> None:
    seconds = sum(record.timings.values())
    memory = record.peak_memory_bytes
    used = "" if memory is None else f", peak memory {memory / 1e9:.1f} GB"
    provenance = record.provenance
    apart = {"none": "", "process": "attack isolated, ", "sandbox": "attack in a sandbox, "}
    _heading("Run", console)
    _say(
        f"{seconds:.0f} s{used}, {apart[provenance.isolation]}{provenance.threads} threads, "
        f"profile {record.spec.profile}, "
        f"{provenance.created}, cell {record.cell_id[:10]}",
        console,
    )
    for kind in ("defense", "attack", "target", "data"):
        given = record.spec.parameters.get(kind)
        if given:
            values = ", ".join(f"{name}={_value(value)}" for name, value in given.items())
            _say(f"- {kind} {getattr(record.spec, kind)}: {values}", console)
    lines = [f"again: {shlex.join(provenance.command)}"]
    if folder is not None:
        files = {name: artifact(folder, record, name) for name in record.artifacts}
        files = {"record": folder / "record.json", **files}
        lines = [f"{what}: {file}" for what, file in files.items()] + lines
    for line in lines:
        # Not wrapped, so that a reader can copy paths and commands.
        console.print(Text(f" {one_line(line)}"), soft_wrap=True)
    console.print()


def _value(value: object) -> str:
    return "(its own)" if value is None else str(value)
