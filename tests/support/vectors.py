"""A target whose smashed data are vectors: a linear layer on the pixels, and one to the classes."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from splitsec import Parameters, Shape, Target

_FEATURES = 128


class Vectors(Target[Parameters]):
    """Sends 128 linear combinations of an image's pixels."""

    cuts: ClassVar[range] = range(1)
    default_cut: ClassVar[int] = 0

    def preprocessing(self, image: Shape) -> nn.Module:
        """Take the pixels in one row."""
        return nn.Flatten()

    def layers(self, image: Shape, outputs: int) -> list[nn.Module]:
        """Return both linear layers."""
        values = image.channels * image.height * image.width
        return [nn.Linear(values, _FEATURES), nn.Linear(_FEATURES, outputs)]
