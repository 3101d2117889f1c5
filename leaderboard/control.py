"""The positive control: which attacks recover something on a board."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from splitsec.metrics.figures import SHARE, Estimate
from splitsec.metrics.intervals import MINIMUM_SEEDS
from splitsec.metrics.schema import NOTHING_RECOVERED
from splitsec.metrics.two_level import Sample, chance_of_difference, over_seeds_and_images
from splitsec.records.wording import with_interval

SampleOf = Callable[[pd.DataFrame, str], Sample]
"""Returns the sample of a column, ``leakage`` or ``identified``, of cells of several seeds."""

_FALSE_ALARMS = 0.05


class ControlResult(NamedTuple):
    """The outcome of the control of one attack on one target.

    Attributes:
        passed: whether it recovers something there, undefended or behind any defense.
        measured: whether it has cells with a leakage.
        why: why it did not pass, in words.
    """

    passed: bool
    measured: bool
    why: str = ""


def counting_attacks(
    cells: pd.DataFrame, sample_of: SampleOf, notes: list[str]
) -> dict[str, list[str]]:
    """Return the attacks that count on each target of a board.

    A target is a model at one cut, with its parameters. Cells of several targets are never
    pooled. An attack counts on a target where it works undefended or behind any defense: it
    recovers something, or identifies more than a guess would. An attack that breaks a defense
    counts although the undefended model resists it. If an attack has no leakage on a target, such
    as where it failed, it counts if it passes on another target, so that the gap is seen.

    Args:
        cells: the cells, with ``attack``, ``defense``, ``target``, ``leakage``, ``identified`` and
            ``reason``.
        sample_of: returns a figure of several seeds, with its values on resampled images.
        notes: receives a sentence on each attack that does not count.

    Returns:
        From each target to the attacks that count there, which may have no cells there.
    """
    targets, attacks = (list(map(str, cells[name].unique())) for name in ("target", "attack"))
    results = {
        (attack, target): _control(
            cells[(cells["attack"] == attack) & (cells["target"] == target)], sample_of
        )
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


def _control(cells: pd.DataFrame, sample_of: SampleOf) -> ControlResult:
    """Return the outcome of the control for the cells of one attack on one target."""
    if cells.empty:
        return ControlResult(False, False, "it has no cell")
    known = cells[cells["leakage"].notna()]
    defended = [group for name, group in known.groupby("defense", sort=False) if name != "none"]
    undefended = known[known["defense"] == "none"]
    if _works(undefended, sample_of, 1):
        return ControlResult(True, True)
    if any(_works(group, sample_of, len(defended)) for group in defended):
        return ControlResult(True, True)
    behind = ", and no more behind any defense" if defended else ""
    if cells[cells["defense"] == "none"].empty:
        return ControlResult(False, not known.empty, f"it has no undefended cell{behind}")
    if undefended.empty:
        reasons = "; ".join(dict.fromkeys(cells.loc[cells["defense"] == "none", "reason"].dropna()))
        why = f"no undefended cell of it is valid ({reasons}){behind}"
        return ControlResult(False, not known.empty, why)
    leakage = over_seeds_and_images(sample_of(undefended, "leakage"), SHARE)
    return ControlResult(False, True, _why(leakage, len(undefended)) + behind)


def _works(cells: pd.DataFrame, sample_of: SampleOf, tries: int) -> bool:
    """Return whether cells of several seeds recover or identify more than a blind guess does.

    Args:
        cells: of one attack, target and defense.
        sample_of: as in :func:`counting_attacks`.
        tries: number of defenses that are tried; one of many may seem to be broken by chance.
    """
    if cells.empty:
        return False
    leakage = sample_of(cells, "leakage")
    if _above(leakage, NOTHING_RECOVERED, tries):
        return True
    identified = cells[cells["identified"].notna()]
    if identified.empty:
        return False
    return _above(sample_of(identified, "identified"), NOTHING_RECOVERED, tries)


def _above(sample: Sample, bar: float, tries: int) -> bool:
    """Return whether a mean over seeds is above a bar, by more than chance."""
    if sample.mean <= bar:
        return False
    if len(sample.per_seed) < MINIMUM_SEEDS:
        low = over_seeds_and_images(sample).low
        return (sample.mean if low is None else low) > bar
    return chance_of_difference(sample.plus(-bar)) < _FALSE_ALARMS / tries


def _why(leakage: Estimate, seeds: int) -> str:
    assert leakage.value is not None, "there are values"
    says = f"undefended, it recovers {with_interval(*leakage)} of what there is, "
    if leakage.value <= NOTHING_RECOVERED:
        return f"{says}no more than a blind guess does"
    if seeds < MINIMUM_SEEDS:
        return f"{says}which its images cannot tell from nothing"
    return f"{says}which {seeds} seeds cannot tell from nothing"
