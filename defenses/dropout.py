"""Dropout: the client replaces a share of the values that it sends by zero, drawn anew each time.

Values that stay are scaled up, so that the mean of what is sent stays the same. It is applied in
use as in training, unlike dropout as a regulariser.

An attacker sees other values of the same image in each epoch, so it averages over epochs.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor

from splitsec.devices import beside
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.shapes import Shape, SmashedShape


class DropoutParameters(Parameters):
    """Parameters of dropout."""

    rate: float = Field(0.5, ge=0, lt=1, description="share of the values that are not sent")


class Dropout(Defense[DropoutParameters]):
    """Sends zero in place of a random share of the values."""

    Parameters: ClassVar[type[DropoutParameters]] = DropoutParameters
    strength: ClassVar[Strength] = Strength("rate", (0.5, 0.75, 0.9, 0.97, 0.99, 0.997, 0.999))
    randomised: ClassVar[bool] = True

    def begin(self, image: Shape, smashed: SmashedShape, generator: Generator) -> None:
        """Keep the generator."""
        self._generator = generator

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the smashed data with some values at zero."""
        rate = self.parameters.rate
        kept = torch.rand(smashed.shape, generator=self._generator) >= rate
        # A product with zero would keep the sign of what is not sent.
        return torch.where(beside(kept, smashed), smashed / (1 - rate), 0.0)
