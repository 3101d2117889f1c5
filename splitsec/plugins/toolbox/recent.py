"""The window of what a listening server was sent last."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from splitsec.plugins.toolbox.batching import sample


class Seen(NamedTuple):
    """Smashed data that crossed the wire.

    Attributes:
        smashed: (N, *smashed_shape).
        labels: (N,), or masks; None where they are not shared.
    """

    smashed: Tensor
    labels: Tensor | None

    def draw(self, count: int, generator: torch.Generator) -> Seen:
        """Return some of them, none twice."""
        rows = sample(self.smashed, count, generator)
        return Seen(self.smashed[rows], None if self.labels is None else self.labels[rows])


class Recent:
    """The last smashed data that crossed the wire.

    Args:
        most: how many images to keep, at least; whole batches are kept.

    Examples:
        >>> import torch
        >>> recent = Recent(most=6)
        >>> for value in range(3):
        ...     recent.add(torch.full((4, 2), float(value)))
        >>> recent.seen().smashed[:, 0].tolist()
        [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[Tensor, Tensor | None]] = []

    def add(self, smashed: Tensor, labels: Tensor | None = None) -> None:
        """Keep the smashed data of a batch and its labels, and let go of the oldest."""
        self._kept.append((smashed, labels))
        while len(self) - len(self._kept[0][0]) >= self._most:
            del self._kept[0]

    def __len__(self) -> int:
        """Return how many images are kept."""
        return sum(len(smashed) for smashed, _ in self._kept)

    def clear(self) -> None:
        """Let go of everything."""
        self._kept.clear()

    def seen(self) -> Seen:
        """Return what is kept as one; without labels unless all have them."""
        labels = [one for _, one in self._kept if one is not None]
        told = bool(labels) and len(labels) == len(self._kept)
        sent = [smashed for smashed, _ in self._kept]
        return Seen(
            torch.cat(sent) if sent else torch.empty(0), torch.cat(labels) if told else None
        )
