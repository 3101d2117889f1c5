"""Tests the report's claims on records: differences paired by seed, with 95 % intervals.

A claim is about training runs in general, so fewer than three seeds tell none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from splitsec.errors import DataError
from splitsec.leaderboard.tracks import ReportClaim
from splitsec.metrics.figures import Limits, limits_of
from splitsec.metrics.intervals import estimate


class Verdict(NamedTuple):
    """The outcome of testing a claim.

    Attributes:
        claim: the claim.
        outcome: whether it holds; "cannot be told" if the interval allows either, or if there are
            fewer than :data:`~splitsec.metrics.intervals.MINIMUM_SEEDS` seeds.
        difference: mean over seeds of the measure minus its reference.
        low: lower end of the 95 % t-interval; None for fewer than three seeds.
        high: upper end of that interval.
        seeds: number of pairs.
    """

    claim: ReportClaim
    outcome: str
    difference: float | None
    low: float | None
    high: float | None
    seeds: int


def weigh(claim: ReportClaim, frame: pd.DataFrame) -> Verdict:
    """Test one claim.

    Args:
        claim: the claim.
        frame: data frame of :func:`splitsec.leaderboard.tables.load`.

    Raises:
        DataError: the claim names a column that the records do not have.
    """
    values, limits = _by_seed(frame, claim.of, claim.measure), limits_of(claim.measure)
    if claim.value is not None:
        differences = values - claim.value
        limits = Limits(limits.low - claim.value, limits.high - claim.value)
    else:
        assert claim.against is not None
        differences = (values - _by_seed(frame, claim.against, claim.measure)).dropna()
        limits = limits.of_differences()
    mean, low, high = estimate(differences.tolist(), limits)
    return Verdict(claim, _outcome(claim, mean, low, high), mean, low, high, len(differences))


def _by_seed(frame: pd.DataFrame, chosen: Mapping[str, Any], measure: str) -> pd.Series[float]:
    """Return a measure of the chosen records that are ok, by seed."""
    for name, value in chosen.items():
        if name not in frame:
            raise DataError(f"no record has {name!r}; a claim names it")
        frame = frame[frame[name] == value]
    if measure not in frame:  # nothing was scored
        return pd.Series(dtype=float)
    done = frame[frame["status"] == "ok"].dropna(subset=[measure])
    if done["seed"].duplicated().any():
        raise DataError(f"a claim's {dict(chosen)} tells no single record per seed")
    return done.set_index("seed")[measure].astype(float)


def _outcome(claim: ReportClaim, mean: float | None, low: float | None, high: float | None) -> str:
    if mean is None:
        return "not run"
    if low is None or high is None:
        return "cannot be told"
    if claim.expects == "same":
        if -claim.margin <= low and high <= claim.margin:
            return "holds"
        return "does not hold" if low > claim.margin or high < -claim.margin else "cannot be told"
    if claim.expects == "lower":
        low, high = -high, -low
    if low > claim.margin:
        return "holds"
    return "does not hold" if high <= claim.margin else "cannot be told"
