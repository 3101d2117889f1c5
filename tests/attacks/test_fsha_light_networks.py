"""The light FSHA networks fit every shape of smashed data, and the shapes fit each other."""

from __future__ import annotations

import pytest
import torch

from splitsec.attacks.fsha.light_networks import build_critic, build_pilot
from splitsec.plugins.toolbox.decoders import build_decoder
from splitsec.randomness import seeded_global_generator
from support.smashed_shapes import SHAPES


@pytest.fixture(autouse=True)
def _seeded() -> object:
    with seeded_global_generator("test", {}):
        yield


@pytest.mark.parametrize(("image", "smashed"), SHAPES)
def test_networks_fit_the_shapes_and_learn(
    image: tuple[int, int, int], smashed: tuple[int, int, int]
) -> None:
    pilot, decoder = build_pilot(image, smashed, True), build_decoder(smashed, image)
    critic = build_critic(smashed)
    public = torch.rand(3, *image) * 2 - 1
    features = pilot(public)
    images = decoder(features)
    scores = critic(features)
    assert features.shape == (3, *smashed)
    assert images.shape == public.shape
    assert images.abs().max() <= 1
    assert scores.shape == (3, 1)
    torch.autograd.backward((images - public).square().mean() + scores.mean())
    for network in (pilot, decoder, critic):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        assert any(p.grad.abs().sum() > 0 for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize(("image", "smashed"), SHAPES[:5])
def test_pilot_has_the_sign_of_the_smashed_data(
    image: tuple[int, int, int], smashed: tuple[int, int, int]
) -> None:
    public = torch.rand(8, *image) * 2 - 1
    assert build_pilot(image, smashed, nonnegative=True)(public).min() >= 0
    assert build_pilot(image, smashed, nonnegative=False)(public).min() < 0


def test_critic_scores_each_sample_on_its_own() -> None:
    critic = build_critic((64, 16, 16))
    features = torch.rand(4, 64, 16, 16)
    alone = torch.cat([critic(sample[None]) for sample in features])
    torch.testing.assert_close(critic(features), alone)


def test_networks_stay_light_on_large_maps() -> None:
    """At 224 px and cut 2, smashed data are 64x112x112; the networks must not grow with that."""
    smashed = (64, 112, 112)
    networks = [
        build_pilot((3, 224, 224), smashed, True),
        build_decoder(smashed, (3, 224, 224)),
        build_critic(smashed),
    ]
    sizes = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert max(sizes) < 250_000


@pytest.mark.parametrize("shape", [(0, 8, 8), (64, -1, 8)])
def test_empty_shapes_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        build_critic(shape)
    with pytest.raises(ValueError, match="must be positive"):
        build_pilot((3, 32, 32), shape, True)
    with pytest.raises(ValueError, match="must be positive"):
        build_decoder((64, 8, 8), shape)
