"""Training a decoder on pairs: what is kept aside, and by which loss it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from splitsec.checkpoint import Checkpoints
from splitsec.errors import UsageError
from splitsec.plugins.toolbox import inversion
from splitsec.plugins.toolbox.inversion import InversionParameters, invert
from splitsec.plugins.toolbox.queries import Pairs, keep_some
from splitsec.progress import Silent


def pairs(count: int) -> tuple[Tensor, Tensor]:
    """Return grey images that are their own smashed data."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.rand(count, 1, 1, 1, generator=generator)
    images = levels.expand(count, 1, 8, 8).clone()
    return images, images.clone()


def train(images: Tensor, smashed: Tensor, **given: Any) -> Any:
    parameters = InversionParameters(**given)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draw = torch.Generator().manual_seed(1)
        given = Pairs(images, smashed, keep_some(len(images), parameters.kept, draw))
        return invert(parameters, given, draw, Silent(), "training a decoder", Checkpoints())


def test_a_decoder_learns_the_identity() -> None:
    images, smashed = pairs(64)
    trained = train(images, smashed, epochs=40, patience=40)
    assert torch.nn.functional.mse_loss(trained.reconstruct(smashed), images) < 0.005
    assert len(trained.curves["decoder loss"]) == len(trained.curves["kept pairs"]) == 40


def test_the_scale_of_a_channel_does_not_matter() -> None:
    images, smashed = pairs(64)
    tiny = torch.cat([smashed, torch.zeros_like(smashed)], 1) * 1e-4 + 7
    made = train(images, tiny, epochs=40).reconstruct(tiny)
    assert torch.nn.functional.mse_loss(made, images) < 0.005


def test_kept_pairs_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    images, smashed = pairs(30)
    seen: dict[str, set[float]] = {}
    epoch, error = inversion._epoch, inversion._error

    def watched_epoch(over: Any) -> float:
        seen["trained"] = set(over.pairs.images[over.rows, 0, 0, 0].tolist())
        return epoch(over)

    def watched_error(decoder: Any, given: Any, kept: Pairs, others: Any) -> tuple[float, float]:
        seen["kept"] = set(kept.images[:, 0, 0, 0].tolist())
        return error(decoder, given, kept, others)

    monkeypatch.setattr(inversion, "_epoch", watched_epoch)
    monkeypatch.setattr(inversion, "_error", watched_error)
    train(images, smashed, epochs=1, kept=0.3)
    assert (len(seen["trained"]), len(seen["kept"])) == (21, 9)
    assert not seen["trained"] & seen["kept"]


@pytest.mark.parametrize("loss", ["l1", "l2", "l1+ssim"])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_every_loss_is_learned_from(loss: str, average: float) -> None:
    images, smashed = pairs(64)
    trained = train(images, smashed, epochs=30, loss=loss, average=average)
    assert torch.nn.functional.mse_loss(trained.reconstruct(smashed), images) < 0.01


def test_structural_similarity_is_part_of_the_loss() -> None:
    """Two pictures with one absolute error, of which the second keeps the first one's structure."""
    generator = torch.Generator().manual_seed(0)
    image = 0.25 + 0.5 * torch.rand(1, 1, 16, 16, generator=generator)
    sign = torch.where(torch.rand(image.shape, generator=generator) < 0.5, -0.1, 0.1)
    brighter, speckled = image + 0.1, image + sign
    given = InversionParameters()
    plain = InversionParameters(loss="l1")

    def loss(how: InversionParameters, made: Tensor) -> float:
        return inversion._loss(how, 2 * made - 1, image).item()

    assert loss(plain, brighter) == pytest.approx(loss(plain, speckled), abs=1e-6)
    assert loss(given, brighter) < loss(given, speckled) - 0.01
    assert loss(given, image) == pytest.approx(0, abs=1e-6)


def test_images_smaller_than_its_window_are_decoded_without_it() -> None:
    made, wanted = torch.zeros(2, 1, 6, 6), torch.full((2, 1, 6, 6), 0.75)
    assert inversion._loss(InversionParameters(), made, wanted).item() == pytest.approx(0.5)


def test_a_last_pair_alone_is_trained_on_too() -> None:
    images, smashed = pairs(33)
    train(images, smashed, epochs=1, kept=0.0, batch_size=32)


def test_too_few_pairs() -> None:
    with pytest.raises(UsageError, match="needs two pairs or more to train on; it has 1"):
        train(*pairs(2))
