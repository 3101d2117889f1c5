"""Utility: how well a model does its task, compared with the trivial predictor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test

from splitsec.metrics.figures import SHARE
from splitsec.metrics.intervals import stratified_bootstrap, t_interval

FEW = 10
"""A class with fewer held-out images than this makes the interval of the AUC too narrow."""

_CHANCE = 0.5  # the AUC of a constant prediction
_SIGNIFICANT = 0.025  # one tail of 5 %


class ClassificationUtility(NamedTuple):
    """Utility on held-out images.

    Attributes:
        accuracy: share classified right, in [0, 1].
        auc: area under the ROC curve, in [0, 1]; 0.5 is chance, and also what it is if all
            held-out images are of one class, when nothing can be ranked.
        auc_interval: 95 % interval of ``auc`` over images, see
            :func:`splitsec.metrics.intervals.stratified_bootstrap`; None if all are of one class.
        learned: whether ``auc`` is significantly above chance: the interval is, and where a class
            has fewer than :data:`FEW` images, so is a permutation test of the labels.
        trivial_accuracy: accuracy of always predicting the majority class of the training data.
        trivial_auc: 0.5, since a constant prediction ranks nothing.
        n: number of held-out images.
    """

    accuracy: float
    auc: float
    auc_interval: tuple[float, float] | None
    learned: bool
    trivial_accuracy: float
    trivial_auc: float
    n: int


def classification_utility(
    scores: NDArray[np.floating],
    labels: NDArray[np.integer],
    training_labels: NDArray[np.integer],
    generator: np.random.Generator,
    resamples: int = 1000,
) -> ClassificationUtility:
    """Score a classifier on held-out images.

    Args:
        scores: (N, K) logits, finite.
        labels: (N,) classes, in [0, K).
        training_labels: (M,) classes of the training images, whose majority is the trivial
            prediction.
        generator: draws resamples and permutations.
        resamples: number of bootstrap resamples, and of permutations.

    Returns:
        Accuracy and AUC of the classifier and the trivial predictor.
    """
    majority = np.bincount(training_labels).argmax()
    auc, learned = _CHANCE, False
    interval: tuple[float, float] | None = None
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) > 1:
        ranking = _Ranking(scores, labels)
        auc = float(ranking.auc(np.ones(len(labels), np.int64)))
        interval = stratified_bootstrap(ranking.auc, labels, generator, resamples)
        learned = interval[0] > _CHANCE
        if learned and counts.min() < FEW:
            learned = _chance_of_ranking(scores, labels, generator, resamples) <= _SIGNIFICANT
    return ClassificationUtility(
        accuracy=accuracy(scores, labels),
        auc=auc,
        auc_interval=interval,
        learned=learned,
        trivial_accuracy=float(np.mean(labels == majority)),
        trivial_auc=_CHANCE,
        n=len(labels),
    )


def accuracy(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the share of rows of ``scores`` (N, K) whose largest entry is the label."""
    return float(np.mean(scores.argmax(axis=1) == labels))


def roc_auc(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the area under the ROC curve; ties count half (the Mann-Whitney statistic).

    Two classes are ranked by the difference of their scores. More than two: one class against
    the rest by its softmax probability, averaged over the classes that occur among the labels
    but are not the only one.

    Args:
        scores: (N, K) logits, K >= 2.
        labels: (N,) classes, in [0, K).

    Returns:
        In [0, 1]; 0.5 if all labels are of one class, since nothing can be ranked.
    """
    if len(np.unique(labels)) < 2:
        return _CHANCE
    return float(_Ranking(scores, labels).auc(np.ones(len(labels), np.int64)))


def auc_on(
    scores: NDArray[np.floating], labels: NDArray[np.integer], counts: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Return the AUC of :func:`roc_auc` on resampled images.

    Args:
        scores: (N, K) logits, K >= 2.
        labels: (N,) classes, in [0, K).
        counts: (R, N), how often each image is in each resample; every class must occur, see
            :func:`splitsec.metrics.two_level.draw_labelled_images`.

    Returns:
        (R,), in [0, 1]; 0.5 if all labels are of one class.
    """
    if len(np.unique(labels)) < 2:
        return np.full(len(counts), _CHANCE)
    return _Ranking(scores, labels).auc(counts)


class _Ranking:
    """Held-out images in the order of their scores, once per class that is ranked.

    Args:
        scores: (N, K) logits, K >= 2.
        labels: (N,) classes, at least two of which occur.
    """

    def __init__(self, scores: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
        self._orders = []
        for values, positive in _one_against_the_rest(scores, labels):
            order = np.argsort(values, kind="stable")
            ranked = values[order]
            groups = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])  # equal scores
            self._orders.append((order, groups, positive[order]))

    def auc(self, counts: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return the AUC if each image occurs so often.

        Args:
            counts: (..., N); every class must occur.

        Returns:
            Shape (...).
        """
        areas: NDArray[np.floating] = np.stack([self._one(counts, *one) for one in self._orders])
        mean: NDArray[np.floating] = areas.mean(axis=0)
        return mean

    @staticmethod
    def _one(
        counts: NDArray[np.int64],
        order: NDArray[np.intp],
        groups: NDArray[np.intp],
        positive: NDArray[np.bool_],
    ) -> NDArray[np.floating]:
        ranked = counts[..., order]
        positives = np.add.reduceat(ranked * positive, groups, axis=-1)
        negatives = np.add.reduceat(ranked * ~positive, groups, axis=-1)
        outranked = 2 * negatives.cumsum(axis=-1) - negatives  # twice, so that a half is whole
        pairs = positives.sum(axis=-1) * negatives.sum(axis=-1)
        area: NDArray[np.floating] = (positives * outranked).sum(axis=-1) / (2 * pairs)
        return area


def _one_against_the_rest(
    scores: NDArray[np.floating], labels: NDArray[np.integer]
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.bool_]]]:
    """Yield the (N,) scores of each class that is ranked, and which images are of it."""
    if scores.shape[1] == 2:
        yield scores[:, 1] - scores[:, 0], labels == 1
        return
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares = shifted / shifted.sum(axis=1, keepdims=True)
    for k in np.unique(labels):
        yield shares[:, k], labels == k


def _chance_of_ranking(
    scores: NDArray[np.floating],
    labels: NDArray[np.integer],
    generator: np.random.Generator,
    resamples: int,
) -> float:
    """Return how often labels in a random order give as high an AUC: a permutation test."""
    found = permutation_test(
        (labels,),
        lambda permuted: roc_auc(scores, permuted),
        permutation_type="pairings",
        vectorized=False,
        n_resamples=resamples,
        alternative="greater",
        random_state=generator,
    )
    return float(found.pvalue)


class Overlap(NamedTuple):
    """The agreement of masks per image, each of shape (N,) and in [0, 1].

    Attributes:
        jaccard: intersection over union; 1 if both masks are empty.
        dice: twice the intersection over the sum of both; 1 if both masks are empty.
        accuracy: share of pixels that agree.
    """

    jaccard: NDArray[np.float64]
    dice: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def overlap(predicted: NDArray[np.bool_], masks: NDArray[np.bool_]) -> Overlap:
    """Compare predicted masks with true ones.

    Args:
        predicted: (N, 1, H, W) or what broadcasts to it.
        masks: (N, 1, H, W).
    """
    axes = (1, 2, 3)
    predicted = np.broadcast_to(predicted, masks.shape)
    both = (predicted & masks).sum(axes)
    total = predicted.sum(axes) + masks.sum(axes)
    empty = total == 0
    safe = np.maximum(total, 1)
    jaccard = np.where(empty, 1.0, both / np.maximum(total - both, 1))
    return Overlap(
        jaccard=jaccard,
        dice=np.where(empty, 1.0, 2 * both / safe),
        accuracy=(predicted == masks).mean(axes),
    )


class SegmentationUtility(NamedTuple):
    """Utility on held-out images; every figure is a mean over images.

    Attributes:
        jaccard: intersection over union.
        jaccard_interval: 95 % t-interval of its mean over images, within [0, 1].
        dice: the Dice coefficient.
        accuracy: share of correct pixels.
        trivial_jaccard: intersection over union of the mean training mask, thresholded at one half.
        trivial_dice: Dice coefficient of that mask.
        trivial_accuracy: share of its correct pixels.
        n: number of held-out images.
    """

    jaccard: float
    jaccard_interval: tuple[float, float]
    dice: float
    accuracy: float
    trivial_jaccard: float
    trivial_dice: float
    trivial_accuracy: float
    n: int


def segmentation_utility(
    predicted: NDArray[np.bool_], masks: NDArray[np.bool_], trivial: NDArray[np.bool_]
) -> SegmentationUtility:
    """Score predicted masks on held-out images.

    Args:
        predicted: (N, 1, H, W), N at least 2.
        masks: (N, 1, H, W), the truth.
        trivial: (1, H, W), the mean training mask, thresholded.
    """
    found, guess = overlap(predicted, masks), overlap(trivial[None], masks)
    return SegmentationUtility(
        jaccard=float(found.jaccard.mean()),
        jaccard_interval=t_interval(found.jaccard, SHARE),
        dice=float(found.dice.mean()),
        accuracy=float(found.accuracy.mean()),
        trivial_jaccard=float(guess.jaccard.mean()),
        trivial_dice=float(guess.dice.mean()),
        trivial_accuracy=float(guess.accuracy.mean()),
        n=len(masks),
    )
