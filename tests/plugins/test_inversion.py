"""Training a decoder on pairs: what is kept aside, and what a randomised defense shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from splitsec.checkpoint import Checkpoints
from splitsec.errors import UsageError
from splitsec.plugins.toolbox import inversion
from splitsec.plugins.toolbox.inversion import InversionParameters, invert
from splitsec.progress import Silent


def pairs(count: int, times: int = 1, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return grey images that are their own smashed data, but for noise that differs each time."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.rand(count, 1, 1, 1, generator=generator)
    images = levels.expand(count, 1, 8, 8).clone()
    again = images.repeat(times, 1, 1, 1)
    return images, again + noise * torch.randn(again.shape, generator=generator)


def train(images: Tensor, smashed: Tensor, **given: Any) -> Any:
    parameters = InversionParameters(**given)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draw = torch.Generator().manual_seed(1)
        return invert(
            parameters, images, smashed, draw, Silent(), "training a decoder", Checkpoints()
        )


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


def test_all_smashed_data_of_an_image_are_on_one_side(monkeypatch: pytest.MonkeyPatch) -> None:
    count, times = 30, 4
    images, smashed = pairs(count, times, noise=0.1)
    seen: dict[str, list[int]] = {}
    epoch, error = inversion._epoch, inversion._error

    def watched_epoch(*arguments: Any) -> float:
        wanted, rows = arguments[3], arguments[5]
        assert torch.equal(wanted[rows], 2 * images[rows % count] - 1)
        seen["trained"] = rows.tolist()
        return epoch(*arguments)

    def watched_error(decoder: Any, given: Any, wanted: Tensor, kept: Tensor) -> float:
        seen["kept"] = [int((smashed == one).flatten(1).all(1).nonzero()) for one in kept]
        return error(decoder, given, wanted, kept)

    monkeypatch.setattr(inversion, "_epoch", watched_epoch)
    monkeypatch.setattr(inversion, "_error", watched_error)
    train(images, smashed, epochs=1, kept=0.3)
    assert sorted(seen["trained"] + seen["kept"]) == list(range(count * times))
    assert len(seen["kept"]) == 9 * times
    assert not {row % count for row in seen["trained"]} & {row % count for row in seen["kept"]}


def test_a_last_pair_alone_is_trained_on_too() -> None:
    images, smashed = pairs(33)
    train(images, smashed, epochs=1, kept=0.0, batch_size=32)


def test_too_few_pairs() -> None:
    with pytest.raises(UsageError, match="needs four pairs or more, and has 3"):
        train(*pairs(3))
