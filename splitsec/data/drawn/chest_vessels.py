"""Draws the vessels of a phantom's lungs: branching lines that fan out from the hila."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitsec.data.drawn.chest_organs import Field

Points = NDArray[np.float64]

_TRUNKS, _TWIGS = 16, 3  # twigs per trunk
_NODES = 24  # per vessel
_DENSE = 128  # side of the canvas up to which nodes lie close enough


class _Tree(NamedTuple):
    nodes: Points  # (vessels, nodes, 2), in chest coordinates
    sigma: Points  # (vessels, nodes), deviation of the profile
    mass: Points  # (vessels, nodes), shadow times length of line


def draw_vessels(
    generator: np.random.Generator, project: Callable[[Points], Points], side: int
) -> Field:
    """Draw the vessels of both lungs.

    Args:
        generator: generator of all random choices.
        project: maps chest coordinates, shape (n, 2), to the film, [-1, 1] wide and high.
        side: side of the canvas in pixels.

    Returns:
        Their shadow, shape (side, side).
    """
    factor = max(1, side // _DENSE)
    nodes, sigma, mass = (_densified(values, factor) for values in _grow(generator))
    pixels = (project(nodes.reshape(-1, 2)) + 1) * (side / 2) - 0.5
    wanted = sigma.ravel() * side / 2
    drawn = np.maximum(wanted, 0.7)  # the thinnest spot that a canvas can hold
    height = mass.ravel() * (side / 2 / factor) / drawn * np.minimum(wanted / drawn, 1)
    return _splat(pixels, drawn, height, side)


def _grow(generator: np.random.Generator) -> _Tree:
    """Grow trunks out of the hila, most of them downwards, and twigs out of trunks."""
    uniform, normal = generator.uniform, generator.normal
    along = (np.arange(_NODES) + 0.5) / _NODES
    side = np.where(np.arange(_TRUNKS) % 2, 1.0, -1.0)
    start = np.stack([side * uniform(0.12, 0.17, _TRUNKS), normal(0, 0.05, _TRUNKS)], axis=1)
    up = uniform(0, 1, _TRUNKS) < 0.3
    heading = np.radians(np.where(up, -60.0, 50.0) + normal(0, 22, _TRUNKS))
    length, width = uniform(0.2, 0.42, _TRUNKS), uniform(0.011, 0.018, _TRUNKS)
    trunks = _lines(start, heading, normal(0.2, 0.3, _TRUNKS), length, side, along)
    forks = (_NODES * uniform(0.25, 1, (_TRUNKS, _TWIGS))).astype(np.int64)
    starts = trunks[np.arange(_TRUNKS)[:, None], forks].reshape(-1, 2)
    headings = (heading[:, None] + normal(0, 0.55, (_TRUNKS, _TWIGS))).ravel()
    lengths = (length[:, None] * uniform(0.4, 0.9, (_TRUNKS, _TWIGS))).ravel()
    bends = normal(0, 0.4, _TRUNKS * _TWIGS)
    twigs = _lines(starts, headings, bends, lengths, np.repeat(side, _TWIGS), along)
    widths = np.concatenate([width, np.repeat(0.6 * width, _TWIGS)])
    sigma = widths[:, None] * (1 - 0.6 * along)
    steps = np.concatenate([length, lengths])[:, None] / _NODES
    mass = uniform(2.5, 4.5) * sigma * (1.1 - along) * steps
    return _Tree(np.concatenate([trunks, twigs]), sigma, mass)


def _lines(
    start: Points,
    heading: Points,
    bend: Points,
    length: Points,
    side: Points,
    along: Points,
) -> Points:
    """Return the points of bent lines, shape (lines, points, 2); ``side`` mirrors them."""
    angle = heading[:, None] + bend[:, None] * along
    moves = np.stack([np.cos(angle) * side[:, None], np.sin(angle)], axis=-1)
    steps = (length / len(along))[:, None, None]
    lines: Points = start[:, None] + np.cumsum(moves, axis=1) * steps
    return lines


def _densified(values: Points, factor: int) -> Points:
    """Interpolate further points on lines, shape (lines, points, ...)."""
    if factor == 1:
        return values
    points = values.shape[1]
    position = np.linspace(0, points - 1, points * factor)
    low = np.minimum(position.astype(np.int64), points - 2)
    share = (position - low).reshape(-1, *[1] * (values.ndim - 2))
    dense: Points = values[:, low] * (1 - share) + values[:, low + 1] * share
    return dense


def _splat(pixels: Points, sigma: Points, height: Points, side: int) -> Field:
    """Sum Gaussian spots on a canvas; positions and deviations are in pixels."""
    window = math.ceil(2.3 * float(sigma.max()))
    near = ((pixels > -0.5) & (pixels < side - 0.5)).all(axis=1)
    pixels, sigma, height = pixels[near], sigma[near], height[near]
    corner = np.rint(pixels).astype(np.int64)
    offsets = np.arange(-window, window + 1)
    spread = (-0.5 / np.square(sigma))[:, None, None]
    bells = np.exp(np.square(offsets - (pixels - corner)[..., None]) * spread)
    weights = (bells[:, 1] * height[:, None])[:, :, None] * bells[:, 0][:, None, :]
    wide = side + 2 * window
    first = (corner[:, 1] + window) * wide + corner[:, 0] + window
    cells = first[:, None, None] + (offsets[:, None] * wide + offsets)
    canvas = np.bincount(cells.ravel(), weights.ravel(), minlength=wide * wide)
    return canvas.reshape(wide, wide)[window:-window, window:-window].astype(np.float32)
