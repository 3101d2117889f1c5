"""Defenses that the client trains: what their penalties are, and what minimising them does."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitsec.errors import NotApplicable
from splitsec.metrics.image_errors import ssim
from splitsec.plugins.defense import Defense
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.shapes import Shape, SmashedShape, TokenShape, VectorShape

IMAGE, MAP = Shape(1, 8, 8), Shape(4, 4, 4)


def defense_of(name: str, smashed: SmashedShape = MAP, **given: Any) -> Any:
    cls = load_plugin("defense", name).cls
    made: Defense[Any] = cls(build_parameters(f"defense {name!r}", cls.Parameters, given))
    torch.manual_seed(0)
    made.begin(IMAGE, smashed, torch.Generator().manual_seed(0))
    return made


def drawn(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def test_the_inner_decoder_becomes_better_and_its_likeness_is_the_penalty() -> None:
    images = drawn(16, *IMAGE)
    smashed = nn.functional.pixel_unshuffle(images, 2)  # all that there is of them
    defense = defense_of("attacker-aware", weight=2.0, threshold=0.1, learning_rate=0.01)
    for _ in range(150):
        penalty = defense.penalty(images, smashed, None)
    likeness = ssim((defense._decoder(smashed) + 1) / 2, images).mean().item()
    assert likeness > 0.5
    assert penalty.item() == pytest.approx(2 * (likeness - 0.1), rel=1e-4)


def test_a_likeness_below_the_threshold_costs_nothing() -> None:
    defense = defense_of("attacker-aware", threshold=0.5)
    assert defense.penalty(drawn(8, *IMAGE), drawn(8, *MAP, seed=1), None).item() == 0


def test_attacker_aware_needs_images_of_a_window() -> None:
    defense = load_plugin("defense", "attacker-aware").cls
    with pytest.raises(NotApplicable, match="SSIM needs images of 7 pixels"):
        defense(defense.Parameters()).begin(Shape(1, 6, 9), MAP, torch.Generator())


def groups(spread: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, smashed data in two tight groups of each of two classes, and the classes."""
    labels = torch.arange(32) % 2
    centre = torch.where(torch.arange(32) % 4 < 2, 0.6, -0.6).view(-1, 1, 1, 1)
    sent = centre + labels.view(-1, 1, 1, 1) * 0.1 + spread * (drawn(32, *MAP) - 0.5)
    return drawn(32, *IMAGE), sent, labels


def test_cem_costs_the_logarithm_of_the_spread_within_clusters() -> None:
    defense = defense_of("cem", weight=3.0, noise=0.1, clusters=2, threshold=0.125)
    images, smashed, labels = groups(spread=1.0)
    assert defense.penalty(images, smashed, labels).item() == 0, "no clusters are known yet"
    defense.begin_epoch(1)
    bounded, expected = torch.tanh(smashed).flatten(1), 0.0
    for one in (0, 1):
        for side in (0, 2):  # the groups are far apart, so that k-means finds them
            own = bounded[(labels == one) & (torch.arange(32) % 4 // 2 * 2 == side)]
            variance = (own - own.mean(0)).square().mean().item()
            due = math.log((variance + 0.01) / (0.125 * 0.1**2 + 0.01))
            expected += 0.5 * max(0.0, due) / 2
    assert expected > 0.1
    assert defense.penalty(images, smashed, labels).item() == pytest.approx(3 * expected, rel=1e-4)


def test_cem_draws_clusters_together_until_it_costs_nothing() -> None:
    defense = defense_of("cem", clusters=2)
    images, smashed, labels = groups(spread=1.5)
    smashed = smashed.requires_grad_()
    optimizer = torch.optim.Adam([smashed], lr=0.02)
    costs = []
    for epoch in range(40):
        defense.begin_epoch(epoch)
        optimizer.zero_grad()
        penalty = defense.penalty(images, smashed, labels)
        costs.append(penalty.item())
        if penalty.requires_grad:
            penalty.backward()
            optimizer.step()
    assert costs[1] > 1
    assert costs[-1] < 0.05 * costs[1]
    apart = torch.tanh(smashed.detach()).flatten(1)
    assert apart.std(0).mean() > 0.3, "the clusters stay apart"


@pytest.mark.parametrize("labels", [None, torch.ones(6, 1, 8, 8)])
def test_cem_does_without_labels(labels: Tensor | None) -> None:
    defense = defense_of("cem", clusters=3)
    for epoch in range(2):
        defense.begin_epoch(epoch)
        penalty = defense.penalty(drawn(6, *IMAGE), 3 * drawn(6, *MAP) - 1.5, labels)
    assert list(defense._clusters) == [0]
    assert penalty.item() > 0


def test_cem_has_no_more_clusters_than_images() -> None:
    defense = defense_of("cem", clusters=5)
    labels = torch.tensor([0, 0, 0, 1])
    for epoch in range(2):
        defense.begin_epoch(epoch)
        penalty = defense.penalty(drawn(4, *IMAGE), drawn(4, *MAP), labels)
    assert [len(one.centres) for one in defense._clusters.values()] == [3, 1]
    assert penalty.item() == pytest.approx(0, abs=1e-6), "each is its own centre"


def test_cem_keeps_no_more_than_it_needs() -> None:
    defense = defense_of("cem")
    for _ in range(40):
        defense.penalty(drawn(30, *IMAGE), drawn(30, *MAP), None)
    assert 512 <= sum(len(sent) for sent, _ in defense._kept) < 512 + 30


def test_cem_sends_bounded_values_plus_noise() -> None:
    defense = defense_of("cem", noise=0.05)
    smashed = 100 * (drawn(64, *MAP) - 0.5)
    noise = defense.release(drawn(64, *IMAGE), smashed) - torch.tanh(smashed)
    assert noise.std().item() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("shape", [MAP, TokenShape(5, 12), VectorShape(12)])
def test_disco_sends_nothing_of_what_it_does_not_send(shape: SmashedShape) -> None:
    defense = defense_of("disco", smashed=shape, ratio=0.75)
    images, smashed = drawn(6, *IMAGE), drawn(6, *shape, seed=1) - 0.5
    smashed.requires_grad_()
    sent = defense.release(images, smashed)
    kept = (sent != 0).movedim(2, 1) if isinstance(shape, TokenShape) else sent != 0
    per_channel = kept.flatten(2) if kept.dim() > 2 else kept.unsqueeze(2)
    assert (per_channel.any(2).sum(1) == (1 if shape == MAP else 3)).all()
    assert torch.equal(sent[sent != 0], smashed[sent != 0]), "bit for bit"
    assert not torch.signbit(sent[sent == 0]).any(), "and no sign of the others"
    torch.autograd.backward(sent.sum())
    assert all(one.grad is not None for one in defense.networks[0].parameters())
    assert torch.equal(smashed.grad, (sent != 0).float())


def test_disco_learns_to_keep_back_the_channels_that_show_the_image() -> None:
    """Half of the channels are the image, and the others noise that serves the task as well."""
    defense = defense_of("disco", ratio=0.5, alpha=0.9, learning_rate=0.01)
    optimizer = torch.optim.Adam(defense.networks[0].parameters(), 0.01)
    for step in range(250):
        images = drawn(64, *IMAGE, seed=step)
        pixels = nn.functional.pixel_unshuffle(images, 2) - 0.5  # four channels: all of it
        noise = drawn(64, 2, 4, 4, seed=1000 + step) - 0.5
        smashed = torch.cat([pixels[:, :2], noise], 1).requires_grad_()
        optimizer.zero_grad()
        torch.autograd.backward(defense.penalty(images, smashed, None))
        optimizer.step()
    assert smashed.grad is None, "the encoder learns the task alone"
    sent = (defense.release(images, smashed) != 0).float()
    assert sent[:, 2:].mean() > 0.9
    assert sent[:, :2].mean() < 0.1


def test_shredder_keeps_its_noise_at_the_level_that_was_asked_for() -> None:
    defense = defense_of("shredder", level=2.0, tensors=3, weight=5.0)
    (noise,) = defense.networks
    images, smashed = drawn(64, *IMAGE), 3 * drawn(64, *MAP, seed=1)
    due = noise.values.flatten(1).std(1, correction=0)
    expected = 5 * (2 - due).clamp(min=0).mean().item()
    assert defense.penalty(images, smashed, None).item() == pytest.approx(expected, rel=1e-5)
    added = (defense.release(images, smashed) - smashed) / smashed.std()
    apart = torch.cdist(added.flatten(1), noise.values.flatten(1)).min(1)
    assert apart.values.max() < 0.05, "each image gets one of the tensors"
    assert sorted(set(apart.indices.tolist())) == [0, 1, 2]
    optimizer = torch.optim.Adam(noise.parameters(), 0.02)
    for _ in range(300):  # a task that bears no noise at all
        optimizer.zero_grad()
        task = defense.release(images, smashed).sub(smashed).square().mean()
        torch.autograd.backward(0.01 * task + defense.penalty(images, smashed, None))
        optimizer.step()
    assert noise.values.flatten(1).std(1).mean().item() == pytest.approx(2.0, rel=0.05)
