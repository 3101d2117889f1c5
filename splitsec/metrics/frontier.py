"""Curves of privacy against utility: what several strengths of one method leak at a given utility.

No strength is chosen: a monotone curve is fitted through all of them, in every resample of seeds
and images, and read off where the utility crosses the share that is asked for. So a strength that
was lucky gains nothing. Where neighbouring strengths are further apart in utility than
:data:`WIDEST`, nobody knows what lies between, and the weaker one counts: a method that does
nothing at one strength and breaks the model at the next gains nothing, either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitsec.metrics.two_level import Floats, Sample

AREA = (0.5, 1.0)
"""Shares of utility between which the mean leakage of a curve is taken."""

WIDEST = 0.25
"""Largest difference in utility retained of two strengths between which a curve is read off."""

_STEPS = 51


class Curve(NamedTuple):
    """Strengths of one method, the weakest first; the first one of all is no method at all.

    Attributes:
        retained: K samples of the share of the undefended model's utility.
        leakage: K samples of the leakage, of the same seeds.
    """

    retained: Sequence[Sample]
    leakage: Sequence[Sample]

    def at(self, share: float) -> Sample:
        """Return the leakage where the curve retains a share of the utility."""
        joined = self._joined()
        return self._read(lambda retained, leakage: read_off(retained, leakage, share, joined))

    def area(self) -> Sample:
        """Return the mean leakage where the curve retains 50 to 100 % of the utility."""
        joined = self._joined()

        def mean(retained: Floats, leakage: Floats) -> Floats:
            shares = np.linspace(*AREA, _STEPS)
            values = np.stack([read_off(retained, leakage, share, joined) for share in shares], -1)
            area: Floats = (values[..., 1:] + values[..., :-1]).mean(-1) / 2
            return area

        return self._read(mean)

    def place(self, share: float) -> float:
        """Return the position in [0, K - 1] at which the curve retains a share of the utility."""
        return float(_places(self._fitted(), share, self._joined()))

    def _fitted(self) -> Floats:
        return decreasing(np.array([one.mean for one in self.retained]))

    def _joined(self) -> NDArray[np.bool_]:
        """Return whether each strength but the last is near enough to the next one, (K - 1,).

        It is decided once, by the means, so that resamples differ in their numbers alone.
        """
        joined: NDArray[np.bool_] = -np.diff(self._fitted()) <= WIDEST
        return joined

    def _read(self, figure: Callable[[Floats, Floats], Floats]) -> Sample:
        """Return a figure of the curve as a sample.

        Its seeds are pseudo-values of the jackknife, around the figure of all seeds: their
        variance is that of leaving one seed out. On resampled images the figure is of all seeds.
        """

        def of(keep: Sequence[int]) -> float:
            values = (
                np.array([one.per_seed[keep].mean() for one in side])
                for side in (self.retained, self.leakage)
            )
            return float(figure(*values))

        count = len(self.leakage[0].per_seed)
        every = range(count)
        whole = of(list(every))
        per_seed = np.full(count, whole)
        if count > 1:
            others = np.array([of([s for s in every if s != left]) for left in every])
            per_seed = whole - (count - 1) * (others - others.mean())
        sides = [[one.on_images for one in side] for side in (self.retained, self.leakage)]
        known = [[one.mean(axis=1) for one in side if one is not None] for side in sides]
        if any(len(side) < len(self.leakage) for side in known):
            return Sample(per_seed)
        on_images = figure(*(np.stack(side, -1) for side in known))
        images = [one.images for one in (*self.retained, *self.leakage) if one.images is not None]
        repeated = np.repeat(on_images[:, None], count, axis=1)
        return Sample(per_seed, repeated, min(images, default=None))


def decreasing(values: Floats) -> Floats:
    """Return the least-squares fit that never rises along the last axis, of values (..., K).

    Barlow, Bartholomew, Bremner, Brunk, Statistical inference under order restrictions, 1972: the
    fit at k is the least over i <= k of the greatest over j >= k of the means from i to j.

    Examples:
        >>> import numpy as np
        >>> from splitsec.metrics.frontier import decreasing
        >>> decreasing(np.array([1.0, 0.6, 0.8, 0.1])).round(2)
        array([1. , 0.7, 0.7, 0.1])
    """
    count = values.shape[-1]
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, -1)], -1)
    means = np.full((*values.shape[:-1], count, count), -np.inf)
    for first in range(count):
        lengths = np.arange(1, count - first + 1)
        means[..., first, first:] = (sums[..., first + 1 :] - sums[..., first, None]) / lengths
    greatest = np.maximum.accumulate(means[..., ::-1], -1)[..., ::-1]  # over j >= k
    least = np.minimum.accumulate(greatest, -2)  # over i, of which those up to k count
    fit: Floats = np.diagonal(least, axis1=-2, axis2=-1)
    return fit


def read_off(retained: Floats, leakage: Floats, share: float, joined: NDArray[np.bool_]) -> Floats:
    """Return the leakage (...) at which curves (..., K) retain a share of the utility.

    Args:
        retained: shares of utility, the weakest strength first.
        leakage: of the same strengths.
        share: the share; where a curve ends above it, its strongest strength counts.
        joined: (K - 1,), whether a curve is read off between a strength and the next one; else
            the weaker one counts.
    """
    fitted = decreasing(leakage)
    places = _places(decreasing(retained), share, joined)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, fitted.shape[-1] - 1)
    part = places - below
    low, high = (np.take_along_axis(fitted, one[..., None], -1)[..., 0] for one in (below, above))
    value: Floats = (1 - part) * low + part * high
    return value


def _places(retained: Floats, share: float, joined: NDArray[np.bool_]) -> Floats:
    """Return the last position in [0, K - 1] at which falling curves (..., K) reach a share."""
    count = retained.shape[-1]
    reach = (retained >= share).sum(-1)  # strengths that do; they come first
    last = np.clip(reach - 1, 0, count - 1)
    after = np.minimum(last + 1, count - 1)
    from_, to = (np.take_along_axis(retained, one[..., None], -1)[..., 0] for one in (last, after))
    fall = np.where(from_ > to, from_ - to, 1.0)
    between = (reach > 0) & (reach < count) & np.append(joined, False)[last]
    part = np.where(between, (from_ - share) / fall, 0.0)
    places: Floats = last + part
    return places
