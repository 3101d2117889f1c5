"""Leakage is bracketed: whoever sees nothing leaks nothing, whoever sees all leaks all."""

from __future__ import annotations

import os
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from splitsec.data.loading import load_data
from splitsec.download import Patience
from splitsec.errors import DivergedError, PluginError, UsageError, WeightsUnavailableError
from splitsec.metrics.blind_attackers import NAMES
from splitsec.metrics.image_errors import mse, ssim
from splitsec.metrics.leakage import leakage, leakage_per_image, share_above, skill
from splitsec.metrics.lpips_weights import load_backbone
from splitsec.metrics.perceptual import Lpips
from splitsec.metrics.schema import PerImage, VictimScores
from splitsec.metrics.victims import Baselines, References, clamp
from splitsec.plugins.data_spec import DataSpec
from splitsec.progress import Silent

NOTHING = 0.02
"""The most that an attacker who sees nothing may leak."""


class Images(NamedTuple):
    public: Tensor
    validation: Tensor
    victims: Tensor


@cache
def _lpips() -> Lpips | str:
    try:
        return Lpips(load_backbone(patience=Patience(5, 60)))
    except WeightsUnavailableError as error:
        return str(error)


@cache
def _retinamnist() -> Images | str:
    file = Path(os.environ.get("SPLITSEC_DATA", ""), "retinamnist", "retinamnist.npz")
    if not file.is_file():
        return "SPLITSEC_DATA holds no retinamnist/retinamnist.npz"
    with np.load(file) as arrays:
        parts = [
            torch.from_numpy(arrays[f"{name}_images"]).permute(0, 3, 1, 2).float() / 255
            for name in ("train", "val", "test")
        ]
    at_32 = [interpolate(part, size=(32, 32), mode="bilinear", antialias=True) for part in parts]
    return Images(public=at_32[0][:540], validation=at_32[1], victims=at_32[2][:150])


@cache
def _phantoms() -> Images:
    spec = DataSpec(
        name="phantom-fundus", size=32, private=2, public=220, validation=100, held_out=150
    )
    data = load_data(spec, Silent())
    return Images(data.public.all(), data.validation.all(), data.held_out.all())


@cache
def _baselines(name: str) -> tuple[Images, Baselines] | str:
    images = _retinamnist() if name == "retinamnist" else _phantoms()
    if isinstance(images, str):
        return images
    lpips = _lpips()
    if isinstance(lpips, str):
        return lpips
    references = References.fit(images.public, images.validation, lpips, generator(0))
    return images, references.on(images.victims, generator(1))


@pytest.fixture(params=["retinamnist", "phantoms"])
def bracket(request: pytest.FixtureRequest) -> tuple[Images, Baselines]:
    found = _baselines(request.param)
    if isinstance(found, str):
        pytest.skip(found)
    return found


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_trivial_attackers_leak_nothing(bracket: tuple[Images, Baselines]) -> None:
    images, baselines = bracket
    trivial = baselines.references.attackers.reconstructions(len(images.victims), generator(7))
    for name in NAMES:
        leaked = baselines.trivial[name].leakage
        assert leaked is not None
        assert leaked <= NOTHING, name
        scores = baselines.score(trivial[name])  # scored as an attack would be
        assert scores.leakage.mean is not None
        assert scores.leakage.mean <= NOTHING, name
        assert scores.privacy.identification.structure <= 0.03, name
        assert scores.privacy.identification.pixel <= 0.03, name


def test_a_random_image_is_above_random_as_often_as_expected(
    bracket: tuple[Images, Baselines],
) -> None:
    images, baselines = bracket
    trivial = baselines.references.attackers.reconstructions(len(images.victims), generator(7))
    share = baselines.score(trivial["random-image"]).leakage.share_above_random
    assert share is not None
    assert share <= 0.12


def test_noise_leaks_nothing(bracket: tuple[Images, Baselines]) -> None:
    images, baselines = bracket
    scores = baselines.score(torch.rand(images.victims.shape, generator=generator(3)))
    assert scores.leakage.mean == 0
    assert scores.leakage.share_above_random == 0
    assert scores.equivalent_components == 0
    assert scores.privacy.identification.structure <= 0.03


def test_an_oracle_leaks_everything(bracket: tuple[Images, Baselines]) -> None:
    images, baselines = bracket
    scores = baselines.score(images.victims.clone())
    assert scores.leakage.mean == 1
    assert (scores.skill.mse, scores.skill.ssim, scores.skill.lpips) == (1, 1, 1)
    assert scores.leakage.share_above_random == 1
    identified = scores.privacy.identification
    assert (identified.structure, identified.pixel, identified.gallery) == (1, 1, 100)
    assert scores.equivalent_components == 100
    assert scores.equivalent_components_capped
    assert scores.clamped_share == 0


def test_yardsticks_rise_with_what_they_are_told(bracket: tuple[Images, Baselines]) -> None:
    _, baselines = bracket
    rising = [baselines.yardsticks[f"components-{k}"] for k in (1, 3, 10, 30, 100)]
    leaked = [score.leakage for score in rising]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(leaked))
    errors = [score.mse for score in rising]
    assert errors == sorted(errors, reverse=True)
    identified = [score.structure for score in rising]
    assert identified[0] < identified[2] <= identified[4]
    assert (baselines.yardsticks["colour"].leakage or 0) > NOTHING


def test_a_yardstick_is_equivalent_to_itself(bracket: tuple[Images, Baselines]) -> None:
    images, baselines = bracket
    oracles = baselines.references.yardsticks.reconstructions(images.victims)
    for k in (1, 10, 100):
        found = baselines.score(oracles[f"components-{k}"]).equivalent_components
        assert found == pytest.approx(k)


def test_numbers_on_retinamnist_are_near_those_of_the_design() -> None:
    found = _baselines("retinamnist")
    if isinstance(found, str):
        pytest.skip(found)
    _, baselines = found
    told = {
        name: skill(score.mse, baselines.bar["mse"]) for name, score in baselines.yardsticks.items()
    }
    assert told["colour"] == pytest.approx(0.6, abs=0.05)
    assert told["components-3"] == pytest.approx(0.76, abs=0.06)
    assert told["components-10"] == pytest.approx(0.94, abs=0.03)
    assert baselines.yardsticks["components-10"].pixel == pytest.approx(0.97, abs=0.03)
    assert baselines.trivial["mean-image"].ssim == pytest.approx(0.66, abs=0.03)


# What follows needs neither data nor weights: smooth random images stand in.


def smooth(count: int, seed: int) -> Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=generator(seed))
    return interpolate(coarse, size=(16, 16), mode="bilinear")


def small_references() -> References:
    return References.fit(smooth(60, 0), smooth(30, 1), None, generator(0))


def test_errors_of_a_set_are_means_of_its_images() -> None:
    victims = smooth(20, 2)
    images = avg_pool2d(victims, 3, 1, 1)
    scores = small_references().on(victims, generator(1)).score(images)
    assert scores.privacy.mse.per_image == tuple(mse(images, victims).tolist())
    assert scores.privacy.ssim.per_image == pytest.approx(ssim(images, victims).tolist())
    assert scores.privacy.psnr.mean == pytest.approx(np.mean(scores.privacy.psnr.per_image))
    assert scores.privacy.identification.gallery == 20


def test_without_lpips_leakage_is_missing_and_the_rest_is_not() -> None:
    victims = smooth(20, 2)
    scores = small_references().on(victims, generator(1)).score(victims)
    assert scores.skill.mse == scores.skill.ssim == 1
    assert scores.skill.lpips is None
    assert scores.privacy.lpips is None
    assert scores.reference.lpips is None
    assert (scores.leakage.mean, scores.leakage.per_image) == (None, None)
    assert scores.leakage.share_above_random is None
    assert scores.trivial["mean-image"].leakage is None


def test_scores_survive_json() -> None:
    victims = smooth(20, 2)
    scores = small_references().on(victims, generator(1)).score(smooth(20, 3))
    assert VictimScores.model_validate_json(scores.model_dump_json()) == scores
    assert list(scores.trivial) == list(NAMES)
    assert list(scores.yardsticks) == ["colour", *(f"components-{k}" for k in (1, 3, 10, 30))]


def test_scores_are_finite_frozen_and_closed() -> None:
    with pytest.raises(ValidationError, match="finite"):
        PerImage(mean=float("nan"), per_image=())
    with pytest.raises(ValidationError, match="Extra"):
        PerImage.model_validate({"mean": 0.0, "per_image": [], "median": 0.0})
    with pytest.raises(ValidationError, match="frozen"):
        PerImage(mean=0.0, per_image=()).mean = 1.0  # type: ignore[misc]


def test_scoring_twice_gives_the_same_numbers() -> None:
    victims, images = smooth(20, 2), smooth(20, 3)
    first, again = (small_references().on(victims, generator(1)).score(images) for _ in range(2))
    assert first == again


def test_the_bar_is_the_strongest_attacker_on_validation() -> None:
    references = small_references()
    validation = smooth(30, 1)
    guesses = references.attackers.reconstructions(30, generator(0))
    errors = {name: mse(images, validation).mean().item() for name, images in guesses.items()}
    strongest = references.strongest["mse"]
    assert errors[strongest] == min(errors.values())
    baselines = references.on(smooth(20, 2), generator(1))
    assert baselines.bar["mse"] == baselines.trivial[strongest].mse


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


def test_leakage_is_clipped_once_after_averaging() -> None:
    assert leakage([0.5, 0.4, 0.3]) == pytest.approx(0.4)
    assert leakage([1.0, 1.0, -1.4]) == pytest.approx(0.2)  # not 2/3
    assert leakage([0.1, 0.1, -1.0]) == 0
    assert leakage([0.9, 0.9, None]) is None


def test_leakage_per_image_averages_to_leakage() -> None:
    errors = {
        name: torch.rand(30, generator=generator(i))
        for i, name in enumerate(("mse", "ssim", "lpips"))
    }
    bars = {"mse": 1.0, "ssim": 0.8, "lpips": 0.9}
    per_image = leakage_per_image(errors, bars)
    assert per_image is not None
    skills = [skill(errors[name].mean().item(), bars[name]) for name in bars]
    assert per_image.mean().item() == pytest.approx(leakage(skills))
    assert leakage_per_image({"mse": errors["mse"], "ssim": errors["ssim"]}, bars) is None


def test_share_above_counts_beyond_the_95th_percentile() -> None:
    random = torch.arange(101, dtype=torch.float64)
    assert share_above(torch.tensor([95.0, 95.1, 94.9, 200.0], dtype=torch.float64), random) == 0.5
    assert share_above(random, random) == pytest.approx(5 / 101)
