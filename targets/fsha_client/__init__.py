"""The client network of the FSHA paper, levels 1 to 4, with a small honest server head.

Pasquini, Ateniese, Bernaschi, "Unleashing the tiger: inference attacks on split learning", CCS
2021. The cut is the paper's level. The paper's server never trains the task; the head (mean over
the map, one linear layer) is ours, so that utility can be measured.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import SplitModel, Target
from splitsec.plugins.toolbox.layers import Standardise
from splitsec.shapes import Shape

from .networks import client_children

_CHANNELS = {1: 64, 2: 128, 3: 128, 4: 256}


class FshaClient(Target[Parameters]):
    """The paper's residual client; its smashed data have both signs."""

    cuts: ClassVar[range] = range(1, 5)
    default_cut: ClassVar[int] = 4

    def preprocessing(self, image: Shape) -> nn.Module:
        """Scale images to [-1, 1], as the paper does."""
        return Standardise((0.5,) * image.channels, (0.5,) * image.channels)

    def split(self, image: Shape, outputs: int, cut: int) -> SplitModel:
        """Return the client up to level ``cut`` and a linear head as the server."""
        client = nn.Sequential(self.preprocessing(image), *client_children(cut, image.channels))
        return SplitModel(client, self._head(cut, outputs))

    @staticmethod
    def _head(level: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_CHANNELS[level], outputs)
        )
