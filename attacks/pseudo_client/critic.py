"""The critic of the pseudo-client: it tells the client's smashed data from its imitation.

Unlike a critic of patches it knows where it looks. A medical image has its organ in its place;
without that, imitations of inverted brightness or colour pass for real.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitsec.networks import checked, half

from ..fsha.penalty import Rectifier

_WIDTH = 64
_SLOPE = 0.2
_LARGEST = 8
"""Rows and columns of the map that the last layers see."""


class Critic(nn.Module):
    """Scores maps (N, c, h, w) as (N, 1), each sample on its own.

    Args:
        shape: (c, h, w).

    Raises:
        ValueError: an extent is not positive.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        inputs, rows, columns = checked(shape)
        stem: list[nn.Module] = []
        while max(rows, columns) > _LARGEST:
            stem += [nn.Conv2d(inputs, _WIDTH, 3, 2, 1), Rectifier(_SLOPE)]
            inputs, rows, columns = _WIDTH, half(rows), half(columns)
        self.stem = nn.Sequential(*stem, nn.Conv2d(inputs, _WIDTH, 3, 1, 1))
        self.position = nn.Parameter(torch.zeros(1, _WIDTH, rows, columns))
        self.body = nn.Sequential(
            Rectifier(_SLOPE),
            nn.Conv2d(_WIDTH, _WIDTH, 3, 1, 1),
            Rectifier(_SLOPE),
            nn.Conv2d(_WIDTH, _WIDTH, 3, 2, 1),
            Rectifier(_SLOPE),
            nn.Flatten(),
            nn.Linear(_WIDTH * half(rows) * half(columns), 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Score maps (N, c, h, w) as (N, 1)."""
        scores: Tensor = self.body(self.stem(maps) + self.position)
        return scores
