"""Linear models of pixels and of the mean colour: how much of a task needs no network.

A model's utility says what a defense costs only where the task needs what the defense could
destroy. If a linear model of the mean colour does as well, a defense may erase everything but the
hue and retain 100 %.

Both are ridge regressions in closed form, of one-hot labels or of masks, on all pixels of an image
or on the mean of each of its channels. A mask is predicted as a whole: each of its pixels is a
linear function of the whole image, plus the mean mask, so it can use position and context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from splitsec.metrics.utility import overlap, roc_auc

SIDE = 32
"""Larger images are averaged down to this height and width, pixels."""

SMALL_SIDE = 16
"""The same where there are more than :data:`MANY` training images."""

MANY = 1600
"""Training images up to which the regression takes about a second on one core."""

STRENGTHS = tuple(10.0**power for power in range(-4, 3))
"""Strengths to choose from, in multiples of the images' mean squared distance from their mean."""

_FOLDS = 5
_COLUMNS = 4096  # outputs that are predicted at once


class LinearUtility(NamedTuple):
    """Utility of the linear models on held-out images, in [0, 1].

    Attributes:
        pixels: of ridge regression on all pixels.
        colour: of ridge regression on the mean of each channel.
    """

    pixels: float
    colour: float


class Ridge:
    """Ridge regression with an intercept that is not penalised.

    Args:
        features: (N, D) float64, N >= 1, of the training images.
    """

    def __init__(self, features: Tensor) -> None:
        self._mean = features.mean(dim=0)
        self._centred = features - self._mean
        count, width = features.shape
        self._is_dual = count < width  # the smaller of two equal systems is solved
        rows = self._centred if self._is_dual else self._centred.T
        self._gram = rows @ rows.T
        self._scale = max(self._gram.trace().item() / count, torch.finfo(features.dtype).tiny)

    def weights(self, features: Tensor, strengths: Sequence[float]) -> Iterator[Tensor]:
        """Yield the weights of the training targets in predictions, for each strength.

        With the mean ``m`` of the targets ``Y`` (N, K), a prediction is ``m + weights @ (Y - m)``.
        It is that of the coefficients ``b`` that minimise
        ``|Y - m - X b|^2 + strength * scale * |b|^2``, where ``X`` are the centred features and
        ``scale`` is their mean squared norm (Hoerl and Kennard 1970).

        Args:
            features: (M, D) float64, of the images to predict.
            strengths: each above 0, in multiples of ``scale``.

        Yields:
            (M, N) float64.
        """
        unit = self._scale * torch.eye(len(self._gram), dtype=self._gram.dtype)
        right = (features - self._mean).T
        if self._is_dual:
            right = self._centred @ right
        for strength in strengths:
            factor = torch.linalg.cholesky(self._gram + strength * unit)
            solved = torch.cholesky_solve(right, factor).T
            yield solved if self._is_dual else solved @ self._centred.T


class LinearTask(NamedTuple):
    """Images and targets of a task.

    Attributes:
        images: (N, C, H, W) float32, in [0, 1].
        targets: (N,) int64, classes; or (N, 1, H, W) float32, masks of 0 and 1.
    """

    images: Tensor
    targets: Tensor


def linear_utility(
    training: LinearTask, held_out: LinearTask, classes: int, patients: Sequence[int]
) -> LinearUtility:
    """Fit the linear models on private images, and score them on held-out images.

    The strength of the ridge is the one with the smallest squared error in cross-validation over
    the training images; images of a patient stay together.

    Args:
        training: the training images of all clients.
        held_out: images to score, at least one.
        classes: number of classes; not used for masks.
        patients: of each training image.

    Returns:
        The measure that the model is judged by: AUC, where each class is ranked by its own
        prediction (0.5 if all held-out images are of one class); or, for masks, the mean Jaccard.
    """
    side = SIDE if len(training.images) <= MANY else SMALL_SIDE
    folds = folds_of(patients)

    def score(features: Tensor, others: Tensor) -> float:
        if training.targets.dim() > 1:
            return _jaccard(features, others, training.targets, held_out.targets, folds)
        return _auc(features, others, training.targets, held_out.targets, classes, folds)

    return LinearUtility(
        pixels=score(*(pooled(one.images, side).flatten(1) for one in (training, held_out))),
        colour=score(*(one.images.mean(dim=(2, 3)).double() for one in (training, held_out))),
    )


def pooled(images: Tensor, side: int) -> Tensor:
    """Return images as float64, averaged down to at most so many pixels per side."""
    height, width = (min(side, extent) for extent in images.shape[2:])
    return adaptive_avg_pool2d(images, (height, width)).double()


def _auc(
    features: Tensor, others: Tensor, labels: Tensor, truth: Tensor, classes: int, folds: Tensor
) -> float:
    targets = torch.nn.functional.one_hot(labels, classes).double()
    (weights,) = Ridge(features).weights(others, [best_strength(features, targets, folds)])
    mean = targets.mean(dim=0)
    predicted, known = (mean + weights @ (targets - mean)).numpy(), truth.numpy()
    present = np.unique(known)
    if len(present) == 1:
        return 0.5
    return float(np.mean([_one_against_rest(predicted[:, k], known == k) for k in present]))


def _one_against_rest(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    return roc_auc(np.stack([-values, values], axis=1), positive.astype(np.int64))


def _jaccard(
    features: Tensor, others: Tensor, masks: Tensor, truth: Tensor, folds: Tensor
) -> float:
    small = pooled(masks, SMALL_SIDE).flatten(1)  # is enough to choose the strength
    (weights,) = Ridge(features).weights(others, [best_strength(features, small, folds)])
    blocks = []
    for block in torch.split(masks.flatten(1), _COLUMNS, dim=1):
        mean = block.double().mean(dim=0)
        blocks.append(mean + weights @ (block - mean) > 0.5)
    predicted = torch.cat(blocks, dim=1).reshape(truth.shape)
    return float(overlap(predicted.numpy(), truth.numpy() > 0.5).jaccard.mean())


def best_strength(features: Tensor, targets: Tensor, folds: Tensor) -> float:
    """Return the strength with the smallest squared error in cross-validation.

    It is the smallest of all where all images are of one patient, since nothing can choose then.
    """
    errors = dict.fromkeys(STRENGTHS, 0.0)
    for left_out in each_fold(folds):
        kept, mean = ~left_out, targets[~left_out].mean(dim=0)
        every = Ridge(features[kept]).weights(features[left_out], STRENGTHS)
        for strength, weights in zip(STRENGTHS, every, strict=True):
            missed = targets[left_out] - mean - weights @ (targets[kept] - mean)
            errors[strength] += missed.square().sum().item()
    return min(errors, key=lambda strength: errors[strength])


def folds_of(patients: Sequence[int]) -> Tensor:
    """Return the fold of each image, (N,); patients take turns in the order of their images."""
    order: dict[int, int] = {}
    return torch.tensor([order.setdefault(one, len(order)) % _FOLDS for one in patients])


def each_fold(folds: Tensor) -> Iterator[Tensor]:
    """Yield which images each fold leaves out, (N,) bool; nothing if there is a single fold."""
    numbers = set(folds.tolist())
    for number in sorted(numbers) if len(numbers) > 1 else ():
        yield folds == number
