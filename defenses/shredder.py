"""Shredder: the client learns noise that the task bears, and adds some of it to each image.

Mireshghallah, Taram, Ramrakhyani, Jalali, Tullsen, Esmaeilzadeh, "Shredder: learning noise
distributions to protect inference privacy", ASPLOS 2020; its authors' code. Several tensors of
noise begin as draws of a Laplace distribution and learn the task, while a penalty keeps each at the
level of noise that is asked for, as the paper's term that rewards noise does until it is reached.
One of them, drawn anew, is added to each image's smashed data. Deviations: the noise is learned
together with the model, which the paper trains beforehand and freezes; its unit is the deviation of
the batch.

The noise is one of a few fixed tensors, which a decoder learns to tell apart and to subtract.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from splitsec.devices import beside
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.shapes import Shape, SmashedShape


class ShredderParameters(Parameters):
    """Parameters of the noise."""

    level: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="standard deviation that each tensor of noise keeps, in those of the smashed "
        "data",
    )
    tensors: int = Field(20, ge=1, description="of noise, one of which is added to an image")
    weight: float = Field(
        10.0, ge=0, allow_inf_nan=False, description="of what the noise lacks of its level"
    )


class _Noise(nn.Module):
    """Tensors of noise.

    Args:
        count: their number.
        shape: of one.
        level: their standard deviation at the beginning.
    """

    def __init__(self, count: int, shape: SmashedShape, level: float) -> None:
        super().__init__()
        drawn = torch.distributions.Laplace(0.0, level / math.sqrt(2)).sample((count, *shape))
        self.values = nn.Parameter(drawn)


class Shredder(Defense[ShredderParameters]):
    """Adds one of several tensors of noise that have learned the task."""

    Parameters: ClassVar[type[ShredderParameters]] = ShredderParameters
    strength: ClassVar[Strength] = Strength("level", (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0))
    randomised: ClassVar[bool] = True

    def begin(self, image: Shape, smashed: SmashedShape, generator: Generator) -> None:
        """Draw the noise."""
        self._generator = generator
        given = self.parameters
        self._noise = self.device.put(_Noise(given.tensors, smashed, given.level))

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The noise."""
        return [self._noise]

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the smashed data plus noise."""
        count = self.parameters.tensors
        chosen = torch.randint(count, (len(smashed),), generator=self._generator)
        noise = self._noise.values[beside(chosen, smashed)]
        return smashed + smashed.detach().std() * noise

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
        """Return what the noise lacks of its level, weighted."""
        deviations = self._noise.values.flatten(1).std(dim=1, correction=0)
        return self.parameters.weight * F.relu(self.parameters.level - deviations).mean()
