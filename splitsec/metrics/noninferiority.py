"""Costs judged by non-inferiority, and how many seeds and images a difference needs."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from splitsec.metrics.figures import UNLIMITED, Estimate, Limits
from splitsec.metrics.intervals import MINIMUM_SEEDS
from splitsec.metrics.two_level import (
    Sample,
    Variances,
    over_seeds_and_images,
    quantile,
    variances,
)

Outcome = Literal["within", "over", "cannot be told"]


class Needs(NamedTuple):
    """Numbers of seeds and images with which a difference would be seen.

    Attributes:
        seeds: with the images that there are; None if no number of seeds would do.
        images: with the seeds that there are; None if no number of images would do, or if no
            values per image are known.
    """

    seeds: int | None
    images: int | None


class CostVerdict(NamedTuple):
    """Whether a loss is shown to be at most a margin.

    Attributes:
        cost: the loss with its 95 % interval.
        margin: the largest loss that counts as none, stated beforehand.
        outcome: ``"within"`` if the whole interval is below the margin (non-inferiority),
            ``"over"`` if it is above.
        needs: numbers that could tell if the cost is as measured, where it cannot be told;
            otherwise None.
    """

    cost: Estimate
    margin: float
    outcome: Outcome
    needs: Needs | None = None


def judge_cost(losses: Sample, margin: float, limits: Limits = UNLIMITED) -> CostVerdict:
    """Judge a loss by non-inferiority, as for instance a defense's cost in AUC.

    That a loss cannot be told from 0 shows nothing: few seeds and images never tell. Here the
    95 % interval must lie below the margin.

    Args:
        losses: undefended minus defended, paired by seed and by image.
        margin: the largest loss that counts as none.
        limits: what a loss can be.
    """
    cost = over_seeds_and_images(losses, limits)
    if len(losses.per_seed) >= MINIMUM_SEEDS and cost.low is not None and cost.high is not None:
        if cost.high < margin:
            return CostVerdict(cost, margin, "within")
        if cost.low > margin:
            return CostVerdict(cost, margin, "over")
    could = needs(losses, abs(margin - losses.mean))
    return CostVerdict(cost, margin, "cannot be told", could)


POWER = 0.8
"""How often a difference should be seen if it is there."""

_MOST = 10_000  # seeds or images; more are as good as none


def needs(sample: Sample, difference: float) -> Needs:
    """Return how many seeds or images show a difference in 80 % of experiments.

    The test is that of :func:`splitsec.metrics.two_level.chance_of_difference` at 5 %. A number of
    images is found by scaling the variance over images, which goes with 1 / N.

    Args:
        sample: paired differences as they are now, from which variances are estimated; two
            seeds or more, else nothing is known.
        difference: the difference to show; nothing shows 0.
    """
    found = variances(sample)
    if math.isnan(found.seeds):
        return Needs(None, None)
    of_seed = found.seeds * found.number  # of one seed
    seeds = next(
        (
            count
            for count in _candidates(MINIMUM_SEEDS)
            if _shows(found._replace(seeds=of_seed / count, number=count), difference)
        ),
        None,
    )
    images = sample.images
    if sample.on_images is None or images is None or found.number < MINIMUM_SEEDS:
        return Needs(seeds, None)
    enough = next(
        (
            count
            for count in _candidates(10)
            if _shows(
                found._replace(images=found.images * images / count, scored=count), difference
            )
        ),
        None,
    )
    return Needs(seeds, enough)


def _candidates(least: int) -> list[int]:
    """Return numbers from the least on, each if it is below 100, then in steps of a percent."""
    numbers = list(range(least, 100))
    while numbers[-1] < _MOST:
        numbers.append(max(numbers[-1] + 1, round(numbers[-1] * 1.01)))
    return numbers


def _shows(found: Variances, difference: float) -> bool:
    """Return whether a true difference is seen often enough."""
    return difference >= found.half_width() + quantile(math.inf, POWER) * found.error
