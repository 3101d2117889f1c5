"""Identification: how often a reconstruction picks its victim out of a gallery.

Rank 1: a reconstruction identifies its victim if it is strictly nearer to that victim than to
every other one in the gallery. A tie is a failure, and so is a reconstruction that two victims
share, since it points at neither.

Galleries are random sets of ``GALLERY`` victims. The exact mean over all galleries is returned
instead of a sample: with ``c`` of the ``N - 1`` others at least as near, a gallery that holds the
victim holds none of them with probability C(N-1-c, G-1) / C(N-1, G-1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

GALLERY = 100
"""Victims in a gallery; chance is 1 %."""

_FLAT = 1e-4  # root mean square under which an image has no structure, only rounding errors
_TIE = 1e-9  # squared distances closer than this, relative to the images' norms, are equal
_FEATURES_PER_CHUNK = 8192


class IdentificationRates(NamedTuple):
    """Shares of victims identified, in [0, 1], and the victims in a gallery."""

    structure: float
    pixel: float
    gallery: int


def identification(
    reconstructions: Tensor, victims: Tensor, public_mean: Tensor
) -> IdentificationRates:
    """Return how often reconstructions identify their victims.

    Args:
        reconstructions: (N, C, H, W), in [0, 1]; row i reconstructs victim i.
        victims: the same shape, N >= 1.
        public_mean: (C, H, W), mean of the public images.

    Returns:
        The rate by structure and by pixel, and the size of the gallery: ``GALLERY``, or the
        number of victims if that is smaller.
    """
    gallery = min(GALLERY, len(victims))
    shared = _shared(reconstructions)

    def rate(images: Tensor, originals: Tensor, squared_norms: Tensor) -> float:
        rivals = _rivals(images, originals, squared_norms)
        chances = _chance_of_no_rival(rivals, gallery)
        return torch.where(shared, 0.0, chances).mean().item()

    shapes = structure(victims, public_mean)
    pixels = victims.flatten(1)
    return IdentificationRates(
        structure=rate(structure(reconstructions, public_mean), shapes, _unit_norms(shapes)),
        pixel=rate(reconstructions.flatten(1), pixels, _squared_norms(pixels)),
        gallery=gallery,
    )


def structure(images: Tensor, public_mean: Tensor) -> Tensor:
    """Remove from images everything that the population's mean or a colour predicts.

    Subtract the public mean image, then from each image its channel means, and divide by the
    norm of what is left (contrast). An image with nothing left becomes zero.

    Args:
        images: (N, C, H, W), in [0, 1].
        public_mean: (C, H, W).

    Returns:
        (N, C*H*W), rows of norm 1 or 0.
    """
    residue = images - public_mean
    residue = (residue - residue.mean(dim=(2, 3), keepdim=True)).flatten(1)
    norms = residue.norm(dim=1, keepdim=True)
    flat = norms <= _FLAT * residue.shape[1] ** 0.5
    return torch.where(flat, 0.0, residue / norms.clamp(min=torch.finfo(norms.dtype).tiny))


def _squared_norms(rows: Tensor) -> Tensor:
    chunks = torch.split(rows, _FEATURES_PER_CHUNK, dim=1)
    return torch.stack([chunk.double().square().sum(dim=1) for chunk in chunks]).sum(dim=0)


def _unit_norms(rows: Tensor) -> Tensor:
    # Exactly 1 or 0, so that an image without structure is tied with all others.
    return rows.any(dim=1).double()


def _rivals(images: Tensor, originals: Tensor, squared_norms: Tensor) -> Tensor:
    """Count, for each image, the other originals that are at least as near as its own.

    Args:
        images: (N, D).
        originals: (N, D).
        squared_norms: (N,) float64, of the originals.

    Returns:
        (N,) int64.
    """
    product = images.new_zeros(len(images), len(originals), dtype=torch.float64)
    for start in range(0, images.shape[1], _FEATURES_PER_CHUNK):
        columns = slice(start, start + _FEATURES_PER_CHUNK)
        product += images[:, columns].double() @ originals[:, columns].double().T
    distances = squared_norms - 2 * product  # the image's own norm is the same along a row
    own = distances.diagonal().unsqueeze(1)
    near: Tensor = distances <= own + _TIE * squared_norms.mean()
    return near.sum(dim=1) - 1  # its own original is always among them


def _chance_of_no_rival(rivals: Tensor, gallery: int) -> Tensor:
    others = len(rivals) - 1

    def log_ways(n: Tensor) -> Tensor:
        return torch.lgamma(n + 1) - torch.lgamma(n - (gallery - 1) + 1)

    harmless = (others - rivals).double()
    most = torch.full_like(harmless, others)
    chance = (log_ways(harmless.clamp(min=gallery - 1)) - log_ways(most)).exp()
    result: Tensor = torch.where(harmless >= gallery - 1, chance, 0.0)
    return result


def _shared(reconstructions: Tensor) -> Tensor:
    """Return which reconstructions equal another victim's bit by bit: (N,) bool."""
    _, inverse, counts = torch.unique(
        reconstructions.flatten(1), dim=0, return_inverse=True, return_counts=True
    )
    shared: Tensor = counts[inverse] > 1
    return shared
