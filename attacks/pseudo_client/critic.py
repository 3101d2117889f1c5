"""The critic of the pseudo-client, which distinguishes the client's smashed data from imitations.

Unlike a critic of patches it knows positions, since a medical image has its organ in a fixed place.
Without positions, imitations with inverted brightness or colour pass for real.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.plugins.toolbox.decoders import checked, half
from splitsec.plugins.toolbox.gradient_penalty import Rectifier

_WIDTH = 64
_SLOPE = 0.2
_LARGEST = 8
"""Rows and columns of the last layers' input map."""


class ConditionalCritic(nn.Module):
    """Scores maps (N, c, h, w) with labels (N,) as (N, 1), each sample on its own.

    Args:
        shape: (c, h, w).
        classes: number of classes; 0 if there are no labels.

    Raises:
        ValueError: an extent is not positive.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        inputs, rows, columns = checked(shape)
        self._classes = classes
        inputs += classes
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

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """Score maps (N, c, h, w), whose labels are (N,) or not known, as (N, 1)."""
        if self._classes:
            maps = torch.cat([maps, self._constant(maps, labels)], 1)
        scores: Tensor = self.body(self.stem(maps) + self.position)
        return scores

    def _constant(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """Return one constant map per class: 1 for each sample's own, else 0."""
        hot = maps.new_zeros(len(maps), self._classes)
        if labels is not None:
            hot = F.one_hot(labels, self._classes).to(maps.dtype)
        return hot[:, :, None, None].expand(-1, -1, *maps.shape[2:])


class LabelledCritic(nn.Module):
    """A critic with fixed labels (N,) of N maps, as a function of these maps alone."""

    def __init__(self, critic: ConditionalCritic, labels: Tensor | None) -> None:
        super().__init__()
        self._critic, self._labels = critic, labels

    def forward(self, maps: Tensor) -> Tensor:
        """Score maps (N, c, h, w) as (N, 1)."""
        scores: Tensor = self._critic(maps, self._labels)
        return scores
