"""Probes: how well a server predicts the labels or masks that clients keep to themselves.

An attacker has public images with labels. A probe learns from them and predicts those of victims.
No label of a victim enters a probe; only :meth:`Probes.score` sees the truth.

With queries the attacker knows what its own images become, and regresses their labels on that, by
ridge regression. Without queries it has nothing but the public labels: each pixel's mask is
regressed on how often public masks cover it, and classes are found as clusters. Gradients that
reach the features point away from the true class, so that their directions are clusters: Li et al.,
"Label leakage and protection in two-party split learning", ICLR 2022; Liu and Lyu, "Clustering
label inference attack against practical split learning", 2022.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import one_hot

from splitsec.metrics.label_schema import LabelScore
from splitsec.metrics.linear_models import (
    SIDE,
    Ridge,
    best_strength,
    each_fold,
    folds_of,
    pooled,
)
from splitsec.metrics.local_ridge import STRENGTHS, Blocks
from splitsec.metrics.utility import overlap, roc_auc

Views = Mapping[str, Tensor]
"""What N images become, by a name: one or more tensors of shape (N, ...)."""

_THRESHOLDS = np.linspace(0.05, 0.95, 19)
_CHANCE = 0.5  # the AUC of a constant prediction
_HALF = 0.5
_RUNS = 10  # of k-means
_PASSES = 2
_MAP_AXES = 4
_WEAK_STRENGTH = 1e-3
_TRUST = 0.85  # in a first guess, before masks are regressed again
_TINY = 1e-30


class Probes(ABC):
    """Learns from public labels, and predicts those of victims.

    Attributes:
        measure: name of the measure that predictions are judged by.
    """

    measure: Literal["auc", "jaccard"]

    @abstractmethod
    def learn(self, public: Views) -> Callable[[Views], Tensor]:
        """Learn from what public images become; return what predicts victims from the same views.

        The view and the strength that predict left-out public images best are used.
        """

    @abstractmethod
    def guess(self, values: Tensor, hints: Tensor | None = None) -> Tensor | None:
        """Predict victims without knowing what public images become.

        Args:
            values: (N, ...), what the server has of N victims.
            hints: other predictions of the same victims, if any; they name clusters.

        Returns:
            Predictions, or None if values of this shape tell nothing.
        """

    @abstractmethod
    def answered(self, outputs: Tensor) -> Tensor:
        """Return the predictions that a model's outputs (N, ...) are by themselves."""

    def can_score(self, truth: Tensor) -> bool:
        """Return whether predictions of these labels or masks can be judged."""
        return len(truth) > 0

    @abstractmethod
    def score(self, predicted: Tensor, truth: Tensor) -> LabelScore:
        """Score the predictions of N victims, N at least 1."""


class _Fitted(NamedTuple):
    """A probe, and what it predicts of public images that it was not fitted to."""

    left_out: Tensor
    predict: Callable[[Views], Tensor]


class ClassProbes(Probes):
    """Probes of classes. A prediction is (N, K) float64, larger for likelier classes.

    Args:
        labels: (M,), of public images, of at least two classes.
        classes: number K of classes.
        seed: of the first centres of clusters.
    """

    measure = "auc"

    def __init__(self, labels: Tensor, classes: int, seed: int = 0) -> None:
        self._targets = one_hot(labels, classes).double()
        self._folds = folds_of(range(len(labels)))
        self._seed = seed

    def learn(self, public: Views) -> Callable[[Views], Tensor]:
        """Regress one-hot labels on each view as a whole."""
        fits = [_whole(name, values, self._targets, self._folds) for name, values in public.items()]
        return min(fits, key=lambda fit: (fit.left_out - self._targets).square().mean()).predict

    def guess(self, values: Tensor, hints: Tensor | None = None) -> Tensor | None:
        """Find one cluster of directions per class.

        Clusters are named by the hints, or by the shares of classes among public images: names and
        sizes are matched so that the sum of hints over all victims is largest.

        Returns:
            (N, K), 1 for the class of the victim's cluster; None if there are fewer directions
            than classes.
        """
        classes = self._targets.shape[1]
        rows = values.flatten(1).double()
        rows = rows / (rows.norm(dim=1, keepdim=True) + _TINY)
        if len(torch.unique(rows, dim=0)) < classes:
            return None
        found = self._clusters(rows.numpy(), classes)
        if found is None:
            return None
        members = one_hot(found, classes).double()
        if hints is None:
            hints = self._targets.mean(dim=0).expand(len(values), -1)
        agreement = (members.T @ hints).numpy()
        clusters, names = linear_sum_assignment(agreement, maximize=True)
        order = torch.empty(classes, dtype=torch.int64)
        order[torch.from_numpy(names)] = torch.from_numpy(clusters)
        return members[:, order]

    def _clusters(self, rows: NDArray[np.float64], classes: int) -> Tensor | None:
        """Return the cluster of each row, by the best of several runs of k-means."""
        generator = np.random.default_rng(self._seed)
        best, least = None, math.inf
        for _ in range(_RUNS):
            with suppress(ClusterError):  # a cluster became empty
                centres, found = kmeans2(rows, classes, minit="++", missing="raise", seed=generator)
                apart = float(np.square(rows - centres[found]).sum())
                if apart < least:
                    best, least = torch.from_numpy(found).long(), apart
        return best

    def answered(self, outputs: Tensor) -> Tensor:
        """Return the outputs, which rank the victims for each class."""
        return outputs

    def can_score(self, truth: Tensor) -> bool:
        """Return whether the victims are of two classes or more; else nothing can be ranked."""
        return len(torch.unique(truth)) > 1

    def score(self, predicted: Tensor, truth: Tensor) -> LabelScore:
        """Return the AUC, by which a model is judged, too; no guess without traffic has over 0.5.

        Args:
            predicted: (N, K).
            truth: (N,).
        """
        return LabelScore.of(roc_auc(predicted.numpy(), truth.numpy()), _CHANCE, len(truth))


class MaskProbes(Probes):
    """Probes of masks. A prediction is (N, 1, H, W), bool.

    Args:
        masks: (M, 1, H, W), of public images.
    """

    measure = "jaccard"

    def __init__(self, masks: Tensor) -> None:
        self._masks = masks
        self._mean = masks.mean(dim=0)
        self._folds = folds_of(range(len(masks)))
        constant = [(self._mean > level)[None] for level in _THRESHOLDS]
        self._prior = max(constant, key=lambda guess: _jaccard(guess, masks))

    def learn(self, public: Views) -> Callable[[Views], Tensor]:
        """Regress masks on each view as a whole, and, if it is a map, at each of its positions."""
        fits = [fit for name, values in public.items() for fit in self._fits(name, values)]
        best = max(fits, key=lambda fit: _jaccard(self._masked(fit.left_out), self._masks))
        return lambda views: self._masked(best.predict(views))

    def _masked(self, predicted: Tensor) -> Tensor:
        return predicted.view(-1, *self._mean.shape) > _HALF

    def _fits(self, name: str, values: Tensor) -> Iterator[_Fitted]:
        yield _whole(name, values, self._masks.flatten(1).double(), self._folds)
        if values.dim() == _MAP_AXES:
            yield from self._local(name, values)

    def _local(self, name: str, maps: Tensor) -> Iterator[_Fitted]:
        blocks = Blocks(self._masks, maps)
        every = blocks.moments(maps, self._masks)
        left_out = {one: self._mean.expand(len(maps), -1, -1, -1).clone() for one in STRENGTHS}
        for rows in each_fold(self._folds):
            others = every - blocks.moments(maps[rows], self._masks[rows])
            for strength, made in left_out.items():
                made[rows] = blocks.predict(maps[rows], others.weights(strength))
        for strength, made in left_out.items():
            weights = every.weights(strength)
            yield _Fitted(made, partial(_at_positions, blocks, name, weights))

    def guess(self, values: Tensor, hints: Tensor | None = None) -> Tensor | None:
        """Regress the mean public mask on the values at each position of a map.

        Where a pixel is often masked, values of masked pixels are frequent; so the regression finds
        them, with their sign, without one mask of these images. What it finds is combined with the
        mean mask, and regressed once more. As many pixels are masked as in public images.

        Returns:
            Masks; None if the values are no maps.
        """
        if values.dim() != _MAP_AXES:
            return None
        mean = self._mean.clamp(1 - _TRUST, _TRUST)
        blocks = Blocks(self._masks, values, reach=1)
        beliefs = mean.expand(len(values), -1, -1, -1)
        for _ in range(_PASSES):
            weights = blocks.moments(values, beliefs).weights(_WEAK_STRENGTH)
            made = blocks.predict(values, weights)
            level = float(np.quantile(made.numpy(), 1 - self._mean.mean().item()))
            masked = made > level
            likely = torch.where(masked, _TRUST, 1 - _TRUST)
            beliefs = likely * mean / (likely * mean + (1 - likely) * (1 - mean))
        return masked

    def answered(self, outputs: Tensor) -> Tensor:
        """Return where the logits are positive."""
        return outputs > 0

    def score(self, predicted: Tensor, truth: Tensor) -> LabelScore:
        """Return the mean Jaccard index; the prior is that of the best constant public mask.

        Args:
            predicted: (N, 1, H, W), bool.
            truth: (N, 1, H, W).
        """
        prior = _jaccard(self._prior, truth)
        return LabelScore.of(_jaccard(predicted, truth), prior, len(truth))


def _jaccard(predicted: Tensor, masks: Tensor) -> float:
    return float(overlap(predicted.numpy(), masks.numpy() > _HALF).jaccard.mean())


def _at_positions(blocks: Blocks, name: str, weights: Tensor, views: Views) -> Tensor:
    return blocks.predict(views[name], weights)


def _whole(name: str, values: Tensor, targets: Tensor, folds: Tensor) -> _Fitted:
    """Regress targets (M, K) on all values of an image; large maps are averaged first."""
    features = _rows(values)
    strength = best_strength(features, targets, folds)

    def regress(fitted: Tensor, others: Tensor) -> Tensor:
        mean = targets[fitted].mean(dim=0)
        (weights,) = Ridge(features[fitted]).weights(others, [strength])
        return mean + weights @ (targets[fitted] - mean)

    left_out = targets.mean(dim=0).expand_as(targets).clone()
    for rows in each_fold(folds):
        left_out[rows] = regress(~rows, features[rows])
    everyone = torch.full((len(targets),), fill_value=True)
    return _Fitted(left_out, lambda views: regress(everyone, _rows(views[name])))


def _rows(values: Tensor) -> Tensor:
    """Return the values of each image, (N, D) float64."""
    return (pooled(values, SIDE) if values.dim() == _MAP_AXES else values).flatten(1).double()
