"""Leakage on resampled images, from the values of single images; needs no torch.

Leakage is made of ratios of means. Where images are resampled, the attack's errors and those of the
blind attacker it is compared with are resampled together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

FLOORED = 5
"""Protocol from which each skill below 0 counts as 0, and identification is part of leakage."""


@dataclass(frozen=True)
class ImageScores:
    """What leakage is made of, image by image.

    Attributes:
        errors: per error, (N,), of the attack's reconstructions; SSIM as 1 - SSIM.
        references: per error, (N,) of the blind attacker on the same images, or its mean where its
            values per image are not known. Such a mean is held fixed.
        identified: for each way to compare images, (N,), the chance that a reconstruction picks
            its own image out of a gallery, in [0, 1]; empty where this is not part of leakage.
        chance: the same for a guess, 1 / gallery.
    """

    errors: Mapping[str, Floats]
    references: Mapping[str, Floats | float]
    identified: Mapping[str, Floats]
    chance: float = 0.0

    def __len__(self) -> int:
        return len(next(iter(self.errors.values())))


def resampled_leakage(scores: ImageScores, counts: NDArray[np.integer], protocol: int) -> Floats:
    """Return leakage on resampled images.

    Args:
        scores: of N images.
        counts: (R, N), how often each image is in each resample; ones for the leakage itself.
        protocol: whose definition is used: up to 4 the mean of the skills, clipped to [0, 1];
            from 5 on the mean of skills that are each clipped, with that of identification.

    Returns:
        (R,), in [0, 1]; NaN where a blind attacker makes no error.
    """
    sizes = counts.sum(axis=1)
    skills = []
    for name, errors in scores.errors.items():
        reference = scores.references[name]
        means = reference if isinstance(reference, float) else counts @ reference / sizes
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = counts @ errors / sizes / means
        skills.append(np.where(np.isfinite(ratio), 1 - ratio, np.nan))
    if protocol < FLOORED:
        clipped: Floats = np.clip(np.mean(skills, axis=0), 0, 1)
        return clipped
    if scores.identified:
        skills.append(resampled_identification(scores, counts))
    floored: Floats = np.clip(skills, 0, 1).mean(axis=0)
    return floored


def resampled_identification(scores: ImageScores, counts: NDArray[np.integer]) -> Floats:
    """Return ``(rate - chance) / (1 - chance)`` on resampled images, the larger of all ways.

    Args:
        scores: of N images, with at least one way to identify them.
        counts: as of :func:`resampled_leakage`.

    Returns:
        (R,), at most 1; 0 for a guess.
    """
    rates = [counts @ one / counts.sum(axis=1) for one in scores.identified.values()]
    skill: Floats = (np.max(rates, axis=0) - scores.chance) / (1 - scores.chance)
    return skill
