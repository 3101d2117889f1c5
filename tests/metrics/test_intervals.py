"""Intervals: their coverage, their limits, and references from elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from splitsec.metrics.figures import LIMITS, SHARE, Limits, limits_of
from splitsec.metrics.intervals import (
    error_of_interval,
    estimate,
    prediction_interval,
    ratio_estimate,
    standard_error,
    stratified_bootstrap,
    t_interval,
)
from splitsec.metrics.utility import (
    ClassificationUtility,
    classification_utility,
    roc_auc,
    segmentation_utility,
)

Labels = NDArray[np.int64]
Logits = NDArray[np.float64]


def drawn(seed: int, positives: int, negatives: int, shift: float) -> tuple[Logits, Labels]:
    """Return logits of two classes whose AUC in the population is Phi(shift / sqrt 2)."""
    draws = np.random.default_rng(seed)
    labels = np.r_[np.ones(positives, np.int64), np.zeros(negatives, np.int64)]
    logits = np.zeros((len(labels), 2))
    logits[:, 1] = draws.normal(size=len(labels)) + shift * labels
    return logits, labels


def utility(logits: Logits, labels: Labels, resamples: int = 1000) -> ClassificationUtility:
    draws = np.random.default_rng(0)
    return classification_utility(logits, labels, labels, draws, resamples=resamples)


@pytest.mark.parametrize("count", [2, 3, 5, 200])
def test_the_t_interval_is_scipys(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((reference.low, reference.high))
    assert standard_error(values) == pytest.approx(stats.sem(values))


@pytest.mark.parametrize(
    ("values", "limits", "interval"),
    [
        ([0.55, 0.64], SHARE, (0.0233, 1.0)),  # two seeds: -0.79 to 1.98 without limits
        ([0.97, 0.97], SHARE, (0.97, 0.97)),
        ([0.0, 0.0, 0.0], SHARE, (0, 0)),
        ([1.0, 1.0, 1.0], SHARE, (1, 1)),
        ([0.0, 1.0], SHARE, (0, 1)),
        ([-0.2, 0.9], limits_of("skill_mse"), (-6.638, 1)),
        ([1.0, 9.0], limits_of("train seconds"), (0, 55.825)),
        ([30.0, 99.0], limits_of("psnr"), (0, 100)),
        ([-0.9, 0.9], limits_of("ssim"), (-1, 1)),
    ],
)
def test_no_interval_leaves_what_its_figure_can_be(
    values: list[float], limits: Limits, interval: tuple[float, float]
) -> None:
    assert t_interval(np.array(values), limits) == pytest.approx(interval, abs=1e-3)


def test_limits_hold_whichever_figure() -> None:
    for name, limits in LIMITS.items():
        inside = [max(limits.low, -9.0), min(limits.high, 9.0)]
        low, high = t_interval(np.array(inside), limits)
        assert limits.low <= low <= high <= limits.high, name
    assert limits_of("unheard of") == (-math.inf, math.inf)
    assert SHARE.of_differences() == (-1, 1)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan], [0.5, math.inf]])
def test_too_few_values_or_no_numbers_are_an_error(values: list[float]) -> None:
    with pytest.raises(ValueError, match="two or more finite values"):
        t_interval(np.array(values))


def test_fewer_than_three_seeds_have_no_interval_and_none_no_value() -> None:
    assert estimate([]) == (None, None, None)
    assert estimate([0.4]) == (0.4, None, None)
    assert estimate([0.4, 0.6]) == (0.5, None, None)
    assert estimate([0.4, 0.4, 0.4]) == pytest.approx((0.4, 0.4, 0.4))


def test_a_prediction_contains_the_next_value() -> None:
    draws = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        *known, following = draws.normal(0.5, 0.1, size=6)
        found = prediction_interval(known)
        assert found is not None
        hits += found[0] <= following <= found[1]
    assert 0.93 <= hits / 1000 <= 0.97
    assert prediction_interval([0.1, 0.2]) is None
    assert prediction_interval([0.0, 0.9, 0.5], SHARE) == (0, 1)


def test_the_bootstrap_of_an_auc_is_scipys() -> None:
    logits, labels = drawn(3, 14, 40, 0.9)
    margins = logits[:, 1]
    reference = stats.bootstrap(  # resamples both samples on their own
        (margins[labels == 1], margins[labels == 0]),
        lambda ill, well: np.mean(ill[:, None] > well),
        vectorized=False,
        n_resamples=4000,
        method="percentile",
        random_state=np.random.default_rng(1),
    ).confidence_interval
    found = utility(logits, labels, resamples=4000)
    assert found.auc_interval == pytest.approx((reference.low, reference.high), abs=0.012)


def test_the_bootstrap_keeps_the_size_of_each_class() -> None:
    labels = np.array([2, 0, 0, 2, 1, 0, 2])

    def sizes(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        assert [set(counts[:, labels == k].sum(1)) for k in range(3)] == [{3}, {1}, {3}]
        return counts[:, 0].astype(float)

    assert stratified_bootstrap(sizes, labels, np.random.default_rng(0)) == (0, 3)


@pytest.mark.parametrize(
    ("positives", "negatives", "shift", "least"),
    [
        pytest.param(100, 100, 1.2, 0.93, marks=pytest.mark.slow),
        pytest.param(30, 170, 1.2, 0.91, marks=pytest.mark.slow),
        (20, 20, 1.2, 0.90),
        pytest.param(10, 190, 1.2, 0.88, marks=pytest.mark.slow),
    ],
)
def test_the_bootstrap_covers_the_auc(
    positives: int, negatives: int, shift: float, least: float
) -> None:
    truth = stats.norm.cdf(shift / 2**0.5)
    hits = 0
    for seed in range(400):
        found = utility(*drawn(seed, positives, negatives, shift), resamples=300)
        assert found.auc_interval is not None
        hits += found.auc_interval[0] <= truth <= found.auc_interval[1]
    assert least <= hits / 400 <= 0.985


def test_the_t_interval_of_overlaps_covers_their_mean() -> None:
    draws = np.random.default_rng(0)
    truth, hits = 8 / 9.5, 0  # the mean of a beta distribution
    for _ in range(1000):
        low, high = t_interval(draws.beta(8, 1.5, size=12), SHARE)
        assert 0 <= low <= high <= 1
        hits += low <= truth <= high
    assert 0.92 <= hits / 1000 <= 0.97


def test_the_ratio_covers_what_is_retained() -> None:
    draws, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        shared = draws.normal(0, 0.02, size=5)
        wholes = 0.3 + shared + draws.normal(0, 0.03, size=5)
        parts = 0.24 + shared + draws.normal(0, 0.03, size=5)
        ratio, low, high = ratio_estimate(parts, wholes)
        assert ratio == pytest.approx(parts.mean() / wholes.mean())
        assert low is not None
        assert high is not None
        hits += low <= 0.8 <= high
    assert 0.93 <= hits / 1000 <= 0.97


def test_a_ratio_has_the_limits_it_is_given() -> None:
    parts, wholes = np.array([0.1, 0.4, -0.9]), np.array([0.3, 0.4, 0.5])
    assert ratio_estimate(parts, wholes, Limits(-1, 1.2))[1:] == (-1, 1.2)
    assert ratio_estimate(wholes, wholes) == pytest.approx((1, 1, 1))
    assert ratio_estimate(parts[:2], wholes[:2]) == (pytest.approx(5 / 7), None, None)
    assert ratio_estimate(parts[:1], wholes[:1]) == (pytest.approx(1 / 3), None, None)
    assert ratio_estimate(parts[:0], wholes[:0]) == (None, None, None)


def test_an_interval_has_a_standard_error() -> None:
    low, high = stats.norm.interval(0.95, loc=0.7, scale=0.03)
    assert error_of_interval(low, high) == pytest.approx(0.03)


@pytest.mark.parametrize("positives", [1, 2, 3])
def test_a_perfect_model_with_few_positives_is_perfect_in_every_resample(positives: int) -> None:
    found = utility(*drawn(0, positives, 157, 60.0))
    assert (found.auc, found.auc_interval) == (1, (1, 1))
    assert found.learned


def test_a_perfect_ranking_of_two_images_is_half_a_chance() -> None:
    found = utility(*drawn(0, 1, 1, 60.0))
    assert (found.auc, found.auc_interval) == (1, (1, 1))
    assert not found.learned
    assert not utility(*drawn(0, 1, 20, 60.0)).learned  # a chance of 1 in 21
    assert utility(*drawn(0, 1, 60, 60.0)).learned


def test_few_positives_that_rank_high_by_chance_are_not_learned() -> None:
    logits = np.zeros((101, 2))
    logits[:, 1] = np.arange(101)
    labels = np.zeros(101, np.int64)
    labels[95] = 1  # above 95 of 100: as high in 6 of 101 orders
    found = utility(logits, labels)
    assert found.auc_interval is not None
    assert found.auc_interval[0] > 0.5
    assert not found.learned


def test_tied_scores_are_chance() -> None:
    logits, labels = drawn(0, 30, 30, 1.0)
    found = utility(np.zeros_like(logits), labels)
    assert (found.auc, found.auc_interval, found.learned) == (0.5, (0.5, 0.5), False)


def test_a_single_class_has_no_interval() -> None:
    logits, _ = drawn(0, 3, 3, 1.0)
    for label in (0, 1):
        found = utility(logits, np.full(6, label))
        assert (found.auc, found.auc_interval, found.learned) == (0.5, None, False)


def test_a_rare_class_stays_in_every_resample_of_several_classes() -> None:
    draws = np.random.default_rng(2)
    labels = np.r_[np.repeat([0, 1], 60), 2]
    logits = draws.normal(size=(121, 4)) + 3 * np.eye(4)[labels]
    logits[-1] = [3, 3, -3, 0]  # the only image of class 2 is wrong; class 3 has none
    found = utility(logits, labels)
    assert found.auc_interval is not None
    low, high = found.auc_interval
    assert low <= found.auc <= high < 0.8


def test_counts_mean_what_repeated_images_mean() -> None:
    draws = np.random.default_rng(0)
    labels = draws.integers(3, size=40)
    logits = draws.normal(size=(40, 3)).round(1) + np.eye(3)[labels]
    rows = np.r_[0:40, 5, 5, 7]
    seen: list[float] = []

    def once(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        seen.extend(roc_auc(logits[chosen], labels[chosen]) for chosen in repeated(counts))
        return np.zeros(len(counts))

    def repeated(counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [np.repeat(np.arange(40), one) for one in counts]

    stratified_bootstrap(once, labels, np.random.default_rng(4), resamples=200)
    interval = classification_utility(
        logits, labels, labels, np.random.default_rng(4), resamples=200
    ).auc_interval
    assert interval == pytest.approx(tuple(np.percentile(seen, [2.5, 97.5])))
    assert roc_auc(logits[rows], labels[rows]) != roc_auc(logits, labels)


@pytest.mark.parametrize("count", [2, 5])
def test_overlaps_of_few_images_stay_within_their_range(count: int) -> None:
    masks = np.zeros((count, 1, 8, 8), bool)
    masks[:, :, 2:6, 2:6] = True
    predicted = masks.copy()
    predicted[0, :, 2:4] = False
    found = segmentation_utility(predicted, masks, masks[0])
    assert 0 <= found.jaccard_interval[0] < found.jaccard < found.jaccard_interval[1] == 1
    perfect = segmentation_utility(masks, masks, masks[0])
    assert (perfect.jaccard, perfect.jaccard_interval) == (1, (1, 1))
