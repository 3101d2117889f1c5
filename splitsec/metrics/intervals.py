"""Confidence intervals of means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


def t_interval(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return the 95 % t-interval of a mean.

    Args:
        values: (N,), N at least 2, such as one value per seed.

    Returns:
        Its lower and upper end.
    """
    count = len(values)
    mean = float(values.mean())
    half = float(stdtrit(count - 1, 0.975) * values.std(ddof=1) / count**0.5)
    return mean - half, mean + half
