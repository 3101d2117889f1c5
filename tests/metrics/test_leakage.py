"""Leakage is bracketed: whoever sees nothing leaks nothing, whoever sees all leaks all."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from splitsec.errors import DivergedError, PluginError, UsageError
from splitsec.metrics.image_errors import mse, psnr, ssim
from splitsec.metrics.leakage import PARTS, VictimErrors, leakage, share_above, skill
from splitsec.metrics.schema import BLIND, PerImage, VictimScores
from splitsec.metrics.victims import Baselines, References, clamp
from support.blind import (
    SPECS,
    Bracket,
    bracket,
    hostile_guesses,
    label_guesses,
    labels_of,
    told_components,
)

NOTHING = 0.02
"""The most that an attacker who sees nothing may leak."""


FAST = ("phantom-fundus",)
"""Data sets of the tests that are not marked slow."""


@pytest.fixture(
    params=[pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in SPECS]
)
def victims(request: pytest.FixtureRequest) -> Bracket:
    found = bracket(request.param)
    if isinstance(found, str):
        pytest.skip(found)
    return found


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def leaked(baselines: Baselines, images: Tensor) -> float:
    found = baselines.score(images).scores.leakage.mean
    assert found is not None
    return found


def test_whoever_sees_nothing_leaks_nothing(victims: Bracket) -> None:
    guesses = hostile_guesses(victims)
    guesses |= victims.references.attackers.reconstructions(
        len(victims.baselines.victims), generator(7)
    )
    assert BLIND[-1] in guesses
    for name, images in guesses.items():
        assert leaked(victims.baselines, images) <= NOTHING, name
    for name in BLIND:
        found = victims.baselines.trivial[name].leakage
        assert found is not None
        assert found <= NOTHING, name


def test_whoever_sees_only_labels_leaks_nothing(victims: Bracket) -> None:
    labels = labels_of(victims.data, "held_out")
    told = label_guesses(victims.data, victims.references)(labels)
    for name, images in told.items():
        assert leaked(victims.told, images) <= NOTHING, name
    # Labels are worth something here, so that the reference that uses them is another one.
    unaware = max(leaked(victims.baselines, images) for images in told.values())
    assert unaware > max(leaked(victims.told, images) for images in told.values())


def test_a_random_image_is_above_random_as_often_as_expected(victims: Bracket) -> None:
    guesses = victims.references.attackers.reconstructions(
        len(victims.baselines.victims), generator(7)
    )
    scores = victims.baselines.score(guesses["random-image"]).scores
    assert scores.leakage.share_above_random is not None
    assert scores.leakage.share_above_random <= 0.12


def test_a_copy_leaks_everything(victims: Bracket) -> None:
    for baselines in (victims.baselines, victims.told):
        scores = baselines.score(baselines.victims.clone()).scores
        assert scores.leakage.mean == scores.leakage.worst == scores.leakage.almost_worst == 1
        assert set(scores.skill.model_dump().values()) == {1}
        assert scores.leakage.share_above_random == 1
        identified = scores.privacy.identification
        assert (identified.pixel, identified.certain, identified.gallery) == (1, 1, 100)
        assert scores.equivalent_components == 100
        assert scores.equivalent_components_capped
        assert scores.clamped_share == 0


def test_more_knowledge_leaks_more(victims: Bracket) -> None:
    scored = [
        victims.baselines.score(told_components(victims, count))
        for count in (0, 1, 3, 5, 10, 30, 100)
    ]
    values = [one.scores.leakage.mean for one in scored]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(values))
    # A bad picture that shows whose it is counts: 0.02 wherever more than chance are identified.
    for one in scored:
        if one.errors.rate() > 0.03:
            assert (one.scores.leakage.mean or 0) > NOTHING
    assert (victims.baselines.yardsticks["colour"].leakage or 0) >= 0
    worst = [one.scores.leakage.worst or 0 for one in scored]
    assert all(a >= (b or 0) for a, b in zip(worst, values, strict=True))


def test_a_yardstick_is_equivalent_to_itself(victims: Bracket) -> None:
    for k in (1, 10, 100):
        found = victims.baselines.score(told_components(victims, k)).scores.equivalent_components
        assert found == pytest.approx(k, rel=1e-3)


@pytest.mark.slow
def test_numbers_on_retinamnist_are_near_those_of_the_documentation() -> None:
    found = bracket("retinamnist")
    if isinstance(found, str):
        pytest.skip(found)
    text = (Path(__file__).parents[2] / "docs" / "reading.md").read_text(encoding="utf-8")
    cells = next(line for line in text.splitlines() if line.startswith("| retinamnist | 0."))
    stated = [float(cell.split()[0]) for cell in cells.split("|")[2:-1]]
    measured = [
        leaked(found.baselines, told_components(found, k)) for k in (0, 1, 3, 5, 10, 30, 100)
    ]
    assert measured == pytest.approx(stated, abs=0.01)


# What follows needs neither data nor weights: smooth random images stand in.


def smooth(count: int, seed: int) -> Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=generator(seed))
    return interpolate(coarse, size=(16, 16), mode="bilinear")


def small_references() -> References:
    return References.fit(smooth(60, 0), smooth(30, 1), None, generator(0))


def test_errors_of_a_set_are_means_of_its_images() -> None:
    victims = smooth(20, 2)
    images = avg_pool2d(victims, 3, 1, 1)
    scores, measured = small_references().on(victims, generator(1)).score(images)
    assert measured.errors["mse"].tolist() == mse(images, victims).tolist()
    assert (1 - measured.errors["ssim"]).tolist() == pytest.approx(ssim(images, victims).tolist())
    assert scores.privacy.mse.mean == pytest.approx(measured.errors["mse"].mean())
    assert scores.privacy.psnr.mean == pytest.approx(psnr(images, victims).mean().item())
    assert scores.count == 20
    assert "per_image" not in scores.privacy.model_dump_json()
    assert scores.privacy.identification.gallery == 50  # with 30 validation images


def test_without_lpips_leakage_is_missing_and_the_rest_is_not() -> None:
    victims = smooth(20, 2)
    scores = small_references().on(victims, generator(1)).score(victims).scores
    assert scores.skill.mse == scores.skill.ssim == 1
    assert scores.skill.lpips is None
    assert scores.privacy.lpips is None
    assert scores.reference.lpips is None
    assert (scores.leakage.mean, scores.leakage.per_image) == (None, None)
    assert scores.leakage.share_above_random is None
    assert scores.trivial["mean-image"].leakage is None


def test_scores_survive_json() -> None:
    victims = smooth(20, 2)
    scores = small_references().on(victims, generator(1)).score(smooth(20, 3)).scores
    assert VictimScores.model_validate_json(scores.model_dump_json()) == scores
    assert list(scores.trivial) == list(BLIND[:-1])  # LPIPS is not measured
    assert list(scores.yardsticks) == ["colour", *(f"components-{k}" for k in (1, 3, 5, 10, 30))]


def test_scores_are_finite_frozen_and_closed() -> None:
    with pytest.raises(ValidationError, match="finite"):
        PerImage(mean=float("nan"), per_image=())
    with pytest.raises(ValidationError, match="Extra"):
        PerImage.model_validate({"mean": 0.0, "per_image": [], "median": 0.0})
    with pytest.raises(ValidationError, match="frozen"):
        PerImage(mean=0.0, per_image=()).mean = 1.0  # type: ignore[misc]


def test_scoring_twice_gives_the_same_numbers() -> None:
    victims, images = smooth(20, 2), smooth(20, 3)
    first, again = (
        small_references().on(victims, generator(1)).score(images).scores for _ in range(2)
    )
    assert first == again


def test_the_bar_is_the_strongest_attacker_on_validation() -> None:
    references = small_references()
    validation = smooth(30, 1)
    guesses = references.attackers.reconstructions(30, generator(0))
    del guesses["random-image"]  # one image of those drawn does better
    errors = {name: mse(images, validation).mean().item() for name, images in guesses.items()}
    strongest = references.strongest["mse"]
    assert errors[strongest] == min(errors.values())
    baselines = references.on(smooth(20, 2), generator(1))
    assert baselines.bar["mse"].mean().item() == baselines.trivial[strongest].mse


def test_values_outside_the_range_are_clamped_and_counted() -> None:
    victims = torch.ones(4, 3, 16, 16)
    clamped = clamp(torch.cat([victims[:3] + 0.5, victims[:1] - 1.5]), victims.shape)
    assert clamped.share == 1
    assert clamped.images.flatten(1).mean(dim=1).tolist() == [1, 1, 1, 0]
    assert clamp(victims.double(), victims.shape).images.dtype == torch.float32
    images = torch.full((1, 1, 8, 8), 0.5)
    images[0, 0, 0, :4] = -0.1
    assert clamp(images, images.shape).share == pytest.approx(4 / 64)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_divergence(value: float) -> None:
    victims = smooth(4, 2)
    images = victims.clone()
    images[1, 0, 3, 3] = value
    with pytest.raises(DivergedError, match="1 of 4 reconstructions hold values that are not"):
        small_references().on(victims, generator(1)).score(images)


def test_a_wrong_shape_is_named_with_the_right_one() -> None:
    victims = smooth(4, 2)
    with pytest.raises(PluginError, match=r"\(4, 3, 16, 8\), the victims have \(4, 3, 16, 16\)"):
        clamp(victims[..., :8], victims.shape)


@pytest.mark.parametrize(
    "returned", [None, [1.0], torch.zeros(4, 3, 16, 16, dtype=torch.uint8)], ids=str
)
def test_something_else_than_float_images_is_a_plugin_error(returned: object) -> None:
    with pytest.raises(PluginError, match="must be a floating-point tensor"):
        clamp(returned, torch.Size((4, 3, 16, 16)))  # type: ignore[arg-type]


def test_images_too_small_for_ssim_are_a_usage_error() -> None:
    tiny = torch.rand(5, 3, 6, 6, generator=generator())
    with pytest.raises(UsageError, match="at least 7x7"):
        References.fit(tiny, tiny, None, generator())


def test_skill_is_one_minus_a_ratio_and_keeps_its_sign() -> None:
    assert skill(0.0, 0.5) == 1
    assert skill(0.5, 0.5) == 0
    assert skill(2.0, 0.5) == -3
    assert skill(0.0, 0.0) is None


def mean_of(*skills: float | None) -> float | None:
    return leakage(dict(zip(PARTS, skills, strict=True)))


def test_a_skill_below_zero_counts_as_zero() -> None:
    assert mean_of(0.5, 0.4, 0.3, 0.8) == pytest.approx(0.5)
    assert mean_of(1.0, 1.0, -1.4, 1.0) == pytest.approx(0.75)  # the blind image was free
    assert mean_of(-0.1, -3.0, -1.0, -0.01) == 0
    assert mean_of(1.0, 1.0, 1.0, 1.0) == 1
    assert mean_of(0.9, 0.9, None, 0.9) is None


def made_up(count: int = 30) -> VictimErrors:
    draws = np.random.default_rng(0)
    errors = {name: draws.random(count) for name in ("mse", "ssim", "lpips")}
    references = {name: 0.3 + draws.random(count) for name in errors}
    identified = {"structure": draws.random(count) / 2, "pixel": draws.random(count)}
    return VictimErrors(errors, references, identified, gallery=100, guessed=0.01)


def test_skills_are_of_means_and_identification_of_the_surer_kind() -> None:
    made = made_up()
    skills = made.skills()
    for name in ("mse", "ssim", "lpips"):
        assert skills[name] == 1 - made.errors[name].mean() / made.references[name].mean()
    rate = made.identified["pixel"].mean()
    assert rate > made.identified["structure"].mean()
    assert skills["identification"] == pytest.approx((rate - 0.01) / 0.99)
    assert made.rate() == rate


def test_leakage_of_images_is_floored_image_by_image() -> None:
    made = made_up()
    values = made.per_image()
    assert values is not None
    parts = [
        1 - made.errors[name][7] / made.references[name].mean() for name in ("mse", "ssim", "lpips")
    ]
    parts.append((made.identified["pixel"][7] - 0.01) / 0.99)
    assert values[7] == pytest.approx(sum(max(0.0, part) for part in parts) / 4)
    assert values.mean() >= (leakage(made.skills()) or 0)
    without = VictimErrors({"mse": made.errors["mse"]}, made.references, made.identified, 100, 0.01)
    assert without.per_image() is None
    assert leakage(without.skills()) is None


def test_victims_can_be_taken_again() -> None:
    made = made_up()
    rows = np.array([3, 3, 8])
    taken = made.take(rows)
    assert taken.errors["ssim"].tolist() == made.errors["ssim"][rows].tolist()
    assert taken.skills()["mse"] == pytest.approx(
        1 - made.errors["mse"][rows].mean() / made.references["mse"][rows].mean()
    )
    assert made.take(np.arange(30)).skills() == made.skills()


def test_share_above_counts_beyond_the_95th_percentile() -> None:
    random = np.arange(101.0)
    assert share_above(np.array([95.0, 95.1, 94.9, 200.0]), random) == 0.5
    assert share_above(random, random) == pytest.approx(5 / 101)
