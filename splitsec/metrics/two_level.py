"""Statistics over seeds and images: intervals, comparisons and ranks.

A figure of a board varies with the seed of the training and with the images that happen to be
scored. Every seed scores the same images, so both are resampled, and images once for all seeds and
for everything that is compared: a bootstrap of two levels, for crossed effects as in Owen, The
pigeonhole bootstrap, Annals of Applied Statistics 1, 2007. Resampling the images anew within each
seed would treat 200 images of 5 seeds as 1,000 and make intervals too narrow.

The level of the seeds needs no draws: what the bootstrap estimates there is the variance of a mean,
which is known in closed form, and without the factor (S-1)/S by which the bootstrap of S values
is too small. Percentiles of five seeds would cover too seldom. The half width of an interval is
``sqrt(t² Vs + z² Vi)``, of the variances over seeds and images and the quantiles of Student's
distributions with S-1 and N-1 degrees of freedom: Banerjee, On confidence interval for
two-means problem, Sankhya 22, 1960, who shows that such intervals cover at least as often as they
say. Satterthwaite's degrees of freedom told 10 equal rows apart in 10 % of simulations, where 5 %
were promised. ``tests/evidence/verdicts.py`` prints coverage and false positives.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

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
        images: number of images; None counts as very many.
    """

    per_seed: Floats
    on_images: Floats | None = None
    images: int | None = None

    def plus(self, value: float) -> Sample:
        """Return the sample of a figure that is larger by a number."""
        images = None if self.on_images is None else self.on_images + value
        return Sample(self.per_seed + value, images, self.images)

    def minus(self, other: Sample) -> Sample:
        """Return the differences from another sample of the same seeds.

        Where either has no values per image, neither have the differences.
        """
        images = None
        if self.on_images is not None and other.on_images is not None:
            images = self.on_images - other.on_images
        known = [one for one in (self.images, other.images) if one is not None]
        return Sample(self.per_seed - other.per_seed, images, min(known, default=None))

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
        scored: number of images; None counts as very many.
    """

    seeds: float
    images: float
    number: int
    scored: int | None = None

    @property
    def error(self) -> float:
        """Standard error of the mean over other seeds and other images."""
        return math.sqrt(self.seeds + self.images)

    def half_width(self, share: float = (1 + LEVEL) / 2) -> float:
        """Return half the width of an interval, of whose two tails each has ``1 - share``."""
        of_seeds = quantile(self.number - 1, share) ** 2 * self.seeds
        freedom = math.inf if self.scored is None else self.scored - 1
        return math.sqrt(of_seeds + quantile(freedom, share) ** 2 * self.images)


def variances(sample: Sample) -> Variances:
    """Return the parts of a figure's variance that come from seeds and from images."""
    count = len(sample.per_seed)
    over_seeds = float(sample.per_seed.var(ddof=1) / count) if count > 1 else math.nan
    over_images = 0.0
    if sample.on_images is not None:
        over_images = float(sample.on_images.mean(axis=1).var(ddof=1))
        if sample.images is not None:  # by which the bootstrap of N values is too small
            over_images *= sample.images / (sample.images - 1)
    return Variances(over_seeds, over_images, count, sample.images)


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
    if len(sample.per_seed) < MINIMUM_SEEDS or abs(sample.mean) < _ROUNDING:
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
_ROUNDING = 1e-9  # a mean that rounding alone may make, of figures of the order of 1


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


def quantile(freedom: float, share: float) -> float:
    """Return a quantile of Student's distribution, normal for infinite degrees of freedom."""
    return float(stdtrit(freedom, share) if math.isfinite(freedom) else ndtri(share))
