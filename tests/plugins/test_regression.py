"""Regression on pairs: its solutions against numpy's, and what hardly is a regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from splitsec.errors import DivergedError
from splitsec.plugins.toolbox.queries import Pairs
from splitsec.plugins.toolbox.regression import (
    Kernel,
    Known,
    RegressionParameters,
    Regressor,
    _System,
    regress,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fitted(kernel: Kernel, strength: float, features: Tensor, images: Tensor) -> Regressor:
    made = Regressor(nn.Identity(), (1, 2, 3), kernel, strength)
    made.fit(Known(features), images)
    return made


@pytest.mark.parametrize(("count", "width"), [(40, 7), (12, 30)], ids=["primal", "dual"])
@pytest.mark.parametrize("strength", [1e-4, 0.1, 10.0])
def test_the_linear_form_is_least_squares_with_a_penalty(
    count: int, width: int, strength: float
) -> None:
    features, images = draw(count, width), 0.05 * draw(count, 6, seed=1) + 0.5
    scale = 0.2
    made = fitted(Kernel(None, scale), strength, features, images)
    # The penalty as rows of a larger system: |X w - y|^2 + (strength / scale) |w|^2.
    rows = np.sqrt(strength / scale) * np.eye(width)
    mean = images.numpy().mean(0)
    system = np.vstack([features.numpy(), rows])
    right = np.vstack([images.numpy() - mean, np.zeros((width, 6))])
    weights, *_ = np.linalg.lstsq(system, right, rcond=None)
    seen = draw(5, width, seed=2)
    due = (seen.numpy() @ weights + mean).clip(0, 1)
    np.testing.assert_allclose(made.reconstruct(seen).flatten(1).numpy(), due, atol=1e-4)


@pytest.mark.parametrize("rough", [False, True], ids=["Gaussian", "Matern"])
def test_the_kernel_form_is_the_textbooks(rough: bool) -> None:
    features, images = draw(30, 8), 0.05 * draw(30, 6, seed=1) + 0.5
    kernel, strength = Kernel(3.0, 1.0, rough), 0.01
    made = fitted(kernel, strength, features, images)

    def textbook(one: Tensor, other: Tensor) -> np.ndarray:
        apart = one.double().numpy()[:, None] - other.double().numpy()
        distance = np.sqrt((apart**2).sum(2))
        if rough:
            return (1 + np.sqrt(3) * distance / 3.0) * np.exp(-np.sqrt(3) * distance / 3.0)
        return np.exp(-(distance**2) / (2 * 3.0**2))

    mean = images.double().numpy().mean(0)
    system = textbook(features, features) + strength * np.eye(30)
    weights = np.linalg.solve(system, images.double().numpy() - mean)
    seen = draw(5, 8, seed=2)
    due = (textbook(seen, features) @ weights + mean).clip(0, 1)
    np.testing.assert_allclose(made.reconstruct(seen).flatten(1).numpy(), due, atol=1e-4)


def pairs_of(images: Tensor, smashed: Tensor) -> Pairs:
    return Pairs(images, smashed, torch.arange(len(images)) % 5 == 0)


def smooth(count: int, seed: int = 0) -> Tensor:
    """Return images (count, 1, 8, 8) in [0, 1] of few degrees of freedom."""
    coarse = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (8, 8), mode="bilinear")


def sent(images: Tensor, form: str) -> Tensor:
    """Return a one-to-one encoding of images as maps, tokens or a vector."""
    maps = torch.cat([images, images.square(), 1e-3 * images + 7], 1)
    if form == "maps":
        return maps
    if form == "tokens":
        return maps.flatten(2).transpose(1, 2)
    return maps.flatten(1)


@pytest.mark.parametrize("form", ["maps", "tokens", "vectors"])
@pytest.mark.parametrize("kernels", ["linear", "gaussian", "best"])
def test_smashed_data_of_every_form_are_inverted(form: str, kernels: str) -> None:
    images, others = smooth(200), smooth(20, seed=1)
    given = RegressionParameters.model_validate({"form": kernels})
    made = regress(given, pairs_of(images, sent(images, form)), torch.Generator(), "demo")
    error = (made.reconstruct(sent(others, form)) - others).square().mean()
    assert error < 0.01 * others.var()
    assert made.curves
    for label, curve in made.curves.items():
        assert len(curve) > 10 or not label.endswith("on some pairs")


def test_kept_pairs_choose_the_strength() -> None:
    """Where most of the smashed data is noise, a strong penalty is chosen, and a weak one else."""
    images = smooth(200)
    strengths = []
    for noise in (0.0, 3.0):
        smashed = images + noise * draw(200, 1, 8, 8, seed=3)
        given = RegressionParameters(form="linear")
        made = regress(given, pairs_of(images, smashed), torch.Generator(), "demo")
        strengths.append(made.strength)
    assert strengths[0] < 0.01 < strengths[1]


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_a_constant_release_gives_the_mean_image(value: float) -> None:
    images = smooth(50)
    smashed = torch.full((50, 4, 2, 2), value)
    made = regress(RegressionParameters(), pairs_of(images, smashed), torch.Generator(), "demo")
    guess = made.reconstruct(smashed[:3])
    torch.testing.assert_close(guess, images.mean(0).expand_as(guess), atol=0.02, rtol=0)


def test_dead_and_constant_channels_change_little() -> None:
    images, others = smooth(100), smooth(20, seed=1)
    errors = []
    for dead in (0, 6):
        batches = []
        for batch in (images, others):
            still = torch.full((len(batch), dead, 8, 8), 1e3)
            batches.append(torch.cat([batch, still], 1))
        given = pairs_of(images, batches[0])
        made = regress(RegressionParameters(), given, torch.Generator(), "demo")
        errors.append((made.reconstruct(batches[1]) - others).square().mean().item())
    assert errors[1] < errors[0] + 1e-3 * others.var().item()


def test_two_pairs_and_one_value_are_enough() -> None:
    images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    given = Pairs(images, torch.tensor([[0.0], [1.0]]), torch.tensor([False, True]))
    made = regress(RegressionParameters(), given, torch.Generator(), "demo")
    assert made.reconstruct(torch.tensor([[0.5]])).shape == (1, 1, 8, 8)


def test_values_that_are_not_finite_are_named() -> None:
    images = smooth(10)
    smashed = images / images[0]
    smashed[3] = torch.inf
    with pytest.raises(DivergedError, match="demo: smashed data are not finite"):
        regress(RegressionParameters(), pairs_of(images, smashed), torch.Generator(), "demo")


@pytest.mark.parametrize("form", ["linear", "gaussian"])
@pytest.mark.parametrize("width", [5, 200], ids=["primal", "dual"])
def test_kept_images_follow_from_the_other_pairs(form: Any, width: int) -> None:
    """As a regression that never had the kept ones predicts them, with that kernel and strength."""
    pairs = pairs_of(smooth(60), draw(60, width))
    given = RegressionParameters(form=form)
    made = regress(given, pairs, torch.Generator(), "demo", predict_kept=True)
    assert made.kept_images is not None
    others, kept = pairs.sides()
    alone = Regressor(made.standardise, made.image_shape, made.kernel, made.strength)
    centre = alone.features(pairs.smashed).mean(0)
    features = alone.features(others.smashed) - centre
    alone.fit(Known(features), others.images.flatten(1))
    due = alone._predict(alone.features(kept.smashed) - centre).clamp(0, 1)
    torch.testing.assert_close(made.kept_images.flatten(1), due, atol=1e-5, rtol=0)
    assert regress(given, pairs, torch.Generator(), "demo").kept_images is None


@pytest.mark.parametrize("lost", [1e-6, 1e-2, 3.0])
def test_what_rounding_takes_from_the_penalty_is_added_again(lost: float) -> None:
    """Collapsed smashed data, behind a strong defense, have products that round below zero."""
    directions, _ = torch.linalg.qr(torch.rand(6, 6, dtype=torch.float64))
    sizes = torch.tensor([1e3, 1.0, 0.0, 0.0, 0.0, -lost], dtype=torch.float64)
    system = _System(
        directions @ torch.diag(sizes) @ directions.T, torch.ones(6, 2), torch.zeros(2)
    )
    solved = system.solved(1e-7)
    assert torch.isfinite(solved).all()
    added = (system.right.double() - system.matrix @ solved) / solved
    assert added.min().item() == pytest.approx(added.max().item(), rel=1e-6), "a penalty"
    assert lost < added.mean() < 20 * lost + 2e-4
