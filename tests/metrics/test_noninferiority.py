"""Costs against their margins, and the numbers of seeds and images that tell them."""

from __future__ import annotations

import numpy as np
import pytest

from splitsec.metrics.figures import Limits
from splitsec.metrics.noninferiority import Needs, judge_cost, needs
from splitsec.metrics.two_level import Sample, chance_of_difference
from support.simulated import ALIKE, World, drawn, rows_of, samples_of


def losses(mean: float, spread: float, seeds: int = 5) -> Sample:
    values = np.linspace(-1, 1, seeds)
    return Sample(mean + spread * values / values.std(ddof=1))


@pytest.mark.parametrize(
    ("mean", "spread", "outcome"),
    [
        (0.0, 0.005, "within"),
        (-0.05, 0.005, "within"),  # better than undefended
        (0.012, 0.005, "within"),  # a cost, but a small one
        (0.018, 0.005, "cannot be told"),
        (0.0, 0.05, "cannot be told"),  # no difference from 0 shows nothing
        (0.04, 0.005, "over"),
    ],
)
def test_a_cost_is_judged_against_its_margin(mean: float, spread: float, outcome: str) -> None:
    found = judge_cost(losses(mean, spread), 0.02)
    assert found.outcome == outcome
    assert (found.needs is None) == (outcome != "cannot be told")


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_tell_no_cost(seeds: int) -> None:
    draws = np.random.default_rng(0)
    values = np.zeros((1, seeds, 50)) + 1e-4 * draws.normal(size=(1, seeds, 50))
    (sample,) = samples_of(values, draws, 100)
    found = judge_cost(sample, 0.02)
    assert found.outcome == "cannot be told"
    assert found.needs == (Needs(None, None) if seeds == 1 else Needs(3, None)), (
        "no variance of one"
    )


def test_a_loss_that_is_over_the_margin_is_seldom_called_within_it() -> None:
    draws = np.random.default_rng(0)
    within = 0
    for _ in range(200):
        (sample,) = samples_of(rows_of(1, 5, 60, ALIKE, draws) - 0.5 + 0.02, draws, 100)
        within += judge_cost(sample, 0.02).outcome == "within"
    assert within / 200 <= 0.045


@pytest.mark.parametrize("difference", [0.02, 0.05])
def test_what_is_needed_shows_the_difference_in_four_of_five_cases(difference: float) -> None:
    world = World(0.03, 0.05, 0.0)
    wanted = needs(losses(0, world.seeds, seeds=40), difference).seeds
    assert wanted is not None
    draws = np.random.default_rng(0)
    shown = [
        chance_of_difference(Sample(difference + world.seeds * draws.normal(size=wanted))) < 0.05
        for _ in range(400)
    ]
    assert 0.74 <= np.mean(shown) <= 0.92


def test_no_number_of_seeds_replaces_images() -> None:
    sample = drawn(images=40, world=World(0.001, 0.3, 0.0))
    centred = sample.plus(-sample.mean)
    found = needs(centred, 0.05)
    assert found.seeds is None
    assert found.images is not None
    assert 150 < found.images < 500  # (1.96 + 0.84)² 0.3² / 0.05² is 282
    assert needs(centred, 1.0).images == 10, "the least that is said"


def test_more_images_do_not_replace_seeds() -> None:
    centred = drawn(seeds=20, world=World(0.1, 0.01, 0.0)).plus(-0.5)
    found = needs(centred, 0.05)
    assert found.images is None
    assert found.seeds is not None
    assert 20 < found.seeds < 60


def test_limits_of_a_difference_hold() -> None:
    found = judge_cost(losses(0.9, 0.3), 0.02, Limits(-1, 1))
    assert found.cost.high == 1
