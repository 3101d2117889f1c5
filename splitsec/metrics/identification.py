"""Identification: how often a reconstruction picks its victim out of a gallery.

Rank 1: a reconstruction identifies its victim if it is strictly nearer to that victim than to
every other image in the gallery. A tie is a failure, and so is a reconstruction that two victims
share, since it points at neither.

Galleries are random sets of ``GALLERY`` different images: the victim and others. With too few
victims, further images of the same kind are among the others. The exact mean over all galleries is
returned instead of a sample: with ``c`` of the ``N - 1`` others at least as near, a gallery that
holds the victim holds none of them with probability C(N-1-c, G-1) / C(N-1, G-1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from splitsec.devices import beside, on_cpu
from splitsec.metrics.schema import GALLERY

_FLAT = 1e-4  # root mean square under which an image has no structure, only rounding errors
_TIE = 1e-9  # squared distances closer than this, relative to the images' norms, are equal
_FEATURES_PER_CHUNK = 8192


@dataclass(frozen=True)
class Identified:
    """How surely each of N reconstructions identifies its victim.

    Attributes:
        structure: chance to pick the victim out of a gallery after colour, contrast and the
            public mean image are removed, (N,) float64.
        pixel: the same by mean squared error of the images as they are.
        certain: whether the victim is nearer than every other image that could be in a gallery,
            by structure or by pixel, (N,) bool.
        gallery: images in a gallery: ``GALLERY``, or all different images if there are fewer.
    """

    structure: Tensor
    pixel: Tensor
    certain: Tensor
    gallery: int


@dataclass(frozen=True)
class Gallery:
    """The images that reconstructions are compared with.

    Attributes:
        images: (M, C, H, W), all different, victims first.
        own: (N,) int64, the place of each of N victims.
        public_mean: (C, H, W), mean of the public images.
    """

    images: Tensor
    own: Tensor
    public_mean: Tensor

    @classmethod
    def of(cls, victims: Tensor, public_mean: Tensor, others: Tensor | None = None) -> Gallery:
        """Build the gallery of victims (N, C, H, W), in [0, 1], N >= 1.

        Args:
            victims: the victims.
            public_mean: (C, H, W), mean of the public images.
            others: (K, C, H, W), images of the same kind. They are used if there are fewer than
                ``GALLERY`` different victims, as many as are missing.
        """
        images, own = _different(victims)
        if others is not None and len(images) < GALLERY:
            filled, _ = _different(torch.cat([images, beside(others, images)]))
            images = filled[:GALLERY]
        return cls(images, own, public_mean)

    @property
    def size(self) -> int:
        """Images in one gallery."""
        return min(GALLERY, len(self.images))

    @cached_property
    def _shapes(self) -> Tensor:
        return structure(self.images, self.public_mean)

    @cached_property
    def _squared_norms(self) -> Tensor:
        return _squared_norms(self.images.flatten(1))

    def identify(self, reconstructions: Tensor) -> Identified:
        """Return how surely reconstructions identify their victims.

        Args:
            reconstructions: (N, C, H, W), in [0, 1]; row i reconstructs victim i.
        """
        shared = _shared(reconstructions, self.own)
        made = structure(reconstructions, self.public_mean)
        by_shape = _rivals(made, self._shapes, _unit_norms(self._shapes), self.own)
        pixels = self.images.flatten(1)
        by_pixel = _rivals(reconstructions.flatten(1), pixels, self._squared_norms, self.own)

        def chance(rivals: Tensor) -> Tensor:
            free = _chance_of_no_rival(rivals, len(self.images), self.size)
            return torch.where(shared, 0.0, free)

        return Identified(
            structure=chance(by_shape),
            pixel=chance(by_pixel),
            certain=~shared & ((by_shape == 0) | (by_pixel == 0)),
            gallery=self.size,
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


def _rivals(images: Tensor, originals: Tensor, squared_norms: Tensor, own: Tensor) -> Tensor:
    """Count, for each image, the other originals that are at least as near as its own.

    Args:
        images: (N, D).
        originals: (M, D).
        squared_norms: (M,) float64, of the originals.
        own: (N,), the row of each image's original.

    Returns:
        (N,) int64.
    """
    product = images.new_zeros(len(images), len(originals), dtype=torch.float64)
    for start in range(0, images.shape[1], _FEATURES_PER_CHUNK):
        columns = slice(start, start + _FEATURES_PER_CHUNK)
        product += images[:, columns].double() @ originals[:, columns].double().T
    distances = squared_norms - 2 * product  # the image's own norm is the same along a row
    nearest = distances.gather(1, own.unsqueeze(1))
    near: Tensor = distances <= nearest + _TIE * squared_norms.mean()
    return near.sum(dim=1) - 1  # its own original is always among them


def _chance_of_no_rival(rivals: Tensor, images: int, gallery: int) -> Tensor:
    others = images - 1

    def log_ways(n: Tensor) -> Tensor:
        return torch.lgamma(n + 1) - torch.lgamma(n - (gallery - 1) + 1)

    harmless = (others - rivals).double()
    most = torch.full_like(harmless, others)
    chance = (log_ways(harmless.clamp(min=gallery - 1)) - log_ways(most)).exp()
    result: Tensor = torch.where(harmless >= gallery - 1, chance, 0.0)
    return result


def _shared(reconstructions: Tensor, own: Tensor) -> Tensor:
    """Return which reconstructions equal, bit by bit, that of a different victim: (N,) bool."""
    _, made = _different(reconstructions)
    pairs = torch.unique(torch.stack([made, own], dim=1), dim=0)
    victims_of = torch.bincount(pairs[:, 0])  # different victims that share each reconstruction
    shared: Tensor = victims_of[made] > 1
    return shared


def _different(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different images in their order, (M, ...), and the place of each, (N,)."""
    # Adding 0 makes -0.0 and 0.0, which are equal, the same bytes.
    places: dict[bytes, int] = {}
    first: list[int] = []
    own = []
    for row, image in enumerate(on_cpu(images + 0.0).numpy()):
        place = places.setdefault(image.tobytes(), len(first))
        if place == len(first):
            first.append(row)
        own.append(place)
    return images[beside(torch.tensor(first), images)], beside(torch.tensor(own), images)
