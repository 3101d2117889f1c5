"""Statistics over seeds and images: intervals, comparisons, ranks and costs.

A figure of a board varies with the seed of the training and with the images that happen to be
scored. Every seed scores the same images, so both are resampled, and images once for all seeds and
for everything that is compared: a bootstrap of two levels, for crossed effects as in Owen, The
pigeonhole bootstrap, Annals of Applied Statistics 1, 2007. Resampling the images anew within each
seed would treat 200 images of 5 seeds as 1,000 and make intervals too narrow.

The level of the seeds needs no draws: what the bootstrap estimates there is the variance of a mean,
which is known in closed form, and without the factor (S-1)/S by which the bootstrap of S values
is too small. Percentiles of five seeds would cover too seldom. The half width of an interval is
``sqrt(t² Vs + z² Vi)``, of the variances over seeds and images and the quantiles of Student's
distribution with S-1 degrees of freedom and of the normal one: Banerjee, On confidence interval for
two-means problem, Sankhya 22, 1960, who shows that such intervals cover at least as often as they
say. Satterthwaite's degrees of freedom told 10 equal rows apart in 10 % of simulations, where 5 %
were promised. ``tests/evidence/verdicts.py`` prints coverage and false positives.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from splitsec.metrics.figures import UNLIMITED, Estimate, Limits
from splitsec.metrics.intervals import LEVEL, MINIMUM_SEEDS

RESAMPLES = 1000
"""Resamples of the images."""

Floats = NDArray[np.floating]


class Sample(NamedTuple):
    """A figure of several seeds, and what it is on resampled images.

    Attributes:
        per_seed: (S,), finite, the figure of each seed on all images.
        on_images: (R, S), the figure of each seed on R resamples of the images. Resample r is of
            the same images for all seeds, and for all samples that are compared. None where no
            values per image are known; then images are taken as given.
    """

    per_seed: Floats
    on_images: Floats | None = None

    def minus(self, other: Sample) -> Sample:
        """Return the differences from another sample of the same seeds.

        Where either has no values per image, neither have the differences.
        """
        images = None
        if self.on_images is not None and other.on_images is not None:
            images = self.on_images - other.on_images
        return Sample(self.per_seed - other.per_seed, images)

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(self.per_seed.mean())


class Variances(NamedTuple):
    """How much a mean over seeds varies, in the squared unit of the figure.

    Attributes:
        seeds: variance of the mean over other seeds, on these images; NaN for fewer than two.
        images: variance of the mean over other images, with these seeds; 0 if unknown.
        number: number of seeds.
    """

    seeds: float
    images: float
    number: int

    @property
    def error(self) -> float:
        """Standard error of the mean over other seeds and other images."""
        return math.sqrt(self.seeds + self.images)

    def half_width(self, share: float = (1 + LEVEL) / 2) -> float:
        """Return half the width of an interval, of whose two tails each has ``1 - share``."""
        of_seeds = _quantile(self.number - 1, share) ** 2 * self.seeds
        return math.sqrt(of_seeds + _quantile(math.inf, share) ** 2 * self.images)


def variances(sample: Sample) -> Variances:
    """Return how much of a figure's variance is due to seeds and to images."""
    count = len(sample.per_seed)
    over_seeds = float(sample.per_seed.var(ddof=1) / count) if count > 1 else math.nan
    over_images = 0.0
    if sample.on_images is not None:
        over_images = float(sample.on_images.mean(axis=1).var(ddof=1))
    return Variances(over_seeds, over_images, count)


def draw_images(
    count: int, generator: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.int64]:
    """Return how often each image is in each resample, of shape (resamples, count)."""
    return generator.multinomial(count, np.full(count, 1 / count), size=resamples)


def draw_labelled_images(
    labels: NDArray[np.integer], generator: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.int64]:
    """Return the same as :func:`draw_images`, with as many images of each class as there are.

    Args:
        labels: (N,), the class of each image.
        generator: draws the images.
        resamples: number of resamples R.

    Returns:
        (R, N).
    """
    counts = np.empty((resamples, len(labels)), np.int64)
    for one in np.unique(labels):
        rows = np.flatnonzero(labels == one)
        counts[:, rows] = draw_images(len(rows), generator, resamples)
    return counts


def draw_seeds(
    count: int, generator: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Return the weight of each seed in each resample of the seeds.

    One seed fewer is drawn than there are, so that the resampled mean varies as much as the mean
    does: Rao and Wu, Resampling inference with complex survey data, JASA 83, 1988.

    Args:
        count: number of seeds S, at least 2.
        generator: draws the seeds.
        resamples: number of resamples R.

    Returns:
        (R, S); each row sums to 1.
    """
    alike = np.full(count, 1 / count)
    return generator.multinomial(count - 1, alike, size=resamples) / (count - 1)


def over_seeds_and_images(sample: Sample, limits: Limits = UNLIMITED) -> Estimate:
    """Return the mean over seeds with its 95 % interval over seeds and images.

    With fewer than :data:`~splitsec.metrics.intervals.MINIMUM_SEEDS` seeds nothing can be said of
    other seeds. Then the interval is over images alone, that of the percentiles, and there is none
    where no values per image are known.

    Args:
        sample: the figure; may be of no seed.
        limits: what the figure can be.
    """
    if not len(sample.per_seed):
        return Estimate(None)
    mean = sample.mean
    if len(sample.per_seed) < MINIMUM_SEEDS:
        if sample.on_images is None:
            return Estimate(mean)
        tail = 50 * (1 - LEVEL)
        low, high = np.percentile(sample.on_images.mean(axis=1), [tail, 100 - tail])
        return Estimate(mean, *limits.cut(float(low), float(high)))
    half = variances(sample).half_width()
    return Estimate(mean, *limits.cut(mean - half, mean + half))


def chance_of_difference(sample: Sample) -> float:
    """Return how often a mean as far from 0 is found where the true one is 0, in [0, 1].

    It is the test with two sides that belongs to :func:`over_seeds_and_images`: the interval with
    this share outside it just reaches 0. It is 1 for fewer than
    :data:`~splitsec.metrics.intervals.MINIMUM_SEEDS` seeds, which tell nothing.
    """
    if len(sample.per_seed) < MINIMUM_SEEDS or sample.mean == 0:
        return 1.0
    found, distance = variances(sample), abs(sample.mean)
    if found.error == 0:
        return 0.0
    likely, unlikely = 1.0, 0.0
    for _ in range(_HALVINGS):
        middle = math.sqrt(likely * unlikely) if unlikely else likely / 1e3
        if middle < _NEVER:
            return middle
        if found.half_width(1 - middle / 2) <= distance:
            likely = middle
        else:
            unlikely = middle
    return likely


_HALVINGS = 40  # of an interval of p-values, whose logarithms are halved
_NEVER = 1e-12  # a p-value as good as 0


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values that are adjusted for their number.

    Holm, A simple sequentially rejective multiple test procedure, 1979: whichever hypotheses are
    true, the chance that one of them is below 0.05 is at most 0.05.
    """
    adjusted = [1.0] * len(chances)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(chances)), key=lambda one: chances[one])):
        largest = max(largest, min(1.0, (len(chances) - place) * chances[index]))
        adjusted[index] = largest
    return adjusted


class RankInterval(NamedTuple):
    """The ranks that a row may have; 1 is the lowest figure.

    Attributes:
        first: one more than the number of rows that are lower.
        last: number of rows, less those that are higher.
    """

    first: int
    last: int


def rank_intervals(samples: Sequence[Sample]) -> list[RankInterval]:
    """Return simultaneous 95 % intervals of the ranks of several figures, lowest first.

    All pairs are compared by their differences, paired by seed and image, with Holm's correction:
    the chance that any interval misses its row's rank is at most 0.05, and so is the chance that
    any two of rows that are the same are ranked apart. Mogstad, Romano, Shaikh and Wilhelm,
    Inference for ranks, Review of Economic Studies 91, 2024, get intervals of ranks from such
    tests. All pairs rather than comparisons with one baseline, because a reader compares any two
    rows, and boards of attacks and targets have no baseline.

    Args:
        samples: figures of the same seeds, in the same order.
    """
    pairs = list(itertools.combinations(range(len(samples)), 2))
    differences = [samples[one].minus(samples[other]) for one, other in pairs]
    chances = holm([chance_of_difference(difference) for difference in differences])
    lower, higher = [0] * len(samples), [0] * len(samples)
    for (one, other), difference, chance in zip(pairs, differences, chances, strict=True):
        if chance < 1 - LEVEL:
            less, more = (one, other) if difference.mean < 0 else (other, one)
            lower[more] += 1
            higher[less] += 1
    return [
        RankInterval(1 + below, len(samples) - above)
        for below, above in zip(lower, higher, strict=True)
    ]


def shares_on_front(losses: Floats, gains: Floats) -> list[float]:
    """Return how often each row is on the Pareto front.

    A row is off it in a resample where another one has no more loss and no less gain, and less
    loss or more gain.

    Args:
        losses: (R, K), such as the leakage of K rows in R resamples.
        gains: (R, K), such as what they retain of the utility.

    Returns:
        (K,) shares of the resamples, in [0, 1].
    """
    less = losses[:, :, None] - losses[:, None, :]  # of the other row, in its place 1
    more = gains[:, :, None] - gains[:, None, :]
    dominates = (less <= 0) & (more >= 0) & ((less < 0) | (more > 0))
    shares: list[float] = (1 - dominates.any(axis=1).mean(axis=0)).tolist()
    return shares


def resampled_mean(sample: Sample, weights: Floats) -> Floats:
    """Return the mean over resampled seeds, on resampled images where values per image are known.

    Args:
        sample: the figure of S seeds.
        weights: (R, S) of :func:`draw_seeds`, or (1, S) for the seeds that there are.

    Returns:
        (R,).
    """
    values = sample.per_seed if sample.on_images is None else sample.on_images
    mean: Floats = (weights * values).sum(axis=1)
    return mean


Outcome = Literal["within", "over", "cannot be told"]


class CostVerdict(NamedTuple):
    """Whether a loss is shown to be at most a margin.

    Attributes:
        cost: the loss with its 95 % interval.
        margin: the largest loss that counts as none, stated beforehand.
        outcome: ``"within"`` if the whole interval is below the margin (non-inferiority),
            ``"over"`` if it is above.
        needs: numbers that could tell, where it cannot be told; otherwise None.
    """

    cost: Estimate
    margin: float
    outcome: Outcome
    needs: Needs | None = None


class Needs(NamedTuple):
    """Numbers of seeds and images with which a difference would be seen.

    Attributes:
        seeds: with the images that there are; None if no number of seeds would do.
        images: with the seeds that there are; None if no number of images would do, or if no
            values per image are known.
    """

    seeds: int | None
    images: int | None


def judge_cost(
    losses: Sample, margin: float, limits: Limits = UNLIMITED, images: int | None = None
) -> CostVerdict:
    """Judge a loss by non-inferiority, as for instance a defense's cost in AUC.

    That a loss cannot be told from 0 shows nothing: few seeds and images never tell. Here the
    95 % interval must lie below the margin.

    Args:
        losses: undefended minus defended, paired by seed and by image.
        margin: the largest loss that counts as none.
        limits: what a loss can be.
        images: number of images; without it what could tell is given in seeds alone.
    """
    cost = over_seeds_and_images(losses, limits)
    if len(losses.per_seed) < MINIMUM_SEEDS or cost.low is None or cost.high is None:
        return CostVerdict(cost, margin, "cannot be told", needs(losses, margin, images))
    if cost.high < margin:
        return CostVerdict(cost, margin, "within")
    if cost.low > margin:
        return CostVerdict(cost, margin, "over")
    return CostVerdict(cost, margin, "cannot be told", needs(losses, margin, images))


POWER = 0.8
"""How often a difference should be seen if it is there."""

_MOST = 10_000  # seeds or images; more are as good as none


def needs(sample: Sample, difference: float, images: int | None = None) -> Needs:
    """Return how many seeds or images show a difference in 80 % of experiments.

    The test is that of :func:`chance_of_difference` at 5 %. A number of images is found by scaling
    the variance over images, which goes with 1 / N.

    Args:
        sample: paired differences as they are now, from which variances are estimated; two
            seeds or more, else nothing is known.
        difference: the difference to show, above 0.
        images: number N of images now; None if it is not known.
    """
    found = variances(sample)
    if math.isnan(found.seeds):
        return Needs(None, None)
    of_seed = found.seeds * found.number  # of one seed
    seeds = next(
        (
            count
            for count in _candidates(MINIMUM_SEEDS)
            if _shows(Variances(of_seed / count, found.images, count), difference)
        ),
        None,
    )
    if sample.on_images is None or images is None or found.number < MINIMUM_SEEDS:
        return Needs(seeds, None)
    enough = next(
        (
            count
            for count in _candidates(10)
            if _shows(found._replace(images=found.images * images / count), difference)
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
    return difference >= found.half_width() + _quantile(math.inf, POWER) * found.error


def _quantile(freedom: float, share: float) -> float:
    """Return a quantile of Student's distribution, which is normal if its degrees are infinite."""
    return float(stdtrit(freedom, share) if math.isfinite(freedom) else ndtri(share))
