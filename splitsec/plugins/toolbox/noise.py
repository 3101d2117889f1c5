"""Noise that a client adds to its smashed data, and the bound that it needs."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import Field
from torch import Generator, Size, Tensor

from splitsec.devices import beside
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.shapes import Shape, SmashedShape


class NoiseParameters(Parameters):
    """Parameters of the noise."""

    sigma: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="standard deviation of the noise, in those of the smashed data",
    )
    unit: Literal["batch", "absolute"] = Field(
        "batch",
        description="of sigma: the standard deviation of the batch, or 1, behind a bound such as "
        "clip's",
    )


class AdditiveNoise(Defense[NoiseParameters]):
    """Base class of defenses that add noise to every value that is sent."""

    Parameters: ClassVar[type[NoiseParameters]] = NoiseParameters
    strength: ClassVar[Strength] = Strength("sigma", (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0))
    randomised: ClassVar[bool] = True

    def begin(self, image: Shape, smashed: SmashedShape, generator: Generator) -> None:
        """Keep the generator."""
        self._generator = generator

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the smashed data plus noise; gradients pass unchanged."""
        noise = beside(self.draw(smashed.shape, self._generator), smashed)
        given = self.parameters
        scale = smashed.detach().std() if given.unit == "batch" else 1.0
        return smashed + given.sigma * scale * noise

    @abstractmethod
    def draw(self, shape: Size, generator: Generator) -> Tensor:
        """Return noise of a shape on the CPU, of mean 0 and standard deviation 1."""


def within_norm(smashed: Tensor, limit: float) -> Tensor:
    """Return smashed data (N, ...), each image's scaled down to a norm of at most a limit.

    Examples:
        >>> import torch
        >>> from splitsec.plugins.toolbox.noise import within_norm
        >>> within_norm(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), limit=1.0)
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """
    norms = smashed.flatten(1).norm(dim=1).clamp(min=1e-12)
    scale = (limit / norms).clamp(max=1.0)
    scaled: Tensor = smashed * scale.view(-1, *[1] * (smashed.dim() - 1))
    return scaled
