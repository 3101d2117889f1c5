"""The rows of a board: what a defense, an attack or a target leaks, and whose numbers those are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from splitsec.leaderboard.control import counting_attacks
from splitsec.leaderboard.placing import columns_of
from splitsec.leaderboard.samples import Resampler, stacked
from splitsec.leaderboard.settings import By
from splitsec.leaderboard.worth import samples_of_worth
from splitsec.metrics.figures import SHARE, Estimate
from splitsec.metrics.two_level import Floats, Sample, over_seeds_and_images
from splitsec.records.record import Evidence


def counting(
    group: pd.DataFrame, resampler: Resampler, claimant: str | None, notes: list[str]
) -> dict[str, list[str]]:
    """Return the attacks that count on each target; of claims all of them do."""
    if claimant is not None:
        return {
            str(target): list(map(str, cells["attack"].unique()))
            for target, cells in group.groupby("target")
        }
    columns = {"leakage": resampler.leakage, "identified": resampler.identified}

    def sample_of(cells: pd.DataFrame, name: str) -> Sample:
        return stacked(
            cells[name], [columns[name](one) for one in cells["place"]], resampler.victims
        )

    return counting_attacks(group, sample_of, notes)


def worst_rows(
    group: pd.DataFrame,
    by: By,
    seeds: list[int] | None,
    resampler: Resampler,
    counts: Mapping[str, list[str]],
) -> list[dict[str, Any]]:
    """Return a row per defense or target, with its worst case per seed.

    Args:
        group: cells of a board.
        by: kind of the rows.
        seeds: those that a complete row has; None for claims, of which no row depends on another.
        resampler: of the board.
        counts: from each target to the attacks that count there.
    """
    undefended = group[group["defense"] == "none"]
    names = "defense" if by == "defenses" else "target"
    rows: list[dict[str, Any]] = []
    for name, every in (group if by == "defenses" else undefended).groupby(names, sort=False):
        attacks = counts[str(every["target"].iloc[0])]
        cells = every[every["attack"].isin(attacks)]
        if cells.empty:
            continue
        table = _leakages(cells, "attack")
        if seeds is not None:
            table = table.reindex(index=seeds, columns=attacks)
        row = _row(str(name), cells, table)
        row |= _figures(cells, table, "attack", resampler, np.max)
        row["worst attack"] = None if row["reason"] else str(table.mean().idxmax())
        rows.append(row | columns_of("utility", _utility(cells, resampler)))
    return rows


def _utility(cells: pd.DataFrame, resampler: Resampler) -> Estimate:
    seeds = sorted(set(cells.dropna(subset=["utility"])["seed"]))
    if not seeds:
        return Estimate(None)
    return over_seeds_and_images(samples_of_worth(cells, resampler, seeds)[0], SHARE)


def attack_rows(
    group: pd.DataFrame, seeds: list[int] | None, resampler: Resampler
) -> list[dict[str, Any]]:
    """Return a row per attack, with its mean over defenses per seed; see :func:`worst_rows`."""
    defenses = group["defense"].unique()
    rows = []
    for name, cells in group.groupby("attack", sort=False):
        table = _leakages(cells, "defense")
        if seeds is not None:
            table = table.reindex(index=seeds, columns=defenses)
        row = _row(str(name), cells, table)
        rows.append(row | _figures(cells, table, "defense", resampler, np.mean))
    return rows


def _leakages(cells: pd.DataFrame, across: str) -> pd.DataFrame:
    """Return leakage by seed and ``across``, which is ``attack`` or ``defense``."""
    return _pivot(cells, across, "leakage")


def _pivot(cells: pd.DataFrame, across: str, values: str) -> pd.DataFrame:
    return cells.astype({values: float}).pivot_table(
        index="seed", columns=across, values=values, dropna=False
    )


def _figures(
    cells: pd.DataFrame,
    table: pd.DataFrame,
    across: str,
    resampler: Resampler,
    combined: Callable[..., Floats],
) -> dict[str, Any]:
    """Return the figures of a row's attacks: what leaks, and who is found.

    Args:
        cells: the row's cells.
        table: their leakage, by seed and ``across``.
        across: what is combined: ``attack`` or ``defense``.
        resampler: of the board.
        combined: ``numpy.max`` for the worst case, or ``numpy.mean``.
    """
    rates, worst = (
        _pivot(cells, across, name).reindex(index=table.index, columns=table.columns)
        for name in ("rate", "worst")
    )
    found = _sample(cells, rates, resampler.rate, resampler.victims, combined)
    known = len(found.per_seed) > 0
    most = None if worst.isna().to_numpy().any() else combined(worst.to_numpy(float), axis=1)
    return {
        "sample": _sample(cells, table, resampler.leakage, resampler.victims, combined),
        "rates": found if known else None,
        **columns_of("identified", over_seeds_and_images(found, SHARE)),
        "worst victim": None if most is None else float(most.mean()),
    }


def _sample(
    cells: pd.DataFrame,
    table: pd.DataFrame,
    measured: Callable[[int], Floats | None],
    images: int | None,
    combined: Callable[..., Floats],
) -> Sample:
    """Return one figure of a row over seeds; of no seed if a cell has none.

    Args:
        cells: the row's cells.
        table: their figures, by seed and by what is combined.
        measured: returns the figure of a cell on resampled images.
        images: number of images.
        combined: ``numpy.max`` for the worst case, or ``numpy.mean``.
    """
    if table.isna().to_numpy().any():
        return Sample(np.empty(0))
    resampled: list[Floats | None] = []
    for seed in table.index:
        known = [measured(one) for one in cells.loc[cells["seed"] == seed, "place"]]
        complete = [one for one in known if one is not None]
        resampled.append(combined(complete, axis=0) if len(complete) == len(known) else None)
    per_seed = combined(table.to_numpy(float), axis=1)
    return stacked(pd.Series(per_seed), resampled, images)


def _row(name: str, cells: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    """Return the values that every row has.

    Args:
        name: name of the defense, attack or target.
        cells: its cells.
        table: their leakage, missing if a cell has none.
    """
    missing = int(table.isna().sum().sum())
    return {
        "name": name,
        "cells": table.size - missing,
        "expected": table.size,
        "evidence": evidence(cells["evidence"]),
        "reason": _missing(cells, table.size, missing),
    }


RERUN = "re-run here"
"""The evidence of an official row, whose cells were all run by the keeper of the records."""

CLAIMED = "claimed"
"""The evidence of a row of claims."""


def evidence(cells: Iterable[Evidence]) -> str:
    """Return that an official row was run here, and how many cells disagree with their claims."""
    differ = sum(one.agreement == "differs" for one in cells)
    return f"{RERUN}, {differ} disagree with the claim" if differ else RERUN


def _missing(cells: pd.DataFrame, expected: int, missing: int) -> str | None:
    """Return why a row is not complete, or None."""
    if not missing:
        return None
    said = list(dict.fromkeys(cells["reason"].dropna()))
    why = f" ({'; '.join(said)})" if said else ""
    return f"{expected - missing} of {expected} cells{why}"
