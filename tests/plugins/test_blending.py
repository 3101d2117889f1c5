"""A decoder blended with a regression: which share it has, and that kept pairs are not learned."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from splitsec.checkpoint import Checkpoints
from splitsec.plugins.toolbox.blending import Blend, BlendParameters, invert_and_blend
from splitsec.plugins.toolbox.inversion import REPORT_SETTINGS
from splitsec.plugins.toolbox.queries import Pairs, keep_some
from splitsec.progress import Silent

COUNT = 120


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def train(images: Tensor, smashed: Tensor, epochs: int = 30) -> Blend:
    given = BlendParameters(epochs=epochs)
    pairs = Pairs(images, smashed, keep_some(len(images), 0.3, draw(1)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return invert_and_blend(given, pairs, draw(1), Silent(), "demo", Checkpoints())


def error(blend: Blend, images: Tensor, smashed: Tensor) -> float:
    return (blend.reconstruct(smashed) - images).square().mean().item()


def test_the_regression_counts_where_smashed_data_are_linear() -> None:
    images = torch.rand(COUNT, 1, 8, 8, generator=draw(0))
    mixed = torch.randn(64, 64, generator=draw(2))
    blend = train(images, images.flatten(1) @ mixed, epochs=3)
    assert blend.inversion.share < 0.05
    unseen = torch.rand(20, 1, 8, 8, generator=draw(3))
    assert error(blend, unseen, unseen.flatten(1) @ mixed) < 1e-3


def folded(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images of one grey each, whose smashed data go round more than once as it grows."""
    levels = torch.rand(count, 1, 1, 1, generator=draw(seed))
    images = levels.expand(count, 1, 8, 8).clone()
    places = torch.cat([(9 * images).sin(), (9 * images).cos()], 1)
    return images, places + 0.2 * torch.randn(places.shape, generator=draw(seed + 1))


def test_a_blend_errs_no_more_than_either_on_kept_pairs() -> None:
    images, smashed = folded(COUNT, 4)
    blend = train(images, smashed)
    assert blend.regressor is not None
    assert 0 <= blend.inversion.share <= 1
    unseen = folded(COUNT, 6)
    together = error(blend, *unseen)
    alone = (blend.regressor.reconstruct(unseen[1]) - unseen[0]).square().mean().item()
    decoded = (blend.inversion.reconstruct(unseen[1]) - unseen[0]).square().mean().item()
    assert together <= 1.05 * min(alone, decoded)


def test_a_blend_needs_kept_pairs() -> None:
    with pytest.raises(ValidationError, match="set kept above 0, or blend=no"):
        BlendParameters(kept=0)
    assert not BlendParameters(**REPORT_SETTINGS, blend=False).blend


def test_without_a_blend_the_decoder_stands_alone() -> None:
    images, smashed = folded(COUNT, 4)
    pairs = Pairs(images, smashed, keep_some(COUNT, 0.3, draw(1)))
    given = BlendParameters(epochs=1, blend=False)
    made = invert_and_blend(given, pairs, draw(1), Silent(), "demo", Checkpoints())
    assert made.regressor is None
    assert made.reconstruct(smashed).equal(made.inversion.reconstruct(smashed))
