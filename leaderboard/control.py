"""The positive control: which attacks recover something where nothing defends."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pandas as pd

from splitsec.metrics.figures import SHARE
from splitsec.metrics.intervals import estimate
from splitsec.metrics.schema import NOTHING_RECOVERED
from splitsec.records.wording import with_interval


class ControlResult(NamedTuple):
    """The outcome of the control of one attack on one target.

    Attributes:
        passed: whether its undefended cells recover something.
        measured: whether it has undefended cells with a leakage.
        why: why it did not pass, in words.
    """

    passed: bool
    measured: bool
    why: str = ""


def counting_attacks(cells: pd.DataFrame, notes: list[str]) -> dict[str, list[str]]:
    """Return the attacks that count on each target of a board.

    A target is a model at one cut, with its parameters. Cells of several targets are never
    pooled. An attack counts on a target where its undefended cells recover something. If they
    have no leakage there, such as failed ones, it counts if it passes on another target, so that
    the gap is seen.

    Args:
        cells: the cells, with ``attack``, ``defense``, ``target``, ``leakage`` and ``reason``.
        notes: receives a sentence on each attack that does not count.

    Returns:
        From each target to the attacks that count there, which may have no cells there.
    """
    targets, attacks = (list(map(str, cells[name].unique())) for name in ("target", "attack"))
    results = {
        (attack, target): _control(cells[(cells["attack"] == attack) & (cells["target"] == target)])
        for attack, target in itertools.product(attacks, targets)
    }
    counting: dict[str, list[str]] = {target: [] for target in targets}
    for (attack, target), result in results.items():
        elsewhere = any(results[attack, other].passed for other in targets)
        if result.passed or (elsewhere and not result.measured):
            counting[target].append(attack)
        else:
            where = f" on {target}" if len(targets) > 1 else ""
            notes.append(f"{attack} does not count{where}: {result.why}")
    return counting


def _control(cells: pd.DataFrame) -> ControlResult:
    """Return the outcome of the control for the cells of one attack on one target."""
    undefended = cells[cells["defense"] == "none"]
    if undefended.empty:
        return ControlResult(False, False, "it has no undefended cell")
    measured = undefended["leakage"].dropna().tolist()
    if not measured:
        reasons = "; ".join(dict.fromkeys(undefended["reason"].dropna()))
        return ControlResult(False, False, f"no undefended cell of it is valid ({reasons})")
    leakage = estimate(measured, SHARE)
    assert leakage.value is not None, "there are values"
    lowest = leakage.value if leakage.low is None else leakage.low
    if lowest > NOTHING_RECOVERED:
        return ControlResult(True, True)
    says = f"undefended, it recovers {with_interval(*leakage)} of what there is, "
    if leakage.value <= NOTHING_RECOVERED:
        return ControlResult(False, True, f"{says}no more than a blind guess does")
    return ControlResult(False, True, f"{says}which {len(measured)} seeds cannot tell from nothing")
