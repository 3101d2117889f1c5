r"""DCOR: the client also minimises the distance correlation of its images and smashed data.

Vepakomma, Singh, Gupta, Raskar, "NoPeek: information leakage reduction to share activations in
distributed deep learning", ICDM Workshops 2020. The client's loss on each batch is
``(1 - alpha) * task + alpha * dCor(images, smashed)``; NoPeek's own weights are 1000 and 0.1.

The published distance correlation uses Euclidean distances and a final square root. It is biased
upwards: in a batch of 32, independent Gaussians of image size give 0.999. The bias-corrected form
is available too. It estimates the square and is negative about half of the time for independent
data, so no root is taken.

The server still chooses the scale of its gradient, and with it the balance of the two terms.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.distance_correlation import (
    corrected_squared_distance_correlation,
    distance_correlation,
)


class DcorParameters(Parameters):
    """Parameters of distance-correlation minimisation."""

    alpha: float = Field(
        0.5, ge=0, le=1, description="weight of the distance correlation; papers use 0.05 to 0.8"
    )
    estimator: Literal["published", "bias-corrected"] = Field(
        "published", description="of the distance correlation; NoPeek's is the published one"
    )


class Dcor(Defense[DcorParameters]):
    """Minimises the distance correlation of images and smashed data."""

    Parameters: ClassVar[type[DcorParameters]] = DcorParameters
    strength: ClassVar[Strength] = Strength("alpha", (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999))

    @property
    def task_weight(self) -> float:
        """Return 1 - alpha."""
        return 1.0 - self.parameters.alpha

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
        """Return alpha times the distance correlation within the batch."""
        estimate = (
            distance_correlation
            if self.parameters.estimator == "published"
            else corrected_squared_distance_correlation
        )
        return self.parameters.alpha * estimate(images.flatten(1), smashed.flatten(1))
