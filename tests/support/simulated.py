"""Figures whose truth is known, of seeds and images that are drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from splitsec.metrics.two_level import (
    RESAMPLES,
    Floats,
    Sample,
    draw_images,
    over_seeds_and_images,
    rank_intervals,
)

TRUTH = 0.5


class World(NamedTuple):
    """How much a figure varies: standard deviations over seeds, over images, and over both.

    Attributes:
        seeds: what one seed adds to all images.
        images: what one image adds for all seeds.
        both: what one image adds for one seed.
        skewed: whether these are exponential and not normal.
    """

    seeds: float = 0.02
    images: float = 0.15
    both: float = 0.05
    skewed: bool = False


ALIKE = World(0.02, 0.1, 0.02)

WORLDS = {
    "images vary most": World(),
    "seeds and images alike": ALIKE,
    "seeds alone": World(0.05, 0.0, 0.0),
    "images alone": World(0.0, 0.2, 0.05),
    "skewed": World(0.02, 0.1, 0.05, skewed=True),
}


def rows_of(rows: int, seeds: int, images: int, world: World, draws: np.random.Generator) -> Floats:
    """Return values per row, seed and image of rows whose true mean is ``TRUTH``.

    Nothing is shared between rows: what they shared would not tell them apart.
    """

    def add(*shape: int) -> Floats:
        return draws.exponential(size=shape) - 1 if world.skewed else draws.normal(size=shape)

    return (
        TRUTH
        + world.seeds * add(rows, seeds, 1)
        + world.images * add(rows, 1, images)
        + world.both * add(rows, seeds, images)
    )


def samples_of(values: Floats, draws: np.random.Generator, resamples: int) -> list[Sample]:
    """Return samples of values per row, seed and image, whose images are resampled together."""
    images = values.shape[2]
    weights = draw_images(images, draws, resamples) / images
    return [Sample(row.mean(axis=1), weights @ row.T, images) for row in values]


def drawn(seed: int = 0, seeds: int = 5, images: int = 100, world: World = ALIKE) -> Sample:
    """Return a sample of one row."""
    draws = np.random.default_rng(seed)
    (sample,) = samples_of(rows_of(1, seeds, images, world, draws), draws, RESAMPLES)
    return sample


def coverage(seeds: int, images: int, world: World, runs: int, resamples: int = 200) -> float:
    """Return how often the 95 % interval over seeds and images contains the true mean."""
    draws = np.random.default_rng(0)
    hits = 0
    for _ in range(runs):
        (sample,) = samples_of(rows_of(1, seeds, images, world, draws), draws, resamples)
        _, low, high = over_seeds_and_images(sample)
        assert low is not None
        assert high is not None
        hits += low <= TRUTH <= high
    return hits / runs


def told_apart(
    rows: int, seeds: int, images: int, world: World, runs: int, resamples: int = 200
) -> float:
    """Return how often any two of rows that are the same are ranked apart."""
    draws = np.random.default_rng(1)
    apart = 0
    for _ in range(runs):
        values = rows_of(rows, seeds, images, world, draws)
        found = rank_intervals(samples_of(values, draws, resamples))
        apart += any(one != (1, rows) for one in found)
    return apart / runs
