r"""DP release: the client clips what it sends of each image and adds noise for a stated epsilon.

Dwork, Roth, "The algorithmic foundations of differential privacy", 2014; Balle, Wang, "Improving
the Gaussian mechanism for differential privacy", ICML 2018. The smashed data of each image are
scaled down into a ball of which ``limit`` is the diameter, so that one image in place of another
moves them by at most that much. Gaussian noise is added, for T releases of an image of a standard
deviation of ``sqrt(T) * s(epsilon, delta)`` diameters, where ``s`` is that of a single release by
the exact formula (``dp_accounting``). T is the number of epochs and one release in use; a session
that asks for more is ended. There is no amplification by sampling: the server knows whose smashed
data it gets.

What is proven is of the image's own smashed data. An encoder that trains on an image carries it
into what it sends of other images later; with ``encoder=fixed`` it does not train, and the bound is
of all smashed data. Labels, which the client may send in the clear, are never covered. A client
that mixes the images of a batch is refused: use ``--target resnet:norm=group``.

An attacker averages the releases; epsilon accounts for all of them.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from splitsec.devices import beside
from splitsec.errors import SessionEnded, UsageError
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.guarantee import Guarantee
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.noise import within_norm
from splitsec.shapes import Shape, SmashedShape


class DpReleaseParameters(Parameters):
    """Parameters of the bound and of its price."""

    epsilon: float = Field(
        100.0, gt=0, allow_inf_nan=False, description="of all releases of an image together"
    )
    delta: float = Field(1e-5, gt=0, lt=1, description="chance that epsilon does not cover")
    limit: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="the most that one image moves its smashed data, as the root mean square of "
        "their values",
    )
    encoder: Literal["trained", "fixed"] = Field(
        "trained", description="fixed: it keeps its initial weights, and the bound is of all"
    )


class DpRelease(Defense[DpReleaseParameters]):
    """Clips each image's smashed data and adds Gaussian noise for a stated epsilon."""

    Parameters: ClassVar[type[DpReleaseParameters]] = DpReleaseParameters
    strength: ClassVar[Strength] = Strength("epsilon", (3000, 1000, 300, 100, 30, 10))
    randomised: ClassVar[bool] = True
    separate: ClassVar[bool] = True

    def begin(self, image: Shape, smashed: SmashedShape, generator: Generator) -> None:
        """Choose the noise."""
        self._generator = generator
        self._diameter = self.parameters.limit * math.sqrt(math.prod(smashed))
        self._deviation = self._noise_of_one_release() * math.sqrt(self._releases) * self._diameter

    def begin_epoch(self, epoch: int) -> None:
        """Send nothing beyond what epsilon accounts for.

        Raises:
            SessionEnded: each image has been sent as often as it may be.
        """
        if epoch >= self.epochs:
            raise SessionEnded(
                f"each image has been sent as often as epsilon accounts for: {self.epochs} times"
            )

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return clipped smashed data plus noise."""
        clipped = self.clip(smashed)
        noise = beside(torch.randn(smashed.shape, generator=self._generator), smashed)
        return clipped + self._deviation * noise

    def clip(self, smashed: Tensor) -> Tensor:
        """Return the smashed data (N, ...), each image's in a ball of the diameter."""
        return within_norm(smashed, self._diameter / 2)

    def receive(self, gradient: Tensor, step: int, labels: Tensor) -> Tensor:
        """Return the gradient, or none for an encoder that does not train."""
        return gradient if self.parameters.encoder == "trained" else torch.zeros_like(gradient)

    def guarantee(self) -> Guarantee:
        """Return the bound."""
        given = self.parameters
        fixed = given.encoder == "fixed" or not self.trains
        return Guarantee(
            epsilon=given.epsilon,
            delta=given.delta,
            releases=self._releases,
            covers="everything" if fixed else "the image's own",
        )

    @property
    def _releases(self) -> int:
        return self.epochs + 1

    def _noise_of_one_release(self) -> float:
        """Return the standard deviation for one release, in diameters."""
        try:
            from dp_accounting.gaussian_mechanism import get_sigma_gaussian
        except ImportError:
            raise UsageError("dp-release needs an accountant: pip install 'splitsec[dp]'") from None
        return float(get_sigma_gaussian(self.parameters.epsilon, self.parameters.delta))
