"""Chooses between ways to protect a model by successive halving.

Many ways are tried with a cheap attack and one seed, the best of them with the attack that decides,
and the last few with several seeds. What is kept is chosen by the utility on validation images and
by what leaks of training images; what is reported at the end is of other seeds, and of held-out
images, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from splitsec.leaderboard.ranking import rank
from splitsec.leaderboard.report_rows import Limits, ReportRow, verdict_of
from splitsec.leaderboard.report_sections import way_in_words
from splitsec.leaderboard.worth import needs_in_words
from splitsec.metrics.noninferiority import needs
from splitsec.records.record import Record
from splitsec.records.wording import with_interval

_MOST_OF_ONE = 2  # strengths of one defense that a round keeps


class Way(NamedTuple):
    """One way to protect a model.

    Attributes:
        defense: as a person writes it, such as ``dcor:alpha=0.9``.
        cut: index of the cut; None for the target's own.
    """

    defense: str
    cut: int | None


class Screened(NamedTuple):
    """What a round found out about a way.

    Attributes:
        leakage: of training images.
        identified: share of training images that are identified.
        loss: of utility on validation images, beside the undefended model at the same cut; None
            where it is not known.
    """

    leakage: float
    identified: float
    loss: float | None


def screened(record: Record, undefended: Record | None) -> Screened | None:
    """Return what a record says of a way; None if it has no result.

    Args:
        record: of the way.
        undefended: of the same model without a defense, if there is one.
    """
    if record.status != "ok" or record.victims is None:
        return None
    scores = record.victims.training or record.victims.held_out
    if scores.leakage.mean is None:
        return None
    rates = scores.privacy.identification
    own, whole = (None if one is None else _validated(one) for one in (record, undefended))
    return Screened(
        scores.leakage.mean,
        max(rates.structure, rates.pixel),
        None if own is None or whole is None else whole - own,
    )


def _validated(record: Record) -> float | None:
    """Return the AUC or Jaccard on validation images of the weights that were kept."""
    curves = record.history.get("training", {})
    values = curves.get("validation auc") or curves.get("validation jaccard")
    if not values:
        return None
    return max(values) if record.spec.training.keep == "best" else values[-1]


def best_ways(found: Mapping[Way, Screened], limits: Limits, count: int) -> list[Way]:
    """Return the ways that a round keeps: those that exceed the limits least, then cost least.

    Args:
        found: what is known of each way.
        limits: what a person allows.
        count: how many are kept; at most two of one defense, unless there are no others.
    """
    ordered = sorted(found, key=lambda way: _badness(found[way], limits))
    kept: list[Way] = []
    for most in (_MOST_OF_ONE, len(ordered)):
        for way in ordered:
            alike = sum(_family(one) == _family(way) for one in kept)
            if way not in kept and alike < most and len(kept) < count:
                kept.append(way)
    return kept


def _family(way: Way) -> str:
    return f"{way.defense.partition(':')[0]} {way.cut if way.defense == 'none' else ''}"


def _badness(found: Screened, limits: Limits) -> tuple[float, float, float]:
    """Return by how much limits are exceeded, then what it costs, then what leaks.

    A loss that is not known counts as more than any other.
    """
    loss = math.inf if found.loss is None else found.loss
    pairs = (
        (found.leakage, limits.leakage),
        (found.identified, limits.identified),
        (loss, limits.loss),
    )
    over = sum(max(0.0, value - limit) for value, limit in pairs if limit is not None)
    return over, max(loss, 0.0), found.leakage


def answer(rows: Sequence[ReportRow], limits: Limits) -> list[str]:
    """Return the sentences of a decision.

    Args:
        rows: of the last round, see :func:`splitsec.leaderboard.report_rows.report_rows`.
        limits: what a person allows.
    """
    keeping = [row for row in rows if verdict_of(row.verdicts(limits)) == "within"]
    if keeping:
        best = max(keeping, key=lambda row: row.utility.value or 0.0)
        return [f"Choose it {way_in_words(best)}: {_figures(best)}. All of your limits are kept."]
    unclear = [row for row in rows if verdict_of(row.verdicts(limits)) == "unclear"]
    if not unclear:
        least = min(rows, key=lambda row: row.leakage.value or 0.0)
        return [
            "Nothing that was tried keeps your limits.",
            f"It leaks least {way_in_words(least)}: {_figures(least)}.",
        ]
    said = ["Nothing that was tried is shown to keep your limits; more runs could show it:"]
    for row in unclear:
        verdicts = row.verdicts(limits)
        which = [name for name, verdict in verdicts.items() if verdict == "unclear"]
        could = _could_tell(row, rows, limits, which)
        said.append(f"- {way_in_words(row)}: {_figures(row)}; {could}.")
    return said


def _figures(row: ReportRow) -> str:
    found = "unknown" if row.identified.value is None else f"{row.identified.value:.0%}"
    figures = [f"leakage {with_interval(*row.leakage)}", f"{found} of the patients identified"]
    if row.loss is not None:
        figures.append(f"a loss of {with_interval(*row.loss, '.3f')} {row.measure}")
    return ", ".join(figures)


def _could_tell(
    row: ReportRow, rows: Sequence[ReportRow], limits: Limits, which: Sequence[str]
) -> str:
    """Return what it would take to tell whether a row keeps the limits that are unclear."""
    records = [one for each in rows for one in each.records]
    own = {one.cell_id for one in row.records}
    for board in rank(records, "defenses"):
        for samples in board.samples.values():
            if not own & {one.cell_id for one in samples.records}:
                continue
            said = []
            if "leakage" in which and limits.leakage is not None and len(samples.leakage.per_seed):
                apart = abs(limits.leakage - samples.leakage.mean)
                said.append(f"leakage: {needs_in_words(needs(samples.leakage, apart))}")
            if "loss" in which and limits.loss is not None and samples.loss is not None:
                apart = abs(limits.loss - samples.loss.mean)
                said.append(f"loss: {needs_in_words(needs(samples.loss, apart))}")
            if said:
                return "; ".join(said)
    return f"{' and '.join(which)} cannot be told from these runs"
