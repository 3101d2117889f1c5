"""Bottleneck: the client squeezes its smashed data through a few channels before it sends them.

Li, Rakin, Chen, He, Fan, Chakrabarti, "ResSFL: a resistance transfer framework for defending model
inversion attack in split federated learning", CVPR 2022, puts a 1x1 convolution to 8 channels
before the cut and another one behind it, without an activation between them. Here both are the
client's, so that the server's network stays as it is: more bytes cross than need to, but nothing
more can be learned from them, since the second layer is linear and can be undone.

An attacker's stand-in trains a bottleneck of its own. With several clients each has one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Generator, Tensor, nn

from splitsec.errors import NotApplicable
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.shapes import Shape, SmashedShape, TokenShape, VectorShape


class BottleneckParameters(Parameters):
    """Parameters of the bottleneck."""

    channels: int = Field(8, ge=1, description="channels, or features of a vector; ResSFL 8")


class Bottleneck(Defense[BottleneckParameters]):
    """Sends a linear map of a few channels of each position."""

    Parameters: ClassVar[type[BottleneckParameters]] = BottleneckParameters
    strength: ClassVar[Strength] = Strength("channels", (16, 8, 4, 2, 1))

    def begin(self, image: Shape, smashed: SmashedShape, generator: Generator) -> None:
        """Build both layers.

        Raises:
            NotApplicable: the smashed data are tokens, or have no more channels than that.
        """
        if isinstance(smashed, TokenShape):
            raise NotApplicable("a bottleneck is for maps and vectors, and these are tokens")
        narrow, wide = self.parameters.channels, smashed[0]
        if narrow >= wide:
            raise NotApplicable(
                f"a bottleneck of {narrow} channels does not narrow smashed data of {wide}"
            )
        self._layers = self.device.put(
            nn.Sequential(nn.Linear(wide, narrow), nn.Linear(narrow, wide))
            if isinstance(smashed, VectorShape)
            else nn.Sequential(nn.Conv2d(wide, narrow, 1), nn.Conv2d(narrow, wide, 1))
        )

    @property
    def networks(self) -> Sequence[nn.Module]:
        """Both layers."""
        return [self._layers]

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the smashed data after both layers."""
        narrowed: Tensor = self._layers(smashed)
        return narrowed
