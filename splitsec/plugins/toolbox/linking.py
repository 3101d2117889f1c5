"""Links the smashed data of images in one epoch of training with those in epochs before.

A server sees every training image once per epoch, in a new order each time. The client changes
little from one epoch to the next, so an image's smashed data resemble what they were, and a
one-to-one assignment of least cost finds most images again. From the links that it has found a
ridge regression learns how the client has changed, and predicts each image's earlier smashed data
from links of the others; assignments and regressions take turns. Only the smashed data are needed,
and the labels if clients share them.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from splitsec.devices import beside, on_cpu

_ROUNDS = 6  # of regression and assignment
_REMEMBERED = 2  # epochs that a new one is compared with
_COMPONENTS = 100  # of the smashed data of an epoch, at most
_PENALTY = 0.3  # of the regression, times the mean squared length of features
_TINY = 1e-12


class Links:
    """Follows images from epoch to epoch.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> first = torch.randn(40, 8, generator=generator).double()
        >>> order = torch.randperm(40, generator=generator)
        >>> links = Links()
        >>> bool((links.follow(first, None) == torch.arange(40)).all())
        True
        >>> bool((links.follow(1.1 * first[order] + 0.05, None) == order).all())
        True
    """

    def __init__(self) -> None:
        self._latest: Tensor | None = None
        self._labels: Tensor | None = None
        self._seen: list[Tensor] = []

    def follow(self, features: Tensor, labels: Tensor | None) -> Tensor:
        """Return the row that each image has in the first epoch, (n,): a permutation.

        Args:
            features: of an epoch's smashed data, (n, d), double precision, with mean 0.
            labels: (n,), or None if clients do not share them. Only equal labels are linked, as far
                as there are as many of each.

        Raises:
            ValueError: there are more or fewer images than in the first epoch.
        """
        if self._latest is None:
            self._latest, self._labels = features, labels
            self._seen = [_Change(features).components]
            return beside(torch.arange(len(features)), features)
        if features.shape != self._latest.shape:
            raise ValueError(f"expected {tuple(self._latest.shape)}, got {tuple(features.shape)}")
        differ: Tensor | float = 0.0
        if labels is not None and self._labels is not None:
            differ = (labels[:, None] != self._labels).double()
        change = _Change(features)
        rows = _assign(torch.cdist(features, self._latest).square(), differ)
        for _ in range(_ROUNDS):
            costs = torch.stack([change.costs(seen, rows) for seen in self._seen])
            rows = _assign(costs.sum(0), differ)
        back = rows.argsort()
        self._latest = features[back]
        self._seen = [change.components[back], *self._seen][:_REMEMBERED]
        return rows


class _Change:
    """Predicts what smashed data of other epochs are from those of this one.

    Attributes:
        components: principal components of the features, (n, r).
    """

    def __init__(self, features: Tensor) -> None:
        kernel = features @ features.T
        kernel = kernel / kernel.diagonal().mean().clamp_min(_TINY)
        values, vectors = torch.linalg.eigh(kernel)
        values = values.clamp_min(0)
        self.components = (vectors * values.sqrt())[:, -_COMPONENTS:]
        self._smoother = (vectors * (values / (values + _PENALTY))) @ vectors.T
        self._own = self._smoother.diagonal()[:, None]

    def costs(self, seen: Tensor, rows: Tensor) -> Tensor:
        """Return squared distances between predictions of earlier components and these, (n, n).

        Args:
            seen: components of an earlier epoch, (n, r).
            rows: of that epoch, which are taken for those of the images here, (n,).
        """
        linked = seen[rows]
        # Each is predicted from the others: its own link, right or wrong, would confirm itself.
        made = (self._smoother @ linked - self._own * linked) / (1 - self._own).clamp_min(_TINY)
        slope = (made * linked).sum(0) / made.square().sum(0).clamp_min(_TINY)
        made = made * slope.clamp(0, 2)
        unit = (linked - made).square().mean(0).sqrt() + _TINY
        return torch.cdist(made / unit, seen / unit).square() / seen.shape[1]


def _assign(costs: Tensor, differ: Tensor | float) -> Tensor:
    """Return the column of each row in the one-to-one assignment of least cost, (n,).

    Args:
        costs: (n, n).
        differ: 1 where labels differ, else 0, (n, n).
    """
    forbidden = len(costs) * costs.max()
    _, columns = linear_sum_assignment(on_cpu(costs + forbidden * differ).numpy())
    return beside(torch.from_numpy(columns), costs)
