"""A record in words and tables, for a person who has to decide something.

It fits 80 columns, and nothing in it is said by colour alone.
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

from splitsec.metrics.scores import NOTHING_RECOVERED, VictimScores
from splitsec.record import FLAGS, INVALIDATING, Record
from splitsec.storage import artifact
from splitsec.threat import ThreatModel

MISSING = "not available"

_FRAME = 6  # columns of a terminal that the frame of a title takes
_TELLING = 5  # identification, in multiples of chance, that contradicts a leakage of 0

_VICTIMS = {
    "training": "training images, from what was sent during the session",
    "held_out": "held-out images, which trained nothing",
}
_COLUMNS = {"training": "training", "held_out": "held-out"}
_ATTACKERS = {
    "mean-image": "the mean of the public images",
    "median-image": "the median of the public images",
    "random-image": "a random public image",
    "constant": "one grey value",
}
_GRANTS = {
    "public_images": "images of its own of a similar kind",
    "public_labels": "labels of its own images",
    "labels": "the labels that clients share",
    "server_model": "the honest server's network",
    "defense_spec": "the defense's name and parameters",
    "client_architecture": "the client's architecture",
    "client_weights": "the trained client's weights",
    "queries": "the client's answers to images of its choice",
    "pairs": "private images with their smashed data",
    "client_settings": "control of the client's batch size and learning rate",
}


def headline(record: Record) -> str:
    """Return in a few sentences what the server recovered, or why nothing is known."""
    if record.status == "ok" and record.leakage is None:
        return "No attack was mounted: this run measures what the model is worth, no more."
    if record.leakage is None or record.victims is None:
        why = (record.reason or "no reason was given").rstrip(".")
        return f"This cell has no result ({record.status}): {why}."
    scores: VictimScores = getattr(record.victims, record.leakage.victims)
    return f"{_recovered(scores)} {_identified(scores)}"


def _recovered(scores: VictimScores) -> str:
    leakage = scores.leakage.mean
    if leakage is None:
        known = f"; by MSE alone its skill is {_number(scores.skill.mse, 2)}, 1 being a copy"
        return f"How much the server recovered is {MISSING}{known if scores.skill.mse else ''}."
    if leakage <= NOTHING_RECOVERED:
        return (
            "The server's images are no closer to the private ones than the best guess of "
            f"somebody who sees no traffic (leakage {leakage:.0%})."
        )
    return (
        f"The server recovered {leakage:.0%} of what there is to recover (0% is the best guess "
        f"of somebody who sees no traffic, 100% a copy){_components(scores)}."
    )


def _components(scores: VictimScores) -> str:
    """Continue the sentence with what as good a picture would cost in numbers per image."""
    count = scores.equivalent_components
    if count is None:
        return ""
    if count < 1:
        return ": pixel by pixel, as much as knowing less than one number about each image"
    more = "more than " if scores.equivalent_components_capped else "about "
    shown = f"{count:.1f}".removesuffix(".0") if count < 10 else f"{count:.0f}"
    return (
        f": pixel by pixel, as much as knowing {more}{shown} well-chosen numbers (principal "
        "components) about each image"
    )


def _identified(scores: VictimScores) -> str:
    found = scores.privacy.identification
    leakage = scores.leakage.mean
    telling = max(found.structure, found.pixel) * found.gallery >= _TELLING
    yet = leakage is not None and leakage <= NOTHING_RECOVERED and telling
    return (
        f"{'Yet, asked' if yet else 'Asked'} which of {found.gallery} private images a recovered "
        "one shows, it is right for "
        f"{found.structure:.0%} by shapes alone and for {found.pixel:.0%} by pixels "
        f"(chance: {_chance(scores)})."
    )


def _chance(scores: VictimScores) -> str:
    chance = 1 / scores.privacy.identification.gallery
    return f"{chance:.0%}" if chance >= 0.005 else f"{chance:.1%}"


def print_summary(record: Record, console: Console, folder: Path | None = None) -> None:
    """Print a record's summary.

    Args:
        record: any record, failed ones too.
        console: where to print.
        folder: where the record and its pictures are, if known.
    """
    title = Text(record.spec.title(), style="bold")
    fits = len(title) <= console.width - _FRAME
    if not fits:
        console.print(title)
    console.print(Panel(Text(headline(record)), title=title if fits else None, box=box.ROUNDED))
    if record.victims is not None:
        sets = _victim_sets(record)
        _print_recovered(sets, console)
        _print_yardsticks(record, console)
    if record.utility is not None:
        _print_utility(record, console)
    if record.threat_model is not None:
        _heading("What the server was", console)
        _say(threat_in_words(record, record.threat_model), console)
    if record.flags or record.notes or record.data.get("disclosures"):
        _heading("What to know before relying on this", console)
        for flag in record.flags:
            mark = "INVALID, not to be ranked" if flag in INVALIDATING else "flag"
            _say(f"- {mark}: {FLAGS.get(flag, 'unknown to this version')} [{flag}]", console)
        for sentence in [*record.notes, *record.data.get("disclosures", [])]:
            _say(f"- note: {sentence}", console)
    _print_files(record, console, folder)


def _victim_sets(record: Record) -> dict[str, VictimScores]:
    assert record.victims is not None
    both = {"training": record.victims.training, "held_out": record.victims.held_out}
    return {name: scores for name, scores in both.items() if scores is not None}


def _heading(text: str, console: Console) -> None:
    console.print()
    console.print(Text(text, style="bold underline"))


def _say(text: str, console: Console) -> None:
    """Print plain text; it may hold brackets that are no markup. List items hang."""
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


def _number(value: float | None, digits: int = 3) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def _short(value: float | None, digits: int = 3) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _print_recovered(sets: dict[str, VictimScores], console: Console) -> None:
    _heading("What the server recovered, beside the best guess of who sees nothing", console)
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
        f"for worse. Leakage is the mean of the three skills, at least 0. {_references(first)}",
        console,
    )
    if first.privacy.lpips is None:
        _say(f"LPIPS, and with it leakage, is {MISSING} (n/a).", console)


def _references(scores: VictimScores) -> str:
    """Name the trivial attackers that were the strongest."""
    chosen = scores.reference
    by_attacker: dict[str, list[str]] = {}
    for measure, attacker in (("MSE", chosen.mse), ("SSIM", chosen.ssim), ("LPIPS", chosen.lpips)):
        if attacker is not None:
            by_attacker.setdefault(attacker, []).append(measure)
    named = [
        f"{_ATTACKERS.get(attacker, attacker)} ({', '.join(measures)})"
        for attacker, measures in by_attacker.items()
    ]
    return f"The best guess is {'; '.join(named)}."


def measures(scores: VictimScores) -> list[tuple[str, str, str, str]]:
    """Return measure, the server's value, the trivial attacker's, and skill."""
    privacy, reference, trivial = scores.privacy, scores.reference, scores.trivial
    lpips = None if reference.lpips is None else trivial[reference.lpips].lpips
    identified, chance = privacy.identification, _chance(scores)
    skill = scores.skill
    return [
        ("MSE (0: identical)", _short(privacy.mse.mean, 4),
         _short(trivial[reference.mse].mse, 4), _short(skill.mse, 2)),
        ("PSNR, dB (best: 100)", _short(privacy.psnr.mean, 1),
         _short(trivial[reference.mse].psnr, 1), ""),
        ("SSIM (1: identical)", _short(privacy.ssim.mean),
         _short(trivial[reference.ssim].ssim), _short(skill.ssim, 2)),
        ("LPIPS (0: identical)", _short(None if privacy.lpips is None else privacy.lpips.mean),
         _short(lpips), _short(skill.lpips, 2)),
        ("leakage", _short(scores.leakage.mean, 2), "0.00", ""),
        ("identified by shapes", f"{identified.structure:.0%}", chance, ""),
        ("identified by pixels", f"{identified.pixel:.0%}", chance, ""),
    ]  # fmt: skip


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
            name, _short(leakage, 2), f"{structure:.0%}", f"{pixel:.0%}",
            style="bold" if name == "this attack" else None,
        )  # fmt: skip
    console.print(table)


def _told(yardstick: str) -> str:
    if yardstick == "colour":
        return "how bright each colour is"
    count = yardstick.removeprefix("components-")
    return f"{count} principal component{'' if count == '1' else 's'}"


def _print_utility(record: Record, console: Console) -> None:
    utility = record.utility
    assert utility is not None
    undefended = record.spec.defense == "none"
    with_it = "without a defense" if undefended else f"with the defense {record.spec.defense} on"
    _heading(f"What the model is worth to the hospital {with_it}", console)
    trivial = utility.trivial
    segments = utility.jaccard is not None
    guess = "always the mean training mask" if segments else "always the commonest class"
    table = _table(["", "this model", guess])
    for name, value, interval in (
        ("AUC", utility.auc, utility.auc_interval),
        ("Jaccard", utility.jaccard, utility.jaccard_interval),
        ("Dice", utility.dice, None),
    ):
        if value is not None:
            within = "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"
            label = name if interval is None else f"{name}, 95 % interval"
            table.add_row(label, f"{value:.3f}{within}", _short(trivial.get(name.lower())))
    commonest = trivial.get("accuracy")
    table.add_row(
        "pixels right" if segments else "accuracy",
        f"{utility.accuracy:.1%}",
        "n/a" if commonest is None else f"{commonest:.1%}",
    )
    console.print(table)
    if utility.clients:
        _print_clients(record, console)
    says = f"On {utility.n} held-out images, trained with an honest server."
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
    table = _table(["client", *names, "leakage"])
    for index, measures in enumerate(record.utility.clients):
        leakage = _short(leakages[index] if leakages else None, 2)
        table.add_row(str(index), *(f"{measures[name]:.3f}" for name in names), leakage)
    console.print(table)


def threat_in_words(record: Record, threat: ThreatModel) -> str:
    """Return in a few sentences what the server did, had and used."""
    kind = (
        "Malicious: it took the honest server's place and answered with gradients of its own."
        if threat.active
        else "Honest but curious: it followed the protocol and kept what it saw."
    )
    has = [
        _GRANTS.get(name, name.replace("_", " "))
        for name, granted in threat.model_dump().items()
        if granted and name != "active"
    ]
    knows = f" Besides the traffic it had {'; '.join(has)}." if has else " It had only the traffic."
    access = record.access
    if access is None:
        return kind + knows
    used = f" It used {access.public_images} public images"
    used += f", {access.queries} queries and {access.pairs} private pairs."
    return kind + knows + used


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
        # Not wrapped, so that paths and commands can be copied whole.
        console.print(Text(f" {line}"), soft_wrap=True)
    console.print()


def _value(value: object) -> str:
    return "(its own)" if value is None else str(value)
