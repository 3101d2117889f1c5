"""Utility: how well a model does its task, compared with the trivial predictor."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from splitsec.metrics.intervals import t_interval

_LOW, _HIGH = 2.5, 97.5  # percentiles of a 95 % interval


class ClassificationUtility(NamedTuple):
    """Utility on held-out images.

    Attributes:
        accuracy: share classified right, in [0, 1].
        auc: area under the ROC curve, in [0, 1]; 0.5 is chance.
        auc_interval: 95 % bootstrap interval of ``auc`` over images.
        trivial_accuracy: accuracy of always predicting the majority class of the training data.
        trivial_auc: 0.5, since a constant prediction ranks nothing.
        n: number of held-out images.
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
        Accuracy and AUC of the classifier and the trivial predictor.
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
    the rest by its softmax probability, averaged over the classes that occur among the labels
    but are not the only one.

    Args:
        scores: (N, K) logits, K >= 2.
        labels: (N,) classes, in [0, K).

    Returns:
        In [0, 1]; 0.5 if all labels are of one class, since nothing can be ranked.
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
        jaccard_interval: 95 % t-interval of its mean over images.
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
        jaccard_interval=t_interval(found.jaccard),
        dice=float(found.dice.mean()),
        accuracy=float(found.accuracy.mean()),
        trivial_jaccard=float(guess.jaccard.mean()),
        trivial_dice=float(guess.dice.mean()),
        trivial_accuracy=float(guess.accuracy.mean()),
        n=len(masks),
    )
