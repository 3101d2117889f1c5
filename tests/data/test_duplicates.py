"""Copies of a photograph are found, and photographs that only look alike are kept apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from splitsec.data.drawn.fundus import draw_fundus
from splitsec.data.duplicates import group_copies
from splitsec.plugins.source import DUPLICATE_TOLERANCE
from support.dark_photographs import (
    chained_by_a_coarse_grid,
    dark_photographs,
    resized,
    saved_as_jpeg,
)

Image = NDArray[np.uint8]
COPIED: dict[str, Callable[[Image], Image]] = {
    "unchanged": lambda image: image,
    "saved as JPEG": saved_as_jpeg,
    "smaller": lambda image: resized(image, 100),
    "brighter": lambda image: np.clip(image.astype(int) + 2, 0, 255).astype(np.uint8),
    "one pixel": lambda image: np.where(np.arange(image.size).reshape(image.shape), image, 0),
}


def sizes(groups: NDArray[np.int64]) -> list[int]:
    """Return the sizes of groups of more than one, the largest first."""
    counts = np.unique(groups, return_counts=True)[1]
    return sorted(counts[counts > 1].tolist(), reverse=True)


def retina(root: Path) -> Image:
    with np.load(root / "retinamnist" / "retinamnist.npz") as file:
        splits = [file[f"{split}_images"] for split in ("train", "val", "test")]
    return np.concatenate(splits).transpose(0, 3, 1, 2)


def test_the_26_known_pairs_of_retinamnist(data_root: Path) -> None:
    images = retina(data_root)
    groups = group_copies(images, DUPLICATE_TOLERANCE)
    assert sizes(groups) == [2] * 26
    for pair in [(1104, 1165), (1095, 1120), (619, 870), (85, 310), (103, 782), (727, 775)]:
        assert groups[pair[0]] == groups[pair[1]]
    assert groups[600] != groups[886], "the nearest pair that is none"


def test_the_known_pairs_are_found_at_a_quarter_of_the_light(data_root: Path) -> None:
    known = group_copies(retina(data_root), DUPLICATE_TOLERANCE)
    dark = np.rint(retina(data_root) / 4).astype(np.uint8)
    assert chained_by_a_coarse_grid(np.pad(dark, [(0, 0), (0, 0), (2, 2), (2, 2)])) > 500
    found = group_copies(dark, DUPLICATE_TOLERANCE)
    pairs = [np.flatnonzero(known == group) for group in known]
    assert all(len({*found[pair].tolist()}) == 1 for pair in pairs)
    assert max(sizes(found)) <= 4
    assert len(sizes(found)) <= 50


@pytest.mark.slow
def test_the_known_pairs_in_grey_and_at_another_size(data_root: Path) -> None:
    images = retina(data_root)
    known = group_copies(images, DUPLICATE_TOLERANCE)
    grey = np.rint(images.mean(1, keepdims=True)).astype(np.uint8)
    large = np.stack([resized(image, 64) for image in images])
    for again in (grey, large):
        assert sizes(group_copies(again, DUPLICATE_TOLERANCE)) == [2] * 26
        assert np.array_equal(group_copies(again, DUPLICATE_TOLERANCE), known)


def test_dark_photographs_that_a_grid_chains_are_kept_apart() -> None:
    images = dark_photographs(600)
    assert chained_by_a_coarse_grid(images) == 600
    copy = np.stack([np.clip(image.astype(int) + 1, 0, 255) for image in images[:40]])
    groups = group_copies(np.concatenate([images, copy.astype(np.uint8)]), DUPLICATE_TOLERANCE)
    assert sizes(groups) == [2] * 40
    assert np.array_equal(groups[:40], groups[600:])


@pytest.mark.slow
def test_3662_dark_photographs() -> None:
    images = dark_photographs(3662)
    assert chained_by_a_coarse_grid(images) > 3500
    assert sizes(group_copies(images, DUPLICATE_TOLERANCE)) == []


@pytest.mark.parametrize("name", COPIED)
def test_copies_that_were_saved_anew(name: str) -> None:
    drawn = [draw_fundus(3, index, 128, "screening") for index in range(60)]
    images = [resized(image, 64) for image in drawn]
    images += [resized(COPIED[name](image), 64) for image in drawn[:15]]
    groups = group_copies(np.stack(images), DUPLICATE_TOLERANCE)
    assert sizes(groups) == [2] * 15
    assert np.array_equal(groups[:15], groups[60:])


def test_many_copies_of_one_photograph_are_one_group() -> None:
    images = dark_photographs(50)
    many = np.repeat(images[:1], 100, axis=0)
    groups = group_copies(np.concatenate([images, many]), DUPLICATE_TOLERANCE)
    assert sizes(groups) == [101]


def test_copies_do_not_chain() -> None:
    """Each of 30 images is near the next one, and the ends are far apart."""
    generator = np.random.default_rng(0)
    first, last, *others = generator.integers(60, 200, (62, 3, 32, 32)).astype(float)
    steps = [first + (last - first) * step / 29 for step in range(30)]
    images = np.clip(np.rint([*steps, *others]), 0, 255).astype(np.uint8)
    assert np.abs(np.diff(images[:30].astype(int), axis=0)).mean() < DUPLICATE_TOLERANCE
    found = sizes(group_copies(images, DUPLICATE_TOLERANCE))
    assert found, "neighbours are copies"
    assert max(found) <= 5, "a group is around one image"


def test_the_tolerance_is_the_largest_difference() -> None:
    images = np.random.default_rng(0).integers(0, 200, (40, 1, 32, 32), dtype=np.uint8)
    images = np.concatenate([images, images[:1] + 3, images[1:2]])
    assert sizes(group_copies(images, 4.0)) == [2, 2]
    assert sizes(group_copies(images, 2.0)) == [2], "one of them is equal"
    assert sizes(group_copies(images, 0.0)) == [2]


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 3, 8, 8), (2, 1, 8, 8), (5, 3, 47, 33)])
def test_few_and_odd_images(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert len(np.unique(group_copies(images, DUPLICATE_TOLERANCE))) == shape[0]


def test_flat_images_are_copies_only_if_equal() -> None:
    levels = np.array([0, 0, 1, 2, 3, 200], np.uint8)
    images = np.tile(levels[:, None, None, None], (1, 3, 16, 16))
    assert sizes(group_copies(images, DUPLICATE_TOLERANCE)) == [2]
