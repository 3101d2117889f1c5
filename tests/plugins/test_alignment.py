"""What was sent in training is given the moments of answers, if that makes it look like images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from splitsec.plugins.toolbox.alignment import OtherMode, align, unlikeness


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("count", "width"), [(300, 6), (40, 90)], ids=["tall", "wide"])
def test_alignment_is_whitening_and_colouring(count: int, width: int) -> None:
    sent = draw(count, width) @ draw(width, width, seed=1) + 5
    answered = draw(count, width, seed=2) @ draw(width, width, seed=3) - 1
    floored = []
    for rows in (sent, answered):
        covariance = np.cov(rows.double().numpy().T)
        floored.append(covariance + 1e-3 * np.trace(covariance) / width * np.eye(width))
    values, vectors = np.linalg.eigh(floored[0])
    whitening = vectors @ np.diag(values**-0.5) @ vectors.T
    values, vectors = np.linalg.eigh(floored[1])
    colouring = vectors @ np.diag(values**0.5) @ vectors.T
    centred = sent.double().numpy() - sent.double().numpy().mean(0)
    due = centred @ whitening @ colouring + answered.double().numpy().mean(0)
    np.testing.assert_allclose(align(sent, answered).numpy(), due, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 3, 3), (5, 7), (9,)], ids=["maps", "tokens", "vectors"])
def test_alignment_keeps_the_shape_and_needs_some_images(shape: tuple[int, ...]) -> None:
    sent, answered = draw(50, *shape), 2 * draw(60, *shape, seed=1) + 3
    made = align(sent, answered)
    assert made.shape == sent.shape
    assert made.mean().item() == pytest.approx(answered.mean().item(), abs=1e-3)
    assert torch.equal(align(sent[:15], answered), sent[:15])
    assert torch.equal(align(sent, answered[:15]), sent)


def test_constant_smashed_data_get_the_mean_of_the_answers() -> None:
    answered = draw(60, 5, seed=1) + 3
    made = align(torch.ones(20, 5), answered)
    torch.testing.assert_close(made, answered.mean(0).expand(20, 5))
    assert torch.isfinite(align(draw(20, 5), torch.ones(60, 5))).all()


def images(count: int, seed: int) -> Tensor:
    return torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))


def decode(smashed: Tensor) -> Tensor:
    return smashed.view(-1, 1, 3, 3).clamp(0, 1)


def test_other_mode_that_makes_unlikely_images_is_aligned() -> None:
    known, victims = images(400, 0), images(200, 1)
    traffic = OtherMode(known.flatten(1))
    changed = victims.flatten(1) * torch.linspace(0.3, 3, 9) + 1
    made = traffic.reconstruct(decode, changed)
    assert (made - victims).square().mean() < 0.02
    assert (decode(changed) - victims).square().mean() > 0.2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 20, 200])
def test_other_mode_like_the_answers_is_decoded_as_it_is(count: int, seed: int) -> None:
    traffic = OtherMode(images(400, 0).flatten(1))
    victims = images(count, 10 + seed)
    assert torch.equal(traffic.reconstruct(decode, victims.flatten(1)), victims)


def plain(smashed: Tensor) -> Tensor:
    """Decode the first half of smashed data, which are images."""
    return decode(smashed[:, :9])


def fragile(smashed: Tensor) -> Tensor:
    """Decode as :func:`plain` does, but only where the second half are squares of the first."""
    first, second = smashed[:, :9], smashed[:, 9:]
    return decode(first + 5 * (second - first.square()))


@pytest.mark.parametrize("decoders", [[fragile, plain], [plain, fragile]])
def test_the_decoder_that_tolerates_the_other_mode_counts(decoders: list[Any]) -> None:
    def squared(rows: Tensor) -> Tensor:
        return torch.cat([rows, rows.square()], 1)

    traffic = OtherMode(squared(images(400, 0).flatten(1)))
    victims = images(200, 1)
    rows = squared(victims.flatten(1))
    assert torch.equal(traffic.likeliest([fragile, plain], rows), fragile(rows))
    changed = torch.cat([3 * rows[:, :9] + 1, rows.flip(0)[:, 9:]], 1)
    assert (traffic.likeliest([fragile], changed) - victims).square().mean() > 0.2
    assert (traffic.likeliest(decoders, changed) - victims).square().mean() < 0.05


def test_images_of_another_kind_are_unlike() -> None:
    known = images(400, 0)
    assert unlikeness(images(300, 1), known) == pytest.approx(1, abs=0.6)
    assert unlikeness(known.mean(0).expand(50, 1, 3, 3), known) > 10  # no spread
    assert unlikeness((known + 0.5).clamp(0, 1), known) > 10
    assert unlikeness(known[:1].expand(50, 1, 3, 3), known[:1].expand(50, 1, 3, 3)) == 0
