"""Utility: what a classifier is worth to its clients, beside the trivial predictor."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

_LOW, _HIGH = 2.5, 97.5  # percentiles of a 95 % interval


class ClassificationUtility(NamedTuple):
    """Utility on held-out images.

    Attributes:
        accuracy: share classified right, in [0, 1].
        auc: area under the ROC curve, in [0, 1]; 0.5 says nothing.
        auc_interval: 95 % bootstrap interval of ``auc`` over images.
        trivial_accuracy: accuracy of always predicting the majority class of the training data.
        trivial_auc: 0.5, since a constant prediction ranks nothing.
        n: held-out images.
    """

    accuracy: float
    auc: float
    auc_interval: tuple[float, float]
    trivial_accuracy: float
    trivial_auc: float
    n: int


def classification_utility(
    scores: NDArray[np.floating],
    labels: NDArray[np.integer],
    training_labels: NDArray[np.integer],
    generator: np.random.Generator,
    resamples: int = 200,
) -> ClassificationUtility:
    """Score a classifier on held-out images.

    Args:
        scores: (N, K) logits, finite.
        labels: (N,) classes, in [0, K).
        training_labels: (M,) classes of the training images, whose majority is the trivial
            prediction.
        generator: draws the bootstrap resamples.
        resamples: bootstrap resamples of the N images.

    Returns:
        Accuracy and AUC, with the trivial predictor's.
    """
    count = len(labels)
    majority = np.bincount(training_labels).argmax()
    draws = (generator.integers(count, size=count) for _ in range(resamples))
    spread = [roc_auc(scores[rows], labels[rows]) for rows in draws]
    low, high = np.percentile(spread, [_LOW, _HIGH])
    return ClassificationUtility(
        accuracy=accuracy(scores, labels),
        auc=roc_auc(scores, labels),
        auc_interval=(float(low), float(high)),
        trivial_accuracy=float(np.mean(labels == majority)),
        trivial_auc=0.5,
        n=count,
    )


def accuracy(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the share of rows of ``scores`` (N, K) whose largest entry is the label."""
    return float(np.mean(scores.argmax(axis=1) == labels))


def roc_auc(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the area under the ROC curve; ties count half (the Mann-Whitney statistic).

    Two classes are ranked by the difference of their scores. More than two: one class against
    the rest by its softmax probability, averaged over the classes that are there and are not
    alone.

    Args:
        scores: (N, K) logits, K >= 2.
        labels: (N,) classes, in [0, K).

    Returns:
        In [0, 1]; 0.5 where all labels are of one class, since nothing can be ranked.
    """
    classes = scores.shape[1]
    if classes == 2:
        return _binary_auc(scores[:, 1] - scores[:, 0], labels == 1)
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares = shifted / shifted.sum(axis=1, keepdims=True)
    present = [k for k in range(classes) if 0 < np.count_nonzero(labels == k) < len(labels)]
    if not present:
        return 0.5
    return float(np.mean([_binary_auc(shares[:, k], labels == k) for k in present]))


def _binary_auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return 0.5
    rank_sum = rankdata(scores)[positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))
