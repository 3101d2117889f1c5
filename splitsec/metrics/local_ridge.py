"""Ridge regression from the values at each position of a map to the block of a mask below it.

A map of (h, w) positions stands for an image of (H, W) pixels, so each position covers a block of
about H/h times W/w pixels. All positions share their weights, as those of a convolution.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import (
    adaptive_avg_pool2d,
    interpolate,
    pixel_shuffle,
    pixel_unshuffle,
    unfold,
)

STRENGTHS = (1e-4, 1e-2)
"""Strengths to choose from, in multiples of each value's mean square."""

_SIDE = 64  # larger maps are averaged down to it
_COARSE = 16  # height and width up to which the eight neighbours of a position count, too
_WIDEST = 1300  # values of a position and its neighbours; more would take minutes
_AT_ONCE = 64
_DEAD = 1e-12  # keeps the equations solvable where a channel is always 0


class Moments(NamedTuple):
    """Sums over positions, by which the regression is solved.

    Attributes:
        gram: (d, d), of the values and of a constant 1, which comes last.
        cross: (d, b), of the values and the pixels of a block.
    """

    gram: Tensor
    cross: Tensor

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.gram - other.gram, self.cross - other.cross)

    def weights(self, strength: float) -> Tensor:
        """Return the weights (d, b) of the regression; the constant is not penalised."""
        scale = self.gram.diagonal()
        penalty = strength * scale + _DEAD * scale.max()
        penalty[-1] = 0
        solved: Tensor = torch.linalg.solve(self.gram + torch.diag(penalty), self.cross)
        return solved


class Blocks:
    """Divides masks into the blocks of a map's positions.

    Args:
        masks: (N, 1, H, W), any masks of the size.
        maps: (N, c, h, w), any maps of the kind.
        reach: 1 if a position counts alone, 3 if its neighbours do, too; None: 3 for coarse maps.
    """

    def __init__(self, masks: Tensor, maps: Tensor, reach: int | None = None) -> None:
        height, width = masks.shape[-2:]
        self._size = height, width
        self._positions = min(maps.shape[2], height, _SIDE), min(maps.shape[3], width, _SIDE)
        rows, columns = self._positions
        self._side = max(-(-height // rows), -(-width // columns))
        coarse = max(self._positions) <= _COARSE and 9 * maps.shape[1] <= _WIDEST
        self._reach = reach or (3 if coarse else 1)

    def moments(self, maps: Tensor, masks: Tensor) -> Moments:
        """Return the sums over all positions of N maps and their masks (N, 1, H, W)."""
        gram = cross = torch.zeros((), dtype=torch.float64)
        for some, due in zip(*(torch.split(one, _AT_ONCE) for one in (maps, masks)), strict=True):
            values = self._values(some)
            gram = gram + values.T @ values
            cross = cross + values.T @ self._divided(due)
        return Moments(gram, cross)

    def predict(self, maps: Tensor, weights: Tensor) -> Tensor:
        """Return masks (N, 1, H, W), float32, of N maps; values may be outside of [0, 1]."""
        made = [
            self._joined(self._values(some) @ weights, len(some))
            for some in torch.split(maps, _AT_ONCE)
        ]
        return torch.cat(made)

    def _values(self, maps: Tensor) -> Tensor:
        """Return the values at each position, and a constant, (N * h * w, d) float64."""
        maps = adaptive_avg_pool2d(maps.float(), self._positions)
        near = unfold(maps, self._reach, padding=self._reach // 2)
        rows = near.transpose(1, 2).reshape(-1, near.shape[1]).double()
        return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)

    def _divided(self, masks: Tensor) -> Tensor:
        """Return the block of each position, (N * h * w, b) float64."""
        whole = [extent * self._side for extent in self._positions]
        blocks = pixel_unshuffle(interpolate(masks, whole), self._side)
        return blocks.permute(0, 2, 3, 1).flatten(0, 2).double()

    def _joined(self, blocks: Tensor, count: int) -> Tensor:
        maps = blocks.view(count, *self._positions, -1).permute(0, 3, 1, 2).float()
        return interpolate(pixel_shuffle(maps, self._side), self._size)
