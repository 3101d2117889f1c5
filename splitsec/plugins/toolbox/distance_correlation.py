"""Distance correlation: a loss, and a measure of how much smashed data depend on images.

Szekely, Rizzo, Bakirov, "Measuring and testing dependence by correlation of distances", Annals
of Statistics 2007; the bias-corrected form is Szekely and Rizzo, "The distance correlation
t-test of independence in high dimension", Journal of Multivariate Analysis 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor


def distance_correlation(x: Tensor, z: Tensor) -> Tensor:
    """Return the sample distance correlation of paired rows.

    Args:
        x: shape (N, d).
        z: shape (N, e).

    Returns:
        Scalar in [0, 1], double precision; 0 where either side does not vary.

    Examples:
        >>> import torch
        >>> images = torch.rand(64, 12, generator=torch.Generator().manual_seed(0))
        >>> distance_correlation(images, 2 * images + 1).round(decimals=6)
        tensor(1., dtype=torch.float64)
        >>> distance_correlation(images, torch.zeros(64, 5)).item()
        0.0
    """
    a, b = _centred(_distances(x)), _centred(_distances(z))
    covariance, x_variance, z_variance = (a * b).mean(), (a * a).mean(), (b * b).mean()
    return _root(covariance / _safe(_root(x_variance * z_variance)))


def corrected_squared_distance_correlation(x: Tensor, z: Tensor) -> Tensor:
    """Return the bias-corrected squared distance correlation of paired rows.

    Args:
        x: shape (N, d).
        z: shape (N, e).

    Returns:
        Scalar in [-1, 1], double precision; 0 on average for independent rows, and 0 for fewer
        than four rows, for which it is not defined.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> images, noise = (torch.rand(64, 12, generator=generator) for _ in range(2))
        >>> corrected_squared_distance_correlation(images, 2 * images + 1).round(decimals=6)
        tensor(1., dtype=torch.float64)
        >>> bool(corrected_squared_distance_correlation(images, noise).abs() < 0.1)
        True
    """
    if len(x) < 4:
        return (x.sum() + z.sum()).double() * 0
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
