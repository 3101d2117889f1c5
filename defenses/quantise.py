"""Quantise: the client rounds what it sends of each image to a few levels.

The levels lie evenly between the smallest and the largest value of the image's smashed data. The
gradient passes as if nothing were rounded (Bengio, Leonard, Courville, "Estimating or propagating
gradients through stochastic neurons", 2013).

Nothing is drawn, so an attacker that knows the levels trains on rounded data of its own.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters


class QuantiseParameters(Parameters):
    """Parameters of the rounding."""

    bits: int = Field(2, ge=1, le=16, description="per value: 2**bits levels")


class Quantise(Defense[QuantiseParameters]):
    """Rounds each value to the nearest level."""

    Parameters: ClassVar[type[QuantiseParameters]] = QuantiseParameters
    strength: ClassVar[Strength] = Strength("bits", (4, 3, 2, 1))

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the smashed data, rounded."""
        flat = smashed.detach().flatten(1)
        low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
        step = ((high - low) / (2**self.parameters.bits - 1)).clamp(min=1e-12)
        rounded = (((flat - low) / step).round() * step + low).view_as(smashed)
        # The sum smashed + (rounded - smashed) would send what was rounded away in its last bits.
        sent: Tensor = rounded + (smashed - smashed.detach())
        return sent
