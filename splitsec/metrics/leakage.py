"""Skill and leakage: how much better a reconstruction is than a blind attacker's.

Skill is the skill score of forecast verification: 1 is perfect, 0 is no better than the reference,
below 0 is worse. It is a ratio of mean errors, because a mean of ratios that are clipped per image
would reward luck. Leakage averages four skills: under MSE, 1 - SSIM and LPIPS, and of
identification. A skill below 0 counts as 0 in it, since the attacker could have handed in the blind
image instead. These functions take arrays and need no torch, so that readers of records can compute
leakage of any subset of the victims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ERRORS = ("mse", "ssim", "lpips")
"""The errors that leakage averages over; SSIM enters as 1 - SSIM."""

KINDS = ("structure", "pixel")
"""What an image is identified by; the one that identifies more victims counts."""

PARTS = (*ERRORS, "identification")
"""The skills that leakage averages."""


@dataclass(frozen=True)
class VictimErrors:
    """What was measured of each of N victims.

    Attributes:
        errors: from each of ``ERRORS`` to the reconstructions' errors, (N,); an error that was
            not measured is missing.
        references: from the same names to the errors, (N,), of the best blind image.
        identified: from each of ``KINDS`` to the chance, (N,), that the reconstruction picks its
            victim out of a gallery.
        gallery: images in a gallery.
        guessed: share of victims that the best blind guess identifies: one in a gallery, and more
            where the attacker is told masks, whose shapes tell victims apart.
    """

    errors: Mapping[str, Array]
    references: Mapping[str, Array]
    identified: Mapping[str, Array]
    gallery: int
    guessed: float

    def take(self, rows: NDArray[np.int64]) -> VictimErrors:
        """Return the same for chosen victims, for example a bootstrap sample.

        Args:
            rows: indices of victims, repeated or not.
        """

        def chosen(values: Mapping[str, Array]) -> dict[str, Array]:
            return {name: column[rows] for name, column in values.items()}

        return replace(
            self,
            errors=chosen(self.errors),
            references=chosen(self.references),
            identified=chosen(self.identified),
        )

    def skills(self) -> dict[str, float | None]:
        """Return the skill for each of ``PARTS``; None where it is not known."""
        known: dict[str, float | None] = {
            name: skill(float(self.errors[name].mean()), float(self.references[name].mean()))
            if name in self.errors
            else None
            for name in ERRORS
        }
        return known | {"identification": skill(1 - self.rate(), 1 - self.guessed)}

    def rate(self) -> float:
        """Return the share of victims that are identified, by the kind that identifies more."""
        return float(self.identified[self._kind()].mean())

    def per_image(self) -> Array | None:
        """Return the leakage of each image, (N,) in [0, 1]; None where a skill is missing.

        An image's error is divided by the mean error of the reference, not by its error on that
        image, so that no image that is easy to guess can dominate. Each skill below 0 counts as
        0, so the mean over images is at least the leakage of the set, and may be above it.
        """
        if any(name not in self.errors or not self.references[name].any() for name in ERRORS):
            return None
        skills = [1 - self.errors[name] / self.references[name].mean() for name in ERRORS]
        if self.guessed >= 1:
            return None
        skills.append((self.identified[self._kind()] - self.guessed) / (1 - self.guessed))
        values: Array = np.clip(skills, 0, 1).mean(axis=0)
        return values

    def _kind(self) -> str:
        return max(KINDS, key=lambda kind: self.identified[kind].mean())


def skill(error: float, reference: float) -> float | None:
    """Return ``1 - error / reference``, both means over images.

    Args:
        error: mean error of the reconstructions.
        reference: mean error of the best blind image on the same victims.

    Returns:
        At most 1; ``None`` if the reference makes no error, so that nothing can beat it.
    """
    return 1 - error / reference if reference > 0 else None


def leakage(skills: Mapping[str, float | None]) -> float | None:
    """Return the mean of the skills, each below 0 counted as 0.

    Args:
        skills: from each of ``PARTS`` to a skill.

    Returns:
        In [0, 1]; ``None`` if a skill is missing.
    """
    known = [value for name in PARTS if (value := skills[name]) is not None]
    if len(known) < len(PARTS):
        return None
    return sum(min(1.0, max(0.0, value)) for value in known) / len(PARTS)


FLOORED = 5
"""Protocol from which each skill below 0 counts as 0, and identification is part of leakage."""


def resampled_leakage(victims: VictimErrors, counts: NDArray[np.integer], protocol: int) -> Array:
    """Return leakage on resampled victims, whose errors and references are resampled together.

    Args:
        victims: of N victims; a reference of which only the mean is known is that mean N times.
        counts: (R, N), how often each victim is in each resample; ones for the leakage itself.
        protocol: whose definition is used: up to 4 the mean of three skills, clipped to [0, 1].

    Returns:
        (R,), in [0, 1]; NaN where a reference makes no error. Identification is left out where
        ``identified`` is empty.
    """
    skills = []
    for name in victims.errors:
        error, reference = counts @ victims.errors[name], counts @ victims.references[name]
        ratio = np.divide(error, reference, out=np.full(len(counts), np.nan), where=reference > 0)
        skills.append(1 - ratio)
    if protocol < FLOORED:
        clipped: Array = np.clip(np.mean(skills, axis=0), 0, 1)
        return clipped
    if victims.identified:
        skills.append(resampled_identification(victims, counts))
    floored: Array = np.clip(skills, 0, 1).mean(axis=0)
    return floored


def resampled_identification(victims: VictimErrors, counts: NDArray[np.integer]) -> Array:
    """Return the skill of identification on resampled victims.

    Args:
        victims: of N victims, with the chances of at least one of ``KINDS``.
        counts: as of :func:`resampled_leakage`.

    Returns:
        (R,), at most 1; 0 for the best blind guess.
    """
    skills: Array = (resampled_rate(victims, counts) - victims.guessed) / (1 - victims.guessed)
    return skills


def resampled_rate(victims: VictimErrors, counts: NDArray[np.integer]) -> Array:
    """Return the share of resampled victims that are identified, by whichever way finds more.

    Args:
        victims: as of :func:`resampled_identification`.
        counts: as of :func:`resampled_leakage`.

    Returns:
        (R,), in [0, 1].
    """
    found = [counts @ one / counts.sum(axis=1) for one in victims.identified.values()]
    most: Array = np.max(found, axis=0)
    return most


def share_above(values: Array, random_values: Array) -> float:
    """Return the share of values above the 95th percentile of the random attacker's.

    Args:
        values: (N,), leakage per image of the reconstructions.
        random_values: (M,), leakage per image of a random public image for each victim.

    Returns:
        In [0, 1]; about 0.05 for the random attacker itself.
    """
    return float((values > np.quantile(random_values, 0.95)).mean())
