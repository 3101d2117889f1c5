"""What the server has observed of the client, and how far an imitation is from it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_FEWEST = 8
"""Images of a class in a batch for their mean to be compared."""


class Batch(NamedTuple):
    """Rows to compare.

    Attributes:
        private: rows of the observed smashed data.
        public: rows of the public images, as many.
        labels: of both, or None where they are not aligned.
    """

    private: Tensor
    public: Tensor
    labels: Tensor | None


class Observed:
    """Smashed data that was observed, and its moments.

    Args:
        smashed: (N, c, h, w), as it crossed the wire.
        labels: (N,), or None where they are not shared.
        public_labels: (M,) or masks (M, 1, H, W); used where ``labels`` are given.
        classes: number of classes; 0 where ``labels`` are None.

    Attributes:
        smashed: standardised per channel; without images of classes that public images lack.
        labels: theirs.
    """

    def __init__(
        self, smashed: Tensor, labels: Tensor | None, public_labels: Tensor, classes: int
    ) -> None:
        spread, self._mean = torch.std_mean(smashed, (0, 2, 3), keepdim=True)
        self._spread = spread.clamp(min=1e-3 * spread.max().item() + 1e-12)
        self.smashed, self.labels = self.standardise(smashed), labels
        self._public = len(public_labels)
        self._rows = [(public_labels == one).nonzero().flatten() for one in range(classes)]
        if labels is not None:
            known = torch.tensor([len(rows) > 0 for rows in self._rows])[labels]
            if known.any():
                self.smashed, self.labels = self.smashed[known], labels[known]
            else:
                self.labels = None
        self._moments = _moments(self.smashed)
        self._means = {} if self.labels is None else _class_means(self.smashed, self.labels)

    def standardise(self, smashed: Tensor) -> Tensor:
        """Return smashed data (N, c, h, w) in units of what was observed, per channel."""
        return (smashed - self._mean) / self._spread

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """Draw observed rows, and public rows with the same labels where these are known."""
        private = torch.randint(len(self.smashed), (count,), generator=generator)
        if self.labels is None:
            public = torch.randint(self._public, (count,), generator=generator)
            return Batch(private, public, None)
        labels = self.labels[private]
        public = torch.empty_like(private)
        for label, wanted in enumerate(torch.bincount(labels).tolist()):
            if wanted:
                rows = self._rows[label]
                drawn = torch.randint(len(rows), (wanted,), generator=generator)
                public[labels == label] = rows[drawn]
        return Batch(private, public, labels)

    def distance(self, made: Tensor, labels: Tensor | None) -> Tensor:
        """Return how far the moments of an imitation are from what was observed.

        Args:
            made: standardised smashed data of the imitation, (N, c, h, w).
            labels: theirs, (N,), or None.

        Returns:
            Scalar: the mean squared differences of the mean and of the standard deviation at each
            position, of the channels' second moments, and of each class's mean.
        """
        pairs = zip(_moments(made), self._moments, strict=True)
        total = torch.stack([F.mse_loss(one, other) for one, other in pairs]).sum()
        if labels is not None:
            for label, mean in _class_means(made, labels).items():
                share = (labels == label).float().mean()
                if label in self._means:
                    total = total + share * F.mse_loss(mean, self._means[label])
        return total


def _moments(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (c, h, w), standard deviation (c, h, w) and second moments (c, c)."""
    spread, mean = torch.std_mean(maps, 0)
    flat = maps.transpose(0, 1).flatten(1)
    return mean, spread, flat @ flat.T / flat.shape[1]


def _class_means(maps: Tensor, labels: Tensor) -> dict[int, Tensor]:
    """Return the mean map of each class of which there are enough, (c, h, w)."""
    counts = torch.bincount(labels).tolist()
    return {
        label: maps[labels == label].mean(0)
        for label, count in enumerate(counts)
        if count >= _FEWEST
    }


def with_labels(maps: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """Append one constant map per class to (N, c, h, w): 1 for each sample's own, else 0."""
    if not classes:
        return maps
    if labels is None:
        hot = maps.new_zeros(len(maps), classes)
    else:
        hot = F.one_hot(labels, classes).to(maps.dtype)
    return torch.cat([maps, hot[:, :, None, None].expand(-1, -1, *maps.shape[2:])], 1)
