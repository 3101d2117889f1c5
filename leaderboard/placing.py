"""Ranks the rows of a board, and says how surely each is on the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from splitsec.metrics.figures import SHARE, Estimate
from splitsec.metrics.intervals import MINIMUM_SEEDS
from splitsec.metrics.two_level import (
    RESAMPLES,
    Floats,
    Sample,
    draw_seeds,
    over_seeds_and_images,
    rank_intervals,
    resampled_mean,
    shares_on_front,
)

_COST = (
    "cost",
    "cost low",
    "cost high",
    "margin",
    "cost verdict",
    "seeds that could tell",
    "images that could tell",
)
COLUMNS = (
    "rank",
    "rank last",
    "name",
    "identified",
    "identified low",
    "identified high",
    "leakage",
    "leakage low",
    "leakage high",
    "worst victim",
    "worst attack",
    "utility",
    "utility low",
    "utility high",
    "retained",
    "retained low",
    "retained high",
    *_COST,
    "pareto",
    "cells",
    "expected",
    "evidence",
    "reason",
)
"""Columns of a board, in their order."""

_EARNED = {"rank", "rank last", "pareto", *_COST}
"""Columns that only official rows have."""


def columns_of(name: str, value: Estimate) -> dict[str, float | None]:
    """Return a number and its interval as columns of a row."""
    return {name: value.value, f"{name} low": value.low, f"{name} high": value.high}


def placed(rows: list[dict[str, Any]], *, lowest_first: bool, ranked: bool = True) -> pd.DataFrame:
    """Rank rows by their leakage; those with a reason are last, and have no rank.

    Args:
        rows: each with ``sample`` of its leakage, ``reason``, and for a Pareto front
            ``retained sample``.
        lowest_first: whether the lowest leakage has rank 1.
        ranked: whether rows earn a rank, a place on the front and a verdict on their cost.

    Returns:
        The columns of :data:`COLUMNS` that the rows have, best first.
    """
    sign = 1 if lowest_first else -1
    competing = [row for row in rows if row["reason"] is None and ranked]
    for row in rows:
        row.update(columns_of("leakage", over_seeds_and_images(row["sample"], SHARE)))
    signed = [_signed(row["sample"], sign) for row in competing]
    for row, found in zip(competing, rank_intervals(signed), strict=True):
        row["rank"], row["rank last"] = found
    known = [row for row in competing if _retains_in_every_seed(row)]
    if known:
        for row, share in zip(known, _on_front(known), strict=True):
            row["pareto"] = share
    rows.sort(
        key=lambda row: (
            row["reason"] is not None,
            row.get("rank", 0),
            sign * (row["leakage"] if row["leakage"] is not None else 0.0),
        )
    )
    frame = pd.DataFrame(rows)
    if not len(frame):
        return frame
    whole = ("rank", "rank last", "seeds that could tell", "images that could tell")
    shown = [name for name in COLUMNS if name in frame and (ranked or name not in _EARNED)]
    return frame[shown].astype({name: "Int64" for name in whole if name in frame})


def _signed(sample: Sample, sign: int) -> Sample:
    images = None if sample.on_images is None else sign * sample.on_images
    return sample._replace(per_seed=sign * sample.per_seed, on_images=images)


def _retains_in_every_seed(row: dict[str, Any]) -> bool:
    """Return whether it is known what a row retains in every seed in which its leakage is."""
    retained = row.get("retained sample")
    return retained is not None and len(retained.per_seed) == len(row["sample"].per_seed)


def _on_front(rows: Sequence[dict[str, Any]]) -> Sequence[float | None]:
    """Return how often each row is on the Pareto front of resampled seeds and images.

    None for all of them where neither seeds nor images can be resampled.
    """
    seeds = len(rows[0]["sample"].per_seed)
    if seeds >= MINIMUM_SEEDS:
        weights = draw_seeds(seeds, np.random.default_rng(1))  # the same board every time
    elif all(row["sample"].on_images is not None for row in rows):
        weights = np.full((RESAMPLES, seeds), 1 / seeds)
    else:
        return [None] * len(rows)
    return shares_on_front(
        _means(rows, "sample", weights), _means(rows, "retained sample", weights)
    )


def _means(rows: Sequence[dict[str, Any]], name: str, weights: Floats) -> Floats:
    return np.stack([resampled_mean(row[name], weights) for row in rows], axis=1)
