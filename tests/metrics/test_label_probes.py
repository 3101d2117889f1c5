"""Probes predict labels and masks from what carries them, and from nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from splitsec.metrics.label_probes import ClassProbes, MaskProbes, Probes
from splitsec.metrics.label_schema import LabelScore, LabelScores
from splitsec.metrics.local_ridge import Blocks

SIDE = 16


def masks_of(count: int, seed: int) -> Tensor:
    """Return squares of 6 px, somewhere near the middle: masks (N, 1, 16, 16)."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, 1, SIDE, SIDE)
    for mask, (row, column) in zip(
        masks, torch.randint(2, 8, (count, 2), generator=generator).tolist(), strict=True
    ):
        mask[0, row : row + 6, column : column + 6] = 1
    return masks


def maps_of(masks: Tensor, seed: int = 0, noise: float = 0.3) -> Tensor:
    """Return maps (N, 4, 16, 16) in whose channels masks are mixed with noise."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.tensor([1.0, -2.0, 0.0, 0.5]).view(1, 4, 1, 1)
    return masks * weights + noise * torch.randn(len(masks), 4, SIDE, SIDE, generator=generator)


@pytest.fixture(scope="module")
def masks() -> MaskProbes:
    return MaskProbes(masks_of(30, 1))


def test_masks_are_learned_from_what_public_images_become(masks: MaskProbes) -> None:
    predict = masks.learn({"noise": torch.rand(30, 3), "maps": maps_of(masks_of(30, 1))})
    truth = masks_of(20, 2)
    maps = maps_of(truth, seed=3)
    views = {"noise": torch.rand(20, 3), "maps": maps}
    assert masks.score(predict(views), truth).score > 0.9
    shuffled = masks.score(predict(views | {"maps": maps.roll(1, dims=0)}), truth)
    assert shuffled.skill is not None
    assert shuffled.skill <= 0, "the masks of other images, and the mean mask, earn nothing"


def test_masks_are_found_without_one_pair(masks: MaskProbes) -> None:
    truth = masks_of(40, 2)
    found = masks.guess(maps_of(truth))
    assert found is not None
    assert masks.score(found, truth).score > 0.85
    shuffled = masks.score(found.roll(1, dims=0), truth)
    assert shuffled.skill is not None
    assert shuffled.skill <= 0
    assert masks.guess(torch.rand(40, 12)) is None, "vectors have no pixels"


def test_the_prior_is_what_a_constant_mask_reaches(masks: MaskProbes) -> None:
    truth = masks_of(20, 2)
    mean = masks_of(30, 1).mean(0)
    best = max(
        masks.score((mean > level)[None].expand(20, -1, -1, -1), truth).score
        for level in (0.3, 0.4, 0.5, 0.6)
    )
    assert masks.score(truth > 0, truth) == LabelScore.of(
        1.0, masks.score(truth > 0, truth).prior, 20
    )
    assert masks.score(truth > 0, truth).prior == pytest.approx(best, abs=0.05)


@pytest.mark.parametrize("probes", ["classes", "masks"])
def test_what_is_constant_or_dead_says_nothing(probes: str, masks: MaskProbes) -> None:
    """A release of zeros, and one of the same values for every image, raise no error."""
    one: Probes = ClassProbes(torch.arange(30) % 2, 2) if probes == "classes" else masks
    truth = torch.arange(20) % 2 if probes == "classes" else masks_of(20, 2)
    for value in (0.0, 3.0):
        maps = torch.full((50, 2, 4, 4), value)
        learned = one.score(one.learn({"maps": maps[:30]})({"maps": maps[30:]}), truth)
        assert learned.skill is not None
        assert learned.skill <= 0
        guess = one.guess(maps[30:])
        if probes == "classes":
            assert guess is None, "equal values are no clusters"
        else:
            assert guess is not None
            assert (one.score(guess, truth).skill or 0) <= 0


def rays(labels: Tensor, seed: int = 0) -> Tensor:
    """Return vectors (N, 8) of any length in one direction per class, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(9)))[0]
    lengths = torch.rand(len(labels), 1, generator=generator) + 0.1
    noise = 0.1 * torch.randn(len(labels), 8, generator=generator)
    return lengths * (directions[labels] + noise)


def test_clusters_are_named_by_hints_or_else_by_public_shares() -> None:
    public = torch.tensor([0] * 10 + [1] * 30 + [2] * 20)
    probes = ClassProbes(public, 3)
    like_public = torch.tensor([2] * 9 + [0] * 5 + [1] * 15)
    named = probes.guess(rays(like_public))
    assert named is not None
    assert named.argmax(dim=1).tolist() == like_public.tolist()
    assert probes.score(named, like_public).score == 1

    unlike = torch.tensor([0] * 20 + [1] * 4 + [2] * 9)
    wrong = probes.guess(rays(unlike))
    hints = torch.nn.functional.one_hot(unlike, 3) + torch.rand(
        33, 3, generator=torch.Generator().manual_seed(0)
    )
    right = probes.guess(rays(unlike), hints.double())
    assert wrong is not None
    assert right is not None
    assert probes.score(wrong, unlike).score < 0.7, "shares name these wrongly"
    assert right.argmax(dim=1).tolist() == unlike.tolist()
    assert probes.guess(rays(unlike)[:2]) is None, "two victims make no three clusters"


def test_classes_are_learned_from_the_view_that_tells_them() -> None:
    public, truth = torch.arange(60) % 2, torch.arange(40) % 2
    probes = ClassProbes(public, 2)
    drawn = torch.Generator().manual_seed(1)
    noise = torch.randn(100, 3, 4, 4, generator=drawn)
    predict = probes.learn({"noise": noise[:60], "rays": rays(public)})
    views = {"noise": noise[60:], "rays": rays(truth, 3)}
    assert probes.score(predict(views), truth).score > 0.95
    others = views | {"rays": rays(truth, 3)[torch.randperm(40, generator=drawn)]}
    assert probes.score(predict(others), truth).score < 0.7
    assert not probes.can_score(torch.ones(4, dtype=torch.int64))


@pytest.mark.parametrize("extents", [(16, 16), (5, 7), (40, 3)])
def test_blocks_cover_masks_that_positions_do_not_divide(extents: tuple[int, int]) -> None:
    masks = masks_of(6, 0)
    maps = torch.rand(6, 2, *extents, generator=torch.Generator().manual_seed(0))
    blocks = Blocks(masks, maps)
    made = blocks.predict(maps, blocks.moments(maps, masks).weights(1e-4))
    assert made.shape == masks.shape
    assert made.mean().item() == pytest.approx(masks.mean().item(), abs=0.02)


def test_of_several_attacks_the_highest_score_counts() -> None:
    low, high = LabelScore.of(0.6, 0.5, 4), LabelScore.of(0.9, 0.5, 4)
    one = LabelScores(measure="auc", training={"reconstructions": low}, held_out={"features": high})
    other = LabelScores(measure="auc", training={"reconstructions": high, "smashed_data": low})
    worst = LabelScores.worst_of([one, other])
    assert worst is not None
    assert worst.training == {"reconstructions": high, "smashed_data": low}
    assert worst.best() == ("reconstructions", high)
    assert LabelScores.worst_of([]) is None
    assert LabelScore.of(1.0, 1.0, 4).skill is None, "a guess that is always right leaves nothing"
