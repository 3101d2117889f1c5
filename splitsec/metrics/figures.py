"""What each figure can be, and a figure with its interval; plain data.

:mod:`.intervals` computes the intervals.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Limits(NamedTuple):
    """The smallest and the largest value that a figure can have.

    Examples:
        >>> Limits(0, 1).cut(-0.2, 0.4)
        (0, 0.4)
    """

    low: float = -math.inf
    high: float = math.inf

    def cut(self, low: float, high: float) -> tuple[float, float]:
        """Return the part of an interval that lies within the limits."""
        return (min(max(low, self.low), self.high), max(min(high, self.high), self.low))

    def of_differences(self) -> Limits:
        """Return the limits of the difference of two such figures."""
        return Limits(self.low - self.high, self.high - self.low)


UNLIMITED = Limits()
"""Limits of a figure that can be any number."""

SHARE = Limits(0, 1)
"""Limits of a share, a rate, an AUC and an overlap."""

LIMITS = {
    "leakage": SHARE,
    "accuracy": SHARE,
    "auc": SHARE,
    "jaccard": SHARE,
    "dice": SHARE,
    "structure": SHARE,
    "pixel": SHARE,
    "mse": SHARE,
    "trivial_mse": SHARE,
    "ssim": Limits(-1, 1),
    "psnr": Limits(0, 100),
    "lpips": Limits(0),
    "skill_mse": Limits(high=1),
    "skill_ssim": Limits(high=1),
    "skill_lpips": Limits(high=1),
    "skill_identification": Limits(high=1),
    "certain": SHARE,
    "worst_leakage": SHARE,
    "almost_worst_leakage": SHARE,
    "equivalent_components": Limits(0),
    "train seconds": Limits(0),
    "test seconds": Limits(0),
}
"""Limits of each figure; one that is not listed can be any number."""


def limits_of(figure: str) -> Limits:
    """Return what a figure, such as ``"auc"``, can be."""
    return LIMITS.get(figure, UNLIMITED)


class Estimate(NamedTuple):
    """A number with its 95 % interval; None for what is not known.

    Attributes:
        value: the number.
        low: lower end of its interval; None for a single seed.
        high: upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
