r"""DCOR: the client also minimises the distance correlation of its images and smashed data.

Vepakomma, Singh, Gupta, Raskar, "NoPeek: information leakage reduction to share activations in
distributed deep learning", ICDM Workshops 2020. The client's loss on each batch is
``(1 - alpha) * task + alpha * dCor(images, smashed)``; NoPeek's own weights are 1000 and 0.1.

Distance correlation is that of Szekely, Rizzo, Bakirov, Annals of Statistics 2007, with
Euclidean distances and the final square root. It is biased upwards: in a batch of 32, independent
Gaussians of image size give 0.999. The bias-corrected form (Szekely, Rizzo, J. Multivariate
Analysis 2013) is offered too. It estimates the square, and is negative about half of the time
for independent data, so it is minimised as it is.

The server still chooses the scale of its gradient and thereby the balance of the two terms.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from splitsec.defense import Defense
from splitsec.parameters import Parameters


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

    @property
    def task_weight(self) -> float:
        """Return 1 - alpha."""
        return 1.0 - self.parameters.alpha

    def penalty(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return alpha times the distance correlation within the batch."""
        estimate = (
            distance_correlation
            if self.parameters.estimator == "published"
            else corrected_squared_distance_correlation
        )
        return self.parameters.alpha * estimate(images.flatten(1), smashed.flatten(1))


def distance_correlation(x: Tensor, z: Tensor) -> Tensor:
    """Return the sample distance correlation of paired rows.

    Args:
        x: shape (N, d).
        z: shape (N, e).

    Returns:
        Scalar in [0, 1]; 0 where either side does not vary.
    """
    a, b = _centred(_distances(x)), _centred(_distances(z))
    covariance, x_variance, z_variance = (a * b).mean(), (a * a).mean(), (b * b).mean()
    return _root(covariance / _safe(_root(x_variance * z_variance)))


def corrected_squared_distance_correlation(x: Tensor, z: Tensor) -> Tensor:
    """Return the bias-corrected squared distance correlation of paired rows.

    Args:
        x: shape (N, d), N at least 4.
        z: shape (N, e).

    Returns:
        Scalar in [-1, 1], 0 on average for independent rows.
    """
    a, b = _u_centred(_distances(x)), _u_centred(_distances(z))
    covariance, x_variance, z_variance = (a * b).sum(), (a * a).sum(), (b * b).sum()
    return covariance / _safe(_root(x_variance * z_variance))


def _safe(denominator: Tensor) -> Tensor:
    return torch.where(denominator > 0, denominator, torch.ones_like(denominator))


def _root(squared: Tensor) -> Tensor:
    """Return the square root with gradient 0, not infinite, at 0."""
    positive = squared > 0
    return torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 0.0)


def _distances(rows: Tensor) -> Tensor:
    """Return Euclidean distances of shape (N, N), with finite gradients on the diagonal.

    They come from the Gram matrix, in double precision: in single precision its subtraction
    would lose the small distances of similar images.
    """
    rows = rows.double()
    squares = rows.square().sum(1)
    gram = rows @ rows.T
    squared = squares[:, None] + squares[None, :] - 2 * gram
    off_diagonal = 1 - torch.eye(len(rows), dtype=squared.dtype, device=squared.device)
    return _root(squared.clamp_min(0) * off_diagonal)


def _centred(distances: Tensor) -> Tensor:
    return (
        distances
        - distances.mean(0, keepdim=True)
        - distances.mean(1, keepdim=True)
        + distances.mean()
    )


def _u_centred(distances: Tensor) -> Tensor:
    n = len(distances)
    centred = (
        distances
        - distances.sum(0, keepdim=True) / (n - 2)
        - distances.sum(1, keepdim=True) / (n - 2)
        + distances.sum() / ((n - 1) * (n - 2))
    )
    return centred * (1 - torch.eye(n, dtype=centred.dtype, device=centred.device))
