"""Skill and leakage: how much better a reconstruction is than a blind attacker's.

Skill is the skill score of forecast verification: 1 is perfect, 0 is no better than the reference,
below 0 is worse. It is a ratio of mean errors, because a mean of ratios that are clipped per image
would reward luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

ERRORS = ("mse", "ssim", "lpips")
"""The errors that leakage averages over; SSIM enters as 1 - SSIM."""


def skill(error: float, reference: float) -> float | None:
    """Return ``1 - error / reference``, both means over images.

    Args:
        error: mean error of the reconstructions.
        reference: mean error of the strongest trivial attacker on the same victims.

    Returns:
        At most 1; ``None`` if the reference makes no error, so that nothing can beat it.
    """
    return 1 - error / reference if reference > 0 else None


def leakage(skills: Sequence[float | None]) -> float | None:
    """Return the mean of skills, clipped to [0, 1] once; ``None`` if one is missing."""
    known = [value for value in skills if value is not None]
    if len(known) < len(skills):
        return None
    return min(1.0, max(0.0, sum(known) / len(known)))


def leakage_per_image(
    errors: Mapping[str, Tensor], references: Mapping[str, float]
) -> Tensor | None:
    """Return each image's mean skill, not clipped.

    Each image's error is divided by the reference's mean error, not by its error on that image,
    so that the mean over images is the cell's leakage before clipping, and no image that is
    easy to guess can dominate.

    Args:
        errors: for each of ``ERRORS``, (N,).
        references: for each of ``ERRORS``, the mean error of the strongest trivial attacker.

    Returns:
        (N,) float64; ``None`` if an error is missing or a reference is 0.
    """
    if any(name not in errors or references.get(name, 0.0) <= 0 for name in ERRORS):
        return None
    return torch.stack([1 - errors[name] / references[name] for name in ERRORS]).mean(dim=0)


def share_above(values: Tensor, random_values: Tensor) -> float:
    """Return the share of values above the 95th percentile of the random attacker's.

    Args:
        values: (N,), leakage per image of the reconstructions.
        random_values: (M,), leakage per image of a random public image for each victim.

    Returns:
        In [0, 1]; about 0.05 for the random attacker itself.
    """
    threshold = torch.quantile(random_values, 0.95)
    return (values > threshold).double().mean().item()
