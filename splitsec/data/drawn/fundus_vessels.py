"""Grows the retinal vessels of a phantom eye.

A tree is grown in retinal coordinates: the fovea is the origin, the optic disc lies at
positive x (a right eye; a left one is mirrored by its pose), y points down, and 1 is the
radius of the field of view, about 6.75 mm on a 45 degree photograph. Every vessel follows its
heading, which turns by a fixed bend and wanders a little; whole generations of vessels are
grown at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NODES = 25
_PROGRESS = np.linspace(0.0, 1.0, NODES)


class Vessels(NamedTuple):
    """Vessels as polylines of ``NODES`` nodes in retinal coordinates."""

    nodes: Floats  # (vessels, NODES, 2)
    headings: Floats  # (vessels, NODES), radians
    lengths: Floats  # (vessels,)
    widths: Floats  # (vessels, NODES), standard deviation of the profile
    densities: Floats  # (vessels, NODES), optical density in green light


class _Sprout(NamedTuple):
    start: Floats  # (vessels, 2)
    heading: Floats  # (vessels,), radians
    bend: Floats  # (vessels,), radians over the whole length
    length: Floats  # (vessels,)
    width: Floats  # (vessels,)
    density: Floats  # (vessels,)


def grow_vessels(generator: np.random.Generator, disc: Floats) -> Vessels:
    """Grow arteries and veins out of the optic disc, with two generations of branches.

    Args:
        generator: generator of all random choices.
        disc: centre of the optic disc, shape (2,).

    Returns:
        All vessels; parts outside the field of view are included.
    """
    arcades = _grow(generator, _arcades(generator, disc), tortuosity=0.16)
    branches = _grow(generator, _branches(generator, arcades, 6, 0.34), tortuosity=0.3)
    twigs = _grow(generator, _branches(generator, branches, 2, 0.55), tortuosity=0.4)
    generations = (arcades, branches, twigs)
    return Vessels(*(np.concatenate(parts) for parts in zip(*generations, strict=True)))


def _arcades(generator: np.random.Generator, disc: Floats) -> _Sprout:
    """Start an artery and a vein to each quadrant, and four short vessels to the macula."""
    side = np.array([-1.0, -1.0, 1.0, 1.0])  # superior, inferior; artery, then vein
    temporal = side * np.radians(generator.uniform(75, 112, 4))
    temporal_bend = side * np.radians(generator.uniform(80, 118, 4))
    nasal = side * np.radians(generator.uniform(25, 70, 4))
    nasal_bend = side * np.radians(generator.uniform(-40, 25, 4))
    macular = np.pi + np.radians(np.array([-42.0, -20.0, 24.0, 45.0]))
    macular = macular + np.radians(generator.normal(0, 8, 4))
    heading = np.concatenate([temporal, nasal, macular])
    bend = np.concatenate([temporal_bend, nasal_bend, generator.normal(0, 0.5, 4)])
    length = np.concatenate(
        [
            generator.uniform(1.5, 2.0, 4),
            generator.uniform(0.7, 1.1, 4),
            generator.uniform(0.3, 0.5, 4),
        ]
    )
    vein = np.array([0.0, 1.0] * 4 + [0.0, 1.0, 0.0, 1.0])
    calibre = np.concatenate([np.full(4, 1.0), np.full(4, 0.85), np.full(4, 0.45)])
    width = (0.0085 + 0.0028 * vein) * calibre * generator.uniform(0.85, 1.15, 12)
    density = (0.55 + 0.35 * vein) * np.sqrt(calibre)
    start = disc + generator.normal(0, 0.018, (12, 2))
    return _Sprout(start, heading, bend, length, width, density)


def _branches(
    generator: np.random.Generator, parents: Vessels, count: int, reach: float
) -> _Sprout:
    """Start ``count`` branches on every parent, alternating sides, at random positions."""
    vessels = len(parents.lengths)
    slots = (np.arange(count) + generator.uniform(0.1, 0.9, (vessels, count))) / count
    at = np.minimum((0.1 + 0.88 * slots) * (NODES - 1), NODES - 1).astype(np.int64)
    rows = np.arange(vessels)[:, None]
    side = np.where((np.arange(count) + generator.integers(0, 2, (vessels, 1))) % 2, 1.0, -1.0)
    angle = side * np.radians(generator.uniform(28, 65, (vessels, count)))
    bend = side * np.radians(generator.uniform(-45, 25, (vessels, count)))
    length = parents.lengths[:, None] * reach * generator.uniform(0.45, 1.1, (vessels, count))
    shrink = generator.uniform(0.55, 0.75, (vessels, count))
    return _Sprout(
        start=parents.nodes[rows, at].reshape(-1, 2),
        heading=(parents.headings[rows, at] + angle).ravel(),
        bend=bend.ravel(),
        length=length.ravel(),
        width=(parents.widths[rows, at] * shrink).ravel(),
        density=(parents.densities[rows, at] * np.sqrt(shrink)).ravel(),
    )


def _grow(generator: np.random.Generator, sprout: _Sprout, tortuosity: float) -> Vessels:
    vessels = len(sprout.length)
    phase = generator.uniform(0, 2 * np.pi, (vessels, 2, 1))
    waves = generator.uniform(1.0, 3.5, (vessels, 2, 1))
    wander = tortuosity * np.sin(2 * np.pi * waves * _PROGRESS + phase).sum(axis=1)
    wander *= np.minimum(1.0, 4.0 * _PROGRESS)
    turn = _PROGRESS * (1.6 - 0.6 * _PROGRESS)
    headings = sprout.heading[:, None] + sprout.bend[:, None] * turn + wander
    step = (sprout.length / (NODES - 1))[:, None]
    moves = np.stack([np.cos(headings), np.sin(headings)], axis=-1) * step[..., None]
    nodes = sprout.start[:, None] + np.cumsum(moves, axis=1) - moves[:, :1]
    taper = 1.0 - 0.55 * _PROGRESS
    fade = np.minimum(1.0, 6.0 * (1.02 - _PROGRESS))
    return Vessels(
        nodes=nodes,
        headings=headings,
        lengths=sprout.length,
        widths=sprout.width[:, None] * taper,
        densities=sprout.density[:, None] * np.sqrt(taper) * fade,
    )
