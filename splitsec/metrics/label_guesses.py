"""What an attacker who knows only a victim's label guesses.

Where clients share labels and an attack is granted them, the guess that needs no smashed data may
use them: an image per class. Leakage beyond what the label tells is what the attack recovered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from splitsec.devices import beside
from splitsec.metrics.blind_attackers import (
    SEARCHES,
    BlindAttackers,
    best_image,
    population_errors,
)
from splitsec.metrics.perceptual import Lpips

_SHORTER = 3  # times; each search begins at the best image for all classes


class LabelGuesses(Protocol):
    """Guesses of an attacker who is told the victims' labels."""

    def __call__(self, labels: Tensor) -> dict[str, Tensor]:
        """Return name to images (N, C, H, W) in [0, 1], from labels (N,) or masks (N, 1, H, W)."""


@dataclass(frozen=True)
class ClassImages:
    """One image per class and error.

    Attributes:
        images: from a name to images (K, C, H, W), one per class. A class without public images
            has the image that is best for all classes.
    """

    images: Mapping[str, Tensor]

    @classmethod
    def fit(
        cls,
        blind: BlindAttackers,
        labels: Tensor,
        classes: int,
        lpips: Lpips | None,
        generator: torch.Generator,
    ) -> ClassImages:
        """Fit to the public images that ``blind`` was fitted to.

        Args:
            blind: the attackers without labels.
            labels: (N,), of the public images, in [0, ``classes``).
            classes: number of classes.
            lpips: the perceptual distance, or ``None``.
            generator: chooses the public images that a search compares with, if there are many.
        """
        members = [blind.public[beside(labels == label, blind.public)] for label in range(classes)]

        def per_class(name: str, choose: Callable[[Tensor], Tensor]) -> Tensor:
            fallback = blind.images[name]
            return torch.stack([choose(part) if len(part) else fallback for part in members])

        def best(error: str, part: Tensor) -> Tensor:
            search = SEARCHES[error]
            starts = [blind.images[search.name], part.mean(dim=0)]
            measured = population_errors(error, part, lpips, generator)
            return best_image(starts, measured, replace(search, steps=search.steps // _SHORTER))

        images = {"class-mean-image": per_class("mean-image", lambda part: part.mean(dim=0))}
        for error, search in SEARCHES.items():
            if search.name in blind.images:
                images[f"class-{search.name}"] = per_class(search.name, partial(best, error))
        return cls(images)

    def __call__(self, labels: Tensor) -> dict[str, Tensor]:
        """Return name to images (N, C, H, W) in [0, 1], from labels (N,)."""
        return {name: images[beside(labels, images)] for name, images in self.images.items()}


@dataclass(frozen=True)
class MaskImages:
    """The mean image inside a mask, and the mean image outside of it.

    Attributes:
        inside: (C, H, W), pixelwise mean of the public images whose mask covers the pixel.
        outside: (C, H, W), pixelwise mean of the others.
    """

    inside: Tensor
    outside: Tensor

    @classmethod
    def fit(cls, blind: BlindAttackers, masks: Tensor) -> MaskImages:
        """Fit to the public images that ``blind`` was fitted to, and their masks (N, 1, H, W)."""
        masks = beside(masks, blind.public)

        def mean(weights: Tensor) -> Tensor:
            # One image's worth of the overall mean stands in where few masks cover a pixel.
            return ((blind.public * weights).sum(dim=0) + blind.mean) / (weights.sum(dim=0) + 1)

        return cls(inside=mean(masks), outside=mean(1 - masks))

    def __call__(self, labels: Tensor) -> dict[str, Tensor]:
        """Return name to images (N, C, H, W) in [0, 1], from masks (N, 1, H, W)."""
        masks = beside(labels, self.inside)
        return {"mask-mean-image": masks * self.inside + (1 - masks) * self.outside}
