"""The smashed data that the server has observed, and the distance of an imitation from them."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from splitsec.devices import beside

_FEWEST = 8
"""Images of a class in a batch for their mean to be compared."""

_FARTHEST = 4.0
"""Units that an imitation's channel is away from what was observed, at most."""

_NOTHING = 1e-12
"""The unit of a channel that is the same constant in both."""


class Batch(NamedTuple):
    """Rows to compare.

    Attributes:
        private: rows of the observed smashed data.
        public: rows of the public images, as many.
        labels: labels of both, or None if they are not aligned.
    """

    private: Tensor
    public: Tensor
    labels: Tensor | None


class Moments(NamedTuple):
    """Moments of smashed data, with a unit per channel.

    Attributes:
        mean: (c, h, w).
        spread: standard deviation, (c, h, w).
        second: second moments of the channels, (c, c).
        classes: the mean of each class with enough images, (c, h, w).
    """

    mean: Tensor
    spread: Tensor
    second: Tensor
    classes: dict[int, Tensor]

    @classmethod
    def of(cls, maps: Tensor, labels: Tensor | None) -> Moments:
        """Return the moments of maps (N, c, h, w), N at least 2, with labels (N,) or None."""
        spread, mean = torch.std_mean(maps, 0)
        flat = maps.transpose(0, 1).flatten(1)
        counts = [] if labels is None else torch.bincount(labels).tolist()
        classes = {
            label: maps[labels == label].mean(0)
            for label, count in enumerate(counts)
            if count >= _FEWEST
        }
        return cls(mean, spread, flat @ flat.T / flat.shape[1], classes)

    def over(self, unit: Tensor) -> Moments:
        """Return the moments of the same maps divided by a unit (c, 1, 1)."""
        second = self.second / unit.flatten() / unit.flatten()[:, None]
        classes = {label: mean / unit for label, mean in self.classes.items()}
        return Moments(self.mean / unit, self.spread / unit, second, classes)


class Observation:
    """Observed smashed data and their moments, which are computed on first use.

    Args:
        smashed: (N, c, h, w), as they crossed the wire; N at least 2.
        labels: (N,), or None if they are not shared.
        public_labels: (M,) or masks (M, 1, H, W); used if ``labels`` are given.
        classes: number of classes; 0 if ``labels`` is None.

    Attributes:
        labels: labels of :attr:`smashed`; None if fewer than two have classes of public images.
    """

    def __init__(
        self,
        smashed: Tensor,
        labels: Tensor | None,
        public_labels: Tensor,
        classes: int,
    ) -> None:
        self._all, self.labels = smashed, labels
        self._count = len(smashed)
        self._public = len(public_labels)
        self._rows = [(public_labels == one).nonzero().flatten() for one in range(classes)]
        self._known: Tensor | None = None
        if labels is not None:
            present = beside(torch.tensor([len(rows) > 0 for rows in self._rows]), labels)
            known = present[labels].nonzero().flatten()
            if len(known) < 2:
                self.labels = None
            else:
                self._known, self._count, self.labels = known, len(known), labels[known]

    @cached_property
    def smashed(self) -> Tensor:
        """Smashed data without images of classes that public images lack, (N, c, h, w)."""
        return self._all if self._known is None else self._all[self._known]

    @cached_property
    def _mean(self) -> Tensor:
        return self.smashed.mean((0, 2, 3))[:, None, None]

    @cached_property
    def _spread(self) -> Tensor:
        return self.smashed.std((0, 2, 3))[:, None, None]

    @cached_property
    def _moments(self) -> Moments:
        return Moments.of(self.smashed - self._mean, self.labels)

    def unit(self, made: Tensor) -> Tensor:
        """Return the unit in which an imitation is compared, (c, 1, 1).

        Per channel it is the observed spread, or a quarter of the imitation's root mean square
        distance from the observed mean if that is larger. Thus no channel counts much more than
        another, not even one in which the client sends a constant.
        """
        away = (made.detach() - self._mean).square().mean((0, 2, 3)).sqrt() / _FARTHEST
        return self._spread.maximum(away[:, None, None]).clamp(min=_NOTHING)

    def standardise(self, smashed: Tensor, unit: Tensor) -> Tensor:
        """Return smashed data (N, c, h, w) minus the observed mean, in a unit (c, 1, 1)."""
        return (smashed - self._mean) / unit

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """Draw observed rows, and public rows with the same labels if these are known."""
        like = self.smashed
        private = beside(torch.randint(self._count, (count,), generator=generator), like)
        if self.labels is None:
            public = beside(torch.randint(self._public, (count,), generator=generator), like)
            return Batch(private, public, None)
        labels = self.labels[private]
        public = torch.empty_like(private)
        for label, wanted in enumerate(torch.bincount(labels).tolist()):
            if wanted:
                rows = self._rows[label]
                drawn = torch.randint(len(rows), (wanted,), generator=generator)
                public[labels == label] = rows[beside(drawn, rows)]
        return Batch(private, public, labels)

    def distance(self, made: Tensor, unit: Tensor, labels: Tensor | None) -> Tensor:
        """Return the distance between the moments of an imitation and the observed ones.

        Args:
            made: smashed data of the imitation, (N, c, h, w), standardised.
            unit: their unit; see :meth:`unit`.
            labels: their labels, (N,), or None.

        Returns:
            Scalar: the mean squared differences of the mean and of the standard deviation at each
            position, of the channels' second moments, and of each class's mean.
        """
        ours = Moments.of(made, labels)
        theirs = self._moments.over(unit)
        total = F.mse_loss(ours.mean, theirs.mean) + F.mse_loss(ours.spread, theirs.spread)
        total = total + F.mse_loss(ours.second, theirs.second)
        if labels is None:
            return total
        for label, mean in ours.classes.items():
            if label in theirs.classes:
                share = (labels == label).float().mean()
                total = total + share * F.mse_loss(mean, theirs.classes[label])
        return total
