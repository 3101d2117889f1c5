"""Verdicts over seeds and images: coverage, false positives, and references from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from splitsec.metrics.figures import SHARE
from splitsec.metrics.leakage import (
    ERRORS,
    FLOORED,
    KINDS,
    VictimErrors,
    leakage,
    resampled_leakage,
)
from splitsec.metrics.two_level import (
    Sample,
    chance_of_difference,
    draw_images,
    draw_labelled_images,
    draw_seeds,
    holm,
    over_seeds_and_images,
    rank_intervals,
    resampled_mean,
    shares_on_front,
    variances,
)
from support.simulated import (
    WORLDS,
    World,
    coverage,
    drawn,
    rows_of,
    samples_of,
    told_apart,
)

NOISE = 0.02  # of a share in so few runs; tests/evidence/verdicts.py has 2,000 of them


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_over_seeds_and_images_cover_the_truth(world: str, seeds: int) -> None:
    assert coverage(seeds, 60, WORLDS[world], runs=300, resamples=100) >= 0.92


def test_an_interval_that_forgets_the_images_covers_too_seldom() -> None:
    draws = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        values = rows_of(1, 5, 60, WORLDS["images vary most"], draws)[0].mean(axis=1)
        _, low, high = over_seeds_and_images(Sample(values))
        assert low is not None
        assert high is not None
        hits += low <= 0.5 <= high
    assert hits / 300 < 0.9


@pytest.mark.parametrize(
    ("rows", "runs"), [(3, 400), pytest.param(10, 100, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("world", ["images vary most", "seeds alone", "skewed"])
def test_equal_rows_are_seldom_ranked_apart(world: str, rows: int, runs: int) -> None:
    assert told_apart(rows, 5, 60, WORLDS[world], runs, resamples=100) <= 0.05 + NOISE


@pytest.mark.slow
def test_equal_rows_of_seeds_alone_are_seldom_ranked_apart() -> None:
    draws = np.random.default_rng(5)
    apart = 0
    for _ in range(300):
        rows = [Sample(row) for row in 0.5 + 0.03 * draws.normal(size=(10, 5))]
        apart += any(one.first > 1 for one in rank_intervals(rows))
    assert apart / 300 <= 0.05 + NOISE


def test_rows_that_differ_are_ranked() -> None:
    draws = np.random.default_rng(0)
    values = rows_of(4, 5, 200, World(0.01, 0.1, 0.02), draws)
    values += np.array([0.3, 0.0, 0.3, 0.15])[:, None, None]
    found = rank_intervals(samples_of(values, draws, 200))
    assert found == [(3, 4), (1, 1), (3, 4), (2, 2)]


def test_with_seeds_alone_it_is_students_interval_and_test() -> None:
    values = np.random.default_rng(2).normal(0.3, 0.2, 5)
    reference = stats.ttest_1samp(values, 0)
    found = over_seeds_and_images(Sample(values))
    assert found[1:] == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert chance_of_difference(Sample(values)) == pytest.approx(reference.pvalue)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_and_the_test_agree(seed: int) -> None:
    sample = drawn(seed)
    low = over_seeds_and_images(sample).low
    assert low is not None
    assert chance_of_difference(sample.plus(-low - 1e-6)) > 0.05
    assert chance_of_difference(sample.plus(-low + 1e-6)) < 0.05


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_have_an_interval_of_images_alone(seeds: int) -> None:
    sample = drawn(seeds=seeds, world=World(0.2, 0.1, 0.0))
    assert sample.on_images is not None
    mean, low, high = over_seeds_and_images(sample)
    assert (low, high) == pytest.approx(np.percentile(sample.on_images.mean(1), [2.5, 97.5]))
    assert mean == pytest.approx(sample.per_seed.mean())
    assert over_seeds_and_images(Sample(sample.per_seed)) == (pytest.approx(mean), None, None)
    assert chance_of_difference(sample.plus(9)) == 1, "they tell nothing of other seeds"
    assert rank_intervals([sample, sample.plus(9)]) == [(1, 2), (1, 2)]


def test_no_seed_has_no_value() -> None:
    assert over_seeds_and_images(Sample(np.empty(0))) == (None, None, None)


def test_no_interval_leaves_what_the_figure_can_be() -> None:
    for seeds in (1, 2, 3, 5):
        sample = drawn(seeds=seeds, world=World(0.5, 1.0, 0.5))
        _, low, high = over_seeds_and_images(sample, SHARE)
        assert low is not None
        assert high is not None
        assert 0 <= low <= high <= 1


def test_variances_are_those_of_a_crossed_design() -> None:
    world = World(0.03, 0.2, 0.0)
    draws = np.random.default_rng(0)
    values = rows_of(2000, 5, 50, world, draws)[:, :, :]
    found = [variances(one) for one in samples_of(values[:200], draws, 200)]
    assert np.mean([one.seeds for one in found]) == pytest.approx(0.03**2 / 5, rel=0.15)
    assert np.mean([one.images for one in found]) == pytest.approx(0.2**2 / 50, rel=0.15)
    truth = values.mean(axis=(1, 2)).var()
    assert np.mean([one.error**2 for one in found]) == pytest.approx(truth, rel=0.15)


def test_drawn_seeds_vary_as_their_mean_does() -> None:
    values = np.random.default_rng(5).normal(size=4)
    weights = draw_seeds(4, np.random.default_rng(0), 20_000)
    assert weights.sum(axis=1) == pytest.approx(1)
    assert (weights @ values).var() == pytest.approx(stats.sem(values) ** 2, rel=0.05)


def test_drawn_images_are_as_many_as_there_are_in_each_class() -> None:
    labels = np.array([2, 0, 0, 2, 1, 0, 2])
    counts = draw_labelled_images(labels, np.random.default_rng(0), 50)
    assert [set(counts[:, labels == k].sum(1)) for k in range(3)] == [{3}, {1}, {3}]
    assert set(draw_images(7, np.random.default_rng(0), 50).sum(axis=1)) == {7}


def test_holm_is_the_textbooks() -> None:
    # Holm, 1979: of n p-values the k-th smallest is multiplied by n - k + 1, and made monotone.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_front_is_of_rows_that_no_other_beats() -> None:
    losses = np.array([[0.1, 0.2, 0.2, 0.3], [0.1, 0.05, 0.2, 0.3]])
    gains = np.array([[0.9, 1.0, 0.9, 0.1], [0.9, 1.0, 0.9, 0.1]])
    assert shares_on_front(losses, gains) == [0.5, 1.0, 0.0, 0.0]
    same = np.full((1, 3), 0.4)
    assert shares_on_front(same, same) == [1.0, 1.0, 1.0], "equal rows beat none another"


def test_a_resampled_mean_is_of_seeds_and_images() -> None:
    per_seed = np.array([0.0, 1.0])
    weights = np.array([[0.5, 0.5], [0.0, 1.0]])
    assert resampled_mean(Sample(per_seed), weights).tolist() == [0.5, 1.0]
    on_images = np.array([[0.2, 0.8], [0.0, 0.6]])
    assert resampled_mean(Sample(per_seed, on_images), weights).tolist() == [0.5, 0.6]


def delong(margins: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the covariance of AUCs of the same images: DeLong, DeLong and Clarke-Pearson, 1988."""
    above = (
        margins[:, positive][:, :, None] > margins[:, ~positive][:, None, :]
    )  # (models, positives, negatives)
    ill, well = above.mean(axis=2), above.mean(axis=1)
    return np.cov(ill) / ill.shape[1] + np.cov(well) / well.shape[1]


def test_the_paired_bootstrap_of_two_aucs_is_delongs() -> None:
    from splitsec.metrics.utility import auc_on

    draws = np.random.default_rng(0)
    labels = np.r_[np.ones(80, np.int64), np.zeros(120, np.int64)]
    shared = draws.normal(size=200) + 1.2 * labels
    margins = shared + 0.3 * draws.normal(size=(2, 200))
    logits = [np.stack([np.zeros(200), one], axis=1) for one in margins]
    counts = draw_labelled_images(labels, draws, 4000)
    one, other = (auc_on(given, labels, counts) for given in logits)
    covariance = delong(margins, labels == 1)
    reference = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert (one - other).var() == pytest.approx(reference, rel=0.1)
    assert (one - other).std() < 0.6 * one.std(), "pairing pays"


def test_leakage_on_all_images_is_the_leakage() -> None:
    draws = np.random.default_rng(0)
    for scale in (0.3, 0.9, 2.0):  # the last is worse than the blind image
        references = {name: draws.uniform(0.5, 1, 30) for name in ERRORS}
        victims = VictimErrors(
            errors={name: scale * draws.uniform(0.4, 1, 30) for name in ERRORS},
            references=references,
            identified={kind: draws.uniform(0, 1, 30) for kind in KINDS},
            gallery=100,
            guessed=0.02,
        )
        whole = np.ones((1, 30), np.int64)
        known = leakage(victims.skills())
        assert resampled_leakage(victims, whole, FLOORED).tolist() == [pytest.approx(known)]
        three = [value for name, value in victims.skills().items() if name in ERRORS]
        older = np.clip(np.mean([one for one in three if one is not None]), 0, 1)
        assert resampled_leakage(victims, whole, FLOORED - 1).tolist() == [pytest.approx(older)]
        rows = draws.integers(30, size=30)
        counts = np.bincount(rows, minlength=30)[None]
        drawn_again = leakage(victims.take(rows).skills())
        assert resampled_leakage(victims, counts, FLOORED)[0] == pytest.approx(drawn_again)


@pytest.mark.parametrize("values", [[0.0] * 3, [-1e-16] * 3, [1e-16, 2e-16, 1e-16]])
def test_a_difference_of_rounding_is_none(values: list[float]) -> None:
    """Two rows of the same figures may differ by it in every seed."""
    assert chance_of_difference(Sample(np.array(values))) == 1
    assert chance_of_difference(Sample(np.array(values) + 1e-6)) < 0.05
