"""Yardsticks: oracles that know only a few numbers about each victim.

They complete the image from the public population and so give leakage a scale: an attack that does
as well as the first three principal components has recovered about three numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import NamedTuple

import torch
from torch import Tensor

COMPONENTS = (1, 3, 5, 10, 30, 100)
"""Numbers of principal components that yardsticks know."""

_FEATURES_PER_CHUNK = 8192
_ROUNDING = 1e-13  # mean square of float32's rounding errors between equal images


@dataclass(frozen=True)
class Yardsticks:
    """Oracles fitted to public images.

    Attributes:
        mean: (C, H, W), mean of the public images.
        basis: (K, C*H*W), orthonormal principal axes of the public images, strongest first.
        components: the numbers of components used, those of ``COMPONENTS`` that are at most
            the number of public images less one.
    """

    mean: Tensor
    basis: Tensor
    components: tuple[int, ...]

    @classmethod
    def fit(cls, public: Tensor) -> Yardsticks:
        """Fit the yardsticks to public images (N, C, H, W), N >= 1."""
        count = len(public)
        mean = public.mean(dim=0)
        components = tuple(k for k in COMPONENTS if k <= min(count - 1, mean.numel()))
        basis = _principal_axes((public - mean).flatten(1), max(components, default=0))
        return cls(mean=mean, basis=basis, components=components)

    def reconstructions(self, victims: Tensor) -> dict[str, Tensor]:
        """Reconstruct victims (N, C, H, W) from a few numbers about each.

        Returns:
            ``colour`` (knows each channel's least-squares gain on the public mean image) and
            ``components-k`` (knows the first k principal components); (N, C, H, W), in [0, 1].
        """
        coordinates = (victims - self.mean).flatten(1) @ self.basis.T
        images = {"colour": self._colour(victims)}
        for k in self.components:
            filled = (coordinates[:, :k] @ self.basis[:k]).view(victims.shape)
            images[f"components-{k}"] = (self.mean + filled).clamp(0, 1)
        return images

    def _colour(self, victims: Tensor) -> Tensor:
        energy = self.mean.square().sum(dim=(1, 2)).clamp(min=torch.finfo(torch.float32).tiny)
        gains = torch.einsum("nchw,chw->nc", victims, self.mean) / energy
        return (gains[:, :, None, None] * self.mean).clamp(0, 1)


class EquivalentComponents(NamedTuple):
    """The number of principal components that does as well, and whether it is a lower bound."""

    components: float
    capped: bool


def equivalent_components(
    mse: float, mean_image_mse: float, components_mse: Mapping[int, float]
) -> EquivalentComponents:
    """Find the number of principal components that would reach the same MSE.

    Args:
        mse: mean squared error of the reconstructions.
        mean_image_mse: MSE of the public mean image, which counts as 0 components.
        components_mse: number of components to MSE.

    Returns:
        0 if the mean image does as well; linear in MSE up to 1 component, linear in log k beyond;
        capped at the largest number of components.
    """
    known = [(0, mean_image_mse), *sorted(components_mse.items())]
    if mse >= mean_image_mse:
        return EquivalentComponents(0.0, capped=False)
    for (low, low_mse), (high, high_mse) in pairwise(known):
        if high_mse <= mse < low_mse:
            part = (low_mse - mse) / (low_mse - high_mse)
            if low == 0:
                return EquivalentComponents(part * high, capped=False)
            return EquivalentComponents(exp(log(low) + part * log(high / low)), capped=False)
    return EquivalentComponents(float(known[-1][0]), capped=True)


def _principal_axes(centred: Tensor, count: int) -> Tensor:
    """Return the first right singular vectors (count, D) of centred rows (N, D), float32.

    They come from the eigenvectors of the smaller of the two Gram matrices, summed in float64,
    because a full decomposition is far too slow for large images. Axes along which the images do
    not vary are zero.
    """
    rows, features = centred.shape
    if features <= rows:
        wide = centred.double()
        values, vectors = _strongest(wide.T @ wide, count)
        return torch.where(values > _ROUNDING * centred.numel(), vectors, 0.0).T.float()
    chunks = torch.split(centred, _FEATURES_PER_CHUNK, dim=1)
    gram = centred.new_zeros(rows, rows, dtype=torch.float64)
    for chunk in chunks:
        gram += chunk.double() @ chunk.double().T
    values, vectors = _strongest(gram, count)
    known = values > _ROUNDING * centred.numel()
    projection = torch.where(known, vectors * values.clamp(min=_ROUNDING).rsqrt(), 0.0).T
    return torch.cat([(projection @ chunk.double()).float() for chunk in chunks], dim=1)


class _Spectrum(NamedTuple):
    values: Tensor
    vectors: Tensor


def _strongest(matrix: Tensor, count: int) -> _Spectrum:
    values, vectors = torch.linalg.eigh(matrix)
    return _Spectrum(values.flip(0)[:count], vectors.flip(1)[:, :count])
