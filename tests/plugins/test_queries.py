"""How an attacker spends its queries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch import Tensor

from splitsec.errors import UsageError
from splitsec.plugins.toolbox import queries
from splitsec.plugins.toolbox.augmentation import varied
from splitsec.plugins.toolbox.queries import QueryParameters, ask, keep_some, vary

if TYPE_CHECKING:
    from splitsec.plugins.view import View


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photographs(count: int, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, 8, 8, generator=drawn())


def view_of(public: Tensor, asked: list[int]) -> View:
    def query(images: Tensor) -> Tensor:
        asked.append(len(images))
        return images.flatten(1) * 2

    return cast(
        "View",
        SimpleNamespace(
            public_images=public, query=query, image_shape=public.shape[1:], smashed_shape=(192,)
        ),
    )


@pytest.mark.parametrize("count", [0, 3, 5, 12])
def test_the_images_themselves_come_first(count: int) -> None:
    images = photographs(5)
    made = varied(images, count, drawn())
    assert made.shape == (count, 3, 8, 8)
    assert torch.equal(made[:5], images[:count])
    assert made.numel() == 0 or 0 <= made.min() <= made.max() <= 1


def test_variants_differ_and_depend_on_the_generator_alone() -> None:
    images = photographs(5)
    first, again, other = (varied(images, 25, drawn(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({one.numpy().tobytes() for one in first}) == 25


@pytest.mark.parametrize(("budget", "used"), [(2, 2), (7, 7), (10, 10), (60, 60), (5000, 210)])
def test_a_budget_is_the_number_of_queries_in_all(budget: int, used: int) -> None:
    asked: list[int] = []
    given = QueryParameters(queries=budget)
    pairs = ask(given, view_of(photographs(10), asked), drawn(), "attack 'mine'")
    assert sum(asked) == len(pairs.images) == len(pairs.smashed) == len(pairs.kept) == used
    assert torch.equal(pairs.smashed, pairs.images.flatten(1) * 2)
    assert 1 <= pairs.kept.sum() <= used // 2
    own = {image.numpy().tobytes() for image in photographs(10)}
    assert pairs.original is not None
    assert [image.numpy().tobytes() in own for image in pairs.images] == pairs.original.tolist()
    assert torch.equal(pairs.originals().images, pairs.images[pairs.original])
    assert all(side.original is not None for side in pairs.sides())


def test_what_fits_into_memory_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs of 3x8x8 and their smashed data have 384 values, of four bytes each."""
    monkeypatch.setattr(queries, "_MOST_BYTES", 40 * 384 * 4)
    asked: list[int] = []
    pairs = ask(QueryParameters(), view_of(photographs(10), asked), drawn(), "attack 'mine'")
    assert sum(asked) == len(pairs.images) == 40


def test_no_image_is_on_both_sides() -> None:
    """Each image is bright in a channel of its own, as is every variant with it mixed in."""
    bright = torch.where(torch.eye(20, dtype=torch.bool), 0.6, 0.4)
    images = bright.view(20, 20, 1, 1).expand(20, 20, 8, 8).clone()
    made, kept, _ = vary(images, 400, 0.3, drawn())
    pixels = made[:, :, 4, 4]
    parts = pixels > pixels.min(1, keepdim=True).values + 1e-4
    assert (parts.sum(1) == 2).sum() > 100, "many are mixed"
    fitted_ones, kept_ones = parts[~kept].any(0), parts[kept].any(0)
    assert not (fitted_ones & kept_ones).any()
    assert (fitted_ones.sum(), kept_ones.sum()) == (14, 6)
    assert len(made) == 400
    assert kept.sum() == 0.3 * 400


def test_nothing_is_kept_if_nothing_is_to_be() -> None:
    assert not keep_some(9, 0, drawn()).any()
    assert not vary(photographs(4), 20, 0, drawn()).kept.any()


@pytest.mark.parametrize(("count", "share", "kept"), [(2, 0.1, 1), (2, 0.9, 1), (10, 0.25, 2)])
def test_some_are_kept_and_never_all(count: int, share: float, kept: int) -> None:
    assert keep_some(count, share, drawn()).sum() == kept


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_public_images(count: int) -> None:
    says = f"attack 'mine' needs two public images or more; this data set leaves it {count}"
    with pytest.raises(UsageError, match=says):
        ask(QueryParameters(), view_of(photographs(count), []), drawn(), "attack 'mine'")
