"""Gaussian noise: the client adds noise to its smashed data.

This is the simplest defense, and every other one must beat its curve. The noise is added on every
release, in training and afterwards. Its deviation is a multiple of the batch's own, because the
scale of smashed data differs between targets and cuts.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from splitsec.devices import beside
from splitsec.plugins.defense import Defense
from splitsec.plugins.parameters import Parameters
from splitsec.shapes import Shape, SmashedShape


class GaussianNoiseParameters(Parameters):
    """Parameters of the noise."""

    sigma: float = Field(
        1.0, ge=0, description="standard deviation of the noise, in those of the smashed data"
    )


class GaussianNoise(Defense[GaussianNoiseParameters]):
    """Adds independent normal noise to every value that is sent."""

    Parameters: ClassVar[type[GaussianNoiseParameters]] = GaussianNoiseParameters
    randomised: ClassVar[bool] = True

    def begin(self, image: Shape, smashed: SmashedShape, generator: torch.Generator) -> None:
        """Keep the generator."""
        self._generator = generator

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the smashed data plus noise; gradients pass unchanged."""
        noise = beside(torch.randn(smashed.shape, generator=self._generator), smashed)
        return smashed + self.parameters.sigma * smashed.detach().std() * noise
