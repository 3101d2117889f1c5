"""Errors between images, one number per image: MSE, PSNR and SSIM."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from splitsec.errors import UsageError

PSNR_CAP = 100.0
"""Decibels given to images that agree to within an MSE of 1e-10."""

SSIM_WINDOW = 7
"""Side of SSIM's uniform window, in pixels; images must be at least as large."""

_PIXELS_PER_CHUNK = 4_000_000
_SAMPLE = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # from the variance of windows to the sample's


def mse(images: Tensor, references: Tensor) -> Tensor:
    """Mean squared error of each image, over channels and pixels.

    Args:
        images: (N, C, H, W), in [0, 1].
        references: the same shape.

    Returns:
        (N,) float64, in [0, 1].

    Raises:
        UsageError: the shapes differ.
    """
    _check_shapes(images, references)
    chunks = [
        (a.double() - b.double()).square().mean(dim=(1, 2, 3))
        for a, b in _chunks(images, references)
    ]
    return torch.cat(chunks)


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, ``10 log10(1 / MSE)``, data range 1.

    Args:
        images: (N, C, H, W), in [0, 1].
        references: the same shape.

    Returns:
        (N,) float64, in decibels, in [0, ``PSNR_CAP``].

    Raises:
        UsageError: the shapes differ.
    """
    return psnr_of_mse(mse(images, references))


def psnr_of_mse(errors: Tensor) -> Tensor:
    """PSNR in decibels, capped at ``PSNR_CAP``, of MSEs of any shape."""
    return -10.0 * errors.clamp(min=10.0 ** (-PSNR_CAP / 10)).log10()


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004), as scikit-image computes it.

    A uniform 7x7 window, K1 = 0.01, K2 = 0.03, sample covariance, data range 1; the mean over
    all windows that lie within the image, then over channels. Equals
    ``skimage.metrics.structural_similarity(..., data_range=1, channel_axis=0)`` in float64.

    Args:
        images: (N, C, H, W), in [0, 1], at least 7x7 pixels.
        references: the same shape.

    Returns:
        (N,) float64, in [-1, 1]; 1 for equal images.

    Raises:
        UsageError: the shapes differ, or the images are smaller than the window.
    """
    _check_shapes(images, references)
    _check_window(images)
    return torch.cat([_ssim(a.double(), b.double()) for a, b in _chunks(images, references)])


class _Windows(NamedTuple):
    """Mean and sample variance in each window of images, (N, C, h, w)."""

    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, images: Tensor) -> _Windows:
        mean = _window_mean(images)
        return cls(mean, _SAMPLE * (_window_mean(images * images) - mean * mean))


def mean_ssim_error(population: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the mean of 1 - SSIM between images and a population, as a loss.

    Args:
        population: (N, C, H, W), in [0, 1], at least 7x7 pixels.

    Returns:
        A function from an image (1, C, H, W), or from one for each of the population, to a scalar,
        differentiable, in the images' own precision; what it needs of the population is computed
        once.

    Raises:
        UsageError: the images are smaller than the window.
    """
    _check_shapes(population, population)
    _check_window(population)
    windows = _Windows.of(population)
    return lambda image: (
        1 - _ssim_of_windows(_Windows.of(image), windows, _window_mean(image * population)).mean()
    )


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    return _ssim_of_windows(_Windows.of(x), _Windows.of(y), _window_mean(x * y))


def _ssim_of_windows(x: _Windows, y: _Windows, mean_of_product: Tensor) -> Tensor:
    c1, c2 = 0.01**2, 0.03**2
    covariance = _SAMPLE * (mean_of_product - x.mean * y.mean)
    numerator = (2 * x.mean * y.mean + c1) * (2 * covariance + c2)
    denominator = (x.mean.square() + y.mean.square() + c1) * (x.variance + y.variance + c2)
    return (numerator / denominator).mean(dim=(1, 2, 3))


def _window_mean(x: Tensor) -> Tensor:
    """Return the mean of each window, by running sums: pooling takes three times as long."""
    for axis in (2, 3):
        sums = x.cumsum(axis)
        before = torch.cat([torch.zeros_like(sums.narrow(axis, 0, 1)), sums], axis)
        count = x.shape[axis] - SSIM_WINDOW + 1
        x = before.narrow(axis, SSIM_WINDOW, count) - before.narrow(axis, 0, count)
    return x / SSIM_WINDOW**2


def _chunks(images: Tensor, references: Tensor) -> list[tuple[Tensor, Tensor]]:
    # Float64 copies of a whole set of large images would need gigabytes.
    count = max(1, _PIXELS_PER_CHUNK // max(1, images[0].numel())) if len(images) else 1
    return list(zip(torch.split(images, count), torch.split(references, count), strict=True))


def _check_shapes(images: Tensor, references: Tensor) -> None:
    if images.ndim != 4 or images.shape != references.shape:
        raise UsageError(
            f"images to compare must both be (N, C, H, W), got {tuple(images.shape)} "
            f"and {tuple(references.shape)}"
        )


def _check_window(images: Tensor) -> None:
    height, width = images.shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise UsageError(
            f"SSIM needs images of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, these have "
            f"{height}x{width}; choose a larger size"
        )
