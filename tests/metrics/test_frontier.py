"""Curves of privacy against utility: the monotone fit, what is read off it, and how surely."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from splitsec.metrics.frontier import Curve, decreasing, read_off
from splitsec.metrics.two_level import Floats, Sample, over_seeds_and_images


def test_the_fit_is_the_isotonic_regression() -> None:
    draws = np.random.default_rng(0)
    values = draws.normal(size=(300, 7))
    expected = [isotonic_regression(one, increasing=False).x for one in values]
    assert np.allclose(decreasing(values), expected)
    assert decreasing(np.array([0.3])).tolist() == [0.3]


@pytest.mark.parametrize(
    ("share", "leakage"),
    [
        (1.0, 0.8),  # undefended
        (0.99, 0.7),  # what the weakest strength retains
        (0.945, 0.55),  # half way
        (0.9, 0.4),
        (0.8, 0.3),
        (0.7, 0.2),
        (0.69, 0.2),  # too far from the next one
        (0.2, 0.2),
        (0.1, 0.1),
        (0.05, 0.1),  # the strongest one retains more than that
    ],
)
def test_leakage_is_read_off_between_strengths(share: float, leakage: float) -> None:
    retained, leaks = np.array([1, 0.99, 0.9, 0.7, 0.1]), np.array([0.8, 0.7, 0.4, 0.2, 0.1])
    joined = np.array([True, True, True, False])
    assert read_off(retained, leaks, share, joined) == pytest.approx(leakage)
    many = read_off(np.tile(retained, (5, 1)), np.tile(leaks, (5, 1)), share, joined)
    assert many.tolist() == pytest.approx([leakage] * 5)
    curve = Curve(exact(retained.tolist()), exact(leaks.tolist()))
    assert curve.at(share).mean == pytest.approx(leakage)


def exact(values: list[float], resamples: int = 20) -> list[Sample]:
    return [Sample(np.full(5, value), np.full((resamples, 5), value), 60) for value in values]


def test_a_lucky_strength_gains_nothing() -> None:
    """A strength in the middle leaks less than a stronger one: by luck, which the fit shares."""
    curve = Curve(exact([1, 0.99, 0.98, 0.97]), exact([0.8, 0.6, 0.2, 0.6]))
    assert curve.at(0.97).mean == pytest.approx((0.2 + 0.6) / 2)
    assert curve.place(0.95) == 3


def test_the_area_is_the_mean_leakage_between_half_and_all_of_the_utility() -> None:
    assert Curve(exact([1, 0.75, 0.5]), exact([0.8, 0.5, 0.2])).area().mean == pytest.approx(0.5)
    assert Curve(exact([1, 0.5]), exact([0.8, 0.2])).area().mean == pytest.approx(0.794)  # at 0.5
    assert Curve(exact([1, 1]), exact([0.8, 0.3])).area().mean == pytest.approx(0.3)


def drawn(draws: np.random.Generator, mean: float, shared: Floats) -> Sample:
    """Return a sample with errors of seeds, and of images that all strengths share."""
    per_image = mean + shared + 0.05 * draws.normal(size=(5, 60)) + 0.02 * draws.normal(size=(5, 1))
    counts = np.random.default_rng(7).multinomial(60, np.full(60, 1 / 60), size=200)
    return Sample(per_image.mean(1), counts @ per_image.T / 60, 60)


def test_intervals_contain_the_truth_as_often_as_they_say() -> None:
    retained, leakage = [1.0, 0.98, 0.93, 0.8], [0.7, 0.6, 0.4, 0.2]
    truth = 0.4 + 0.2 * 0.02 / 0.05
    hits, runs = 0, 150
    for seed in range(runs):
        draws = np.random.default_rng(seed)
        shared = 0.2 * draws.normal(size=60)
        curve = Curve(
            [*exact([1.0], 200), *(drawn(draws, one, 0 * shared) for one in retained[1:])],
            [drawn(draws, one, shared) for one in leakage],
        )
        found = over_seeds_and_images(curve.at(0.95))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    assert hits >= 0.92 * runs


def test_figures_of_one_seed_have_intervals_of_images_alone() -> None:
    draws = np.random.default_rng(0)
    leakage = [Sample(np.array([v]), v + 0.05 * draws.normal(size=(50, 1)), 40) for v in (0.7, 0.4)]
    retained = [Sample(np.array([v]), np.full((50, 1), v), 40) for v in (1.0, 0.96)]
    found = over_seeds_and_images(Curve(retained, leakage).at(0.95))
    assert found.value == pytest.approx(0.4)
    assert found.low is not None
    assert found.low < 0.4
    unknown = [one._replace(on_images=None) for one in leakage]
    assert over_seeds_and_images(Curve(retained, unknown).at(0.95)).low is None
