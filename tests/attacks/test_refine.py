"""Refinement: what total variation is for, that it is chosen, and that victims do not mix."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.plugins.toolbox.refinement import (
    RefinementParameters,
    choose_refinement,
    total_variation,
)
from splitsec.progress import Silent
from splitsec.running.runs import run_cells

GIVEN = RefinementParameters(steps=80, rate=0.05)


def blocks(count: int, seed: int) -> Tensor:
    """Return images (count, 1, 8, 8) of four flat quarters."""
    generator = torch.Generator().manual_seed(seed)
    corners = 0.2 + 0.6 * torch.rand(count, 1, 2, 2, generator=generator)
    return F.interpolate(corners, scale_factor=4)


def rough(images: Tensor) -> Tensor:
    """Return images with noise: a guess to start from."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(9))
    return (images + 0.2 * noise).clamp(0, 1)


class Blind(nn.Module):
    """Sends half of the pixels, in a chessboard."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, ::2]


def test_what_the_encoder_does_not_tell_is_smoothed() -> None:
    own, private = blocks(16, 0), blocks(8, 1)
    encode = Blind()
    found = choose_refinement(GIVEN, encode, lambda sent: rough(own)[: len(sent)], own, encode(own))
    assert found.strength is not None and found.strength > 0
    made = found.refine(rough(private), encode(private))
    errors = [(one - private).square().mean().item() for one in (made, rough(private))]
    assert errors[0] < 0.3 * errors[1]
    assert (encode(made) - encode(private)).abs().mean() < 0.05


def test_an_encoder_that_tells_nothing_changes_nothing() -> None:
    own = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = choose_refinement(
        GIVEN,
        lambda images: 0 * images.flatten(1),
        lambda sent: own[: len(sent)],
        own,
        torch.zeros(16, 64),
    )
    assert found.strength in (None, 0.0), "its guess is already right"
    assert torch.equal(found.refine(own, torch.zeros(16, 64)), own)


def test_each_image_is_refined_as_if_it_were_alone() -> None:
    own = blocks(6, 0)
    encode = nn.Flatten()
    found = choose_refinement(GIVEN, encode, lambda sent: rough(own)[: len(sent)], own, encode(own))
    together = found.refine(rough(own), encode(own))
    alone = torch.cat(
        [
            found.refine(one[None], encode(true[None]))
            for one, true in zip(rough(own), own, strict=True)
        ]
    )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_total_variation_is_the_mean_length_of_the_gradient() -> None:
    ramp = (3 * torch.arange(5.0)[:, None] + 4 * torch.arange(5.0)).expand(2, 1, 5, 5)
    torch.testing.assert_close(total_variation(ramp), torch.full((2,), 5.0))


@pytest.mark.slow
@pytest.mark.parametrize("defense", ["none", "gaussian-noise"])
def test_weights_give_more_than_queries(defense: str, tmp_path: Path) -> None:
    settings = ["training.epochs=2", "counts.private=48", "counts.public=64", "counts.victims=16"]
    settings += ["counts.validation=12", "counts.held_out=16"]
    attacks = "refine:steps=40,images=200,regression:queries=200"
    asked = {"target": "fsha-client", "cut": 3, "size": 16, "settings": settings, "threads": 1}
    cells = resolve(Request(attack=attacks, defense=defense, **asked))
    skills = []
    for record in run_cells(cells, tmp_path / "out", Silent()):
        assert record.status == "ok", record.reason
        assert "oracle-access" in record.flags
        assert record.victims is not None and record.victims.held_out is not None
        skills.append(record.victims.held_out.skill.mse or 0)
    assert skills[0] > skills[1] - 0.1
    if defense == "none":
        assert skills[0] > skills[1] + 0.02
