"""A record in words and tables, for a person who has to decide something."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from splitsec.metrics.scores import VictimScores
from splitsec.record import FLAGS, INVALIDATING, Record

_VICTIMS = {
    "training": "training images, as they were sent during the session",
    "held_out": "held-out images, which trained nothing",
}


def headline(record: Record) -> str:
    """Return in one or two sentences what the server recovered."""
    if record.status != "ok" or record.leakage is None or record.victims is None:
        return f"The cell {record.status}: {record.reason or 'no reason was given'}."
    scores = getattr(record.victims, record.leakage.victims)
    gallery = scores.privacy.identification.gallery
    found = f"{scores.privacy.identification.structure:.0%}"
    picks = (
        f"Given {gallery} reconstructions, it names the right patient's image for {found} of them "
        f"by structure alone (chance {1 / gallery:.0%})."
    )
    if record.leakage.value is None:
        return f"Leakage is not available, since LPIPS is missing. {picks}"
    return (
        f"The server recovered {record.leakage.value:.0%} of what there is to recover beyond an "
        f"attacker who sees nothing, as much as {_components(scores)} would tell. {picks}"
    )


def _components(scores: VictimScores) -> str:
    count = scores.equivalent_components
    if count is None:
        return "no known number of components"
    more = "more than " if scores.equivalent_components_capped else ""
    return f"{more}{count:.3g} principal components of each image"


def print_summary(record: Record, console: Console, folder: Path | None = None) -> None:
    """Print a record's summary.

    Args:
        record: any record, failed ones too.
        console: where to print.
        folder: where the record and its pictures are, if known.
    """
    style = {"ok": "bold"}.get(record.status, "bold red")
    console.print(
        Panel(Text(headline(record)), title=Text(record.spec.title(), style=style), expand=True)
    )
    if record.victims is not None:
        for name in ("training", "held_out"):
            scores = getattr(record.victims, name)
            if scores is not None:
                console.print(_scores_table(name, scores))
        console.print(_yardsticks(record))
    if record.utility is not None:
        console.print(_utility_table(record))
    console.print(_threat(record))
    for flag in record.flags:
        level = "INVALID" if flag in INVALIDATING else "flag"
        console.print(f"{level}: {flag}: {FLAGS.get(flag, '')}", highlight=False)
    for sentence in [*record.notes, *record.data.get("disclosures", [])]:
        console.print(f"note: {sentence}", highlight=False)
    seconds = sum(record.timings.values())
    memory = (record.peak_memory_bytes or 0) / 1e9
    console.print(
        f"{seconds:.0f} s, peak memory {memory:.1f} GB, profile {record.spec.profile}, "
        f"cell {record.cell_id[:10]}",
        highlight=False,
    )
    if folder is not None:
        for what, file in {**record.artifacts, "record": "record.json"}.items():
            console.print(f"{what}: {folder / file}", highlight=False, soft_wrap=True)
    again = shlex.join(record.provenance.command)
    console.print(f"command: {again}", highlight=False, soft_wrap=True)
    console.print()


def _number(value: float | None, digits: int = 3) -> str:
    return "not available" if value is None else f"{value:.{digits}f}"


def _scores_table(name: str, scores: VictimScores) -> Table:
    privacy, reference = scores.privacy, scores.reference
    table = Table(
        title=f"What the server recovered: {_VICTIMS[name]}", title_justify="left", expand=False
    )
    for column in ("measure", "attack", "sees nothing", "which", "skill"):
        table.add_column(column, justify="left" if column in ("measure", "which") else "right")
    table.add_row(
        "MSE, lower is closer", _number(privacy.mse.mean, 4),
        _number(scores.trivial[reference.mse].mse, 4), reference.mse, _number(scores.skill.mse, 2),
    )  # fmt: skip
    table.add_row(
        "PSNR, dB, higher is closer", _number(privacy.psnr.mean, 1),
        _number(scores.trivial[reference.mse].psnr, 1), reference.mse, "",
    )  # fmt: skip
    table.add_row(
        "SSIM, higher is closer", _number(privacy.ssim.mean),
        _number(scores.trivial[reference.ssim].ssim), reference.ssim,
        _number(scores.skill.ssim, 2),
    )  # fmt: skip
    trivial = None if reference.lpips is None else scores.trivial[reference.lpips].lpips
    table.add_row(
        "LPIPS, lower is closer", _number(privacy.lpips.mean if privacy.lpips else None),
        _number(trivial), reference.lpips or "", _number(scores.skill.lpips, 2),
    )  # fmt: skip
    chance = f"{1 / privacy.identification.gallery:.0%}"
    table.add_row(
        "identified by structure", f"{privacy.identification.structure:.0%}", chance, "chance", ""
    )
    table.add_row(
        "identified by pixels", f"{privacy.identification.pixel:.0%}", chance, "chance", ""
    )
    table.add_row("leakage, 0 to 1", _number(scores.leakage.mean, 2), "0.00", "", "")
    return table


def _yardsticks(record: Record) -> Table:
    assert record.victims is not None
    assert record.leakage is not None
    scores: VictimScores = getattr(record.victims, record.leakage.victims)
    table = Table(
        title="For comparison: attackers told a few numbers about each image",
        title_justify="left",
    )
    for column in ("told", "leakage", "by structure", "by pixels"):
        table.add_column(column, justify="left" if column == "told" else "right")
    for name, score in scores.yardsticks.items():
        table.add_row(
            {"colour": "three colour gains"}.get(name, name.replace("-", " ")),
            _number(score.leakage, 2), f"{score.structure:.0%}", f"{score.pixel:.0%}",
        )  # fmt: skip
    privacy = scores.privacy.identification
    table.add_row(
        "this attack", _number(scores.leakage.mean, 2),
        f"{privacy.structure:.0%}", f"{privacy.pixel:.0%}", style="bold",
    )  # fmt: skip
    return table


def _utility_table(record: Record) -> Table:
    utility = record.utility
    assert utility is not None
    table = Table(
        title=f"What the model is worth with the defense on ({utility.source}, "
        f"{utility.n} held-out images)",
        title_justify="left",
    )
    for column in ("measure", "model", "always the commonest class"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    low, high = utility.auc_interval
    table.add_row("AUC", f"{utility.auc:.3f} ({low:.3f} to {high:.3f})",
                  f"{utility.trivial['auc']:.3f}")  # fmt: skip
    table.add_row("accuracy", f"{utility.accuracy:.1%}", f"{utility.trivial['accuracy']:.1%}")
    table.add_row("dCor² of images and smashed data, 0: independent",
                  _number(utility.distance_correlation, 2), "")  # fmt: skip
    return table


def _threat(record: Record) -> Text:
    threat, access = record.threat_model, record.access
    if threat is None:
        return Text("")
    kind = "malicious: it takes the honest server's place" if threat.active else "curious only"
    has = [
        name.replace("_", " ")
        for name, granted in threat.model_dump().items()
        if granted and name != "active"
    ]
    used = ""
    if access is not None:
        used = (
            f" It used {access.public_images} public images, {access.queries} queries and "
            f"{access.pairs} private pairs."
        )
    return Text(f"The server is {kind}. It has: {', '.join(has) or 'nothing else'}.{used}")
