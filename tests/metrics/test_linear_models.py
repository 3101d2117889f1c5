from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from splitsec.metrics import linear_models
from splitsec.metrics.linear_models import LinearTask, Ridge, linear_utility


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(30, 7), (20, 48), (9, 9), (5, 1)], ids=str)
@pytest.mark.parametrize("strength", [1e-4, 0.3, 100.0])
def test_ridge_is_the_solution_of_augmented_least_squares(
    shape: tuple[int, int], strength: float
) -> None:
    count, width = shape
    training, others = drawn(count, width), drawn(4, width, seed=1)
    targets = drawn(count, 3, seed=2)
    (weights,) = Ridge(training).weights(others, [strength])
    predicted = targets.mean(0) + weights @ (targets - targets.mean(0))

    x = (training - training.mean(0)).numpy()
    y = (targets - targets.mean(0)).numpy()
    penalty = strength * np.square(x).sum(1).mean()
    augmented = np.vstack([x, np.sqrt(penalty) * np.eye(width)])
    coefficients, *_ = np.linalg.lstsq(augmented, np.vstack([y, np.zeros((width, 3))]), rcond=None)
    expected = targets.mean(0).numpy() + (others - training.mean(0)).numpy() @ coefficients
    np.testing.assert_allclose(predicted.numpy(), expected, atol=1e-9)


def task(images: Tensor, targets: Tensor) -> LinearTask:
    return LinearTask(images.float(), targets)


def score(
    images: Tensor, targets: Tensor, outputs: int, patients: Sequence[int] | None = None
) -> linear_models.LinearUtility:
    """Return the utility where the first two thirds of the images are the training images."""
    cut = 2 * len(images) // 3
    return linear_utility(
        task(images[:cut], targets[:cut]),
        task(images[cut:], targets[cut:]),
        outputs,
        range(cut) if patients is None else patients,
    )


def test_a_task_of_colour_is_solved_by_both() -> None:
    labels = torch.arange(120) % 3
    images = drawn(120, 3, 12, 12) * 0.2
    images[torch.arange(120), labels] += 0.5  # one channel is brighter
    found = score(images, labels, 3)
    assert found.colour == pytest.approx(1.0)
    assert found.pixels == pytest.approx(1.0)


def test_a_task_of_places_is_solved_by_pixels_alone() -> None:
    labels = torch.arange(240) % 2
    images = drawn(240, 1, 8, 8) * 0.2
    images[labels == 0, :, 2, 2] += 0.5
    images[labels == 1, :, 5, 5] += 0.5  # equally bright on the whole
    found = score(images, labels, 2)
    assert found.pixels > 0.97
    assert 0.3 < found.colour < 0.7


def test_a_task_without_an_answer_is_solved_by_neither() -> None:
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(2, (600,), generator=generator)
    found = score(drawn(600, 3, 8, 8), labels, 2)
    assert 0.4 < found.pixels < 0.6
    assert 0.4 < found.colour < 0.6


def test_masks_are_predicted_as_a_whole() -> None:
    images = drawn(90, 1, 40, 40) * 0.1
    masks = torch.zeros(90, 1, 40, 40)
    for index in range(90):
        left = 20 if index % 2 else 4
        images[index, :, 10:26, left : left + 12] += 0.6
        masks[index, :, 10:26, left : left + 12] = 1
    found = score(images, masks, 1)
    assert found.pixels > 0.99
    assert found.colour < 0.6  # all images are equally bright


def test_many_training_images_are_averaged_further(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(90) % 2
    images = drawn(90, 1, 48, 48) * 0.1
    images[labels == 1, :, :24] += 0.2
    images[labels == 0, :, 24:] += 0.2
    sides = []
    pooled = linear_models.pooled
    monkeypatch.setattr(
        linear_models,
        "pooled",
        lambda given, side: sides.append(side) or pooled(given, side),  # type: ignore[func-returns-value]  # append gives None
    )
    assert score(images, labels, 2).pixels > 0.99
    monkeypatch.setattr(linear_models, "MANY", 59)
    assert score(images, labels, 2).pixels > 0.99
    assert sides == [32, 32, 16, 16]


def test_images_of_a_patient_stay_together_when_the_strength_is_chosen() -> None:
    """A patient's images predict each other, so that a fold that splits them chooses too weakly."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(2, (60,), generator=generator).repeat_interleave(2)
    images = drawn(60, 1, 10, 10).repeat_interleave(2, dim=0)
    features = images.flatten(1)
    targets = torch.nn.functional.one_hot(labels, 2).double()
    together = linear_models.folds_of([index // 2 for index in range(120)])
    apart = torch.arange(120) % 5
    assert all((together == fold).sum() == 24 for fold in range(5))
    assert (together[::2] == together[1::2]).all()
    strong, weak = (
        linear_models.best_strength(features, targets, folds) for folds in (together, apart)
    )
    assert strong > weak


def test_odd_images_are_scored() -> None:
    labels = torch.arange(12) % 2
    alike = torch.full((12, 3, 8, 8), 0.5)
    assert score(alike, labels, 2) == (0.5, 0.5)
    assert score(drawn(12, 3, 8, 8), torch.tensor([0, 1] * 4 + [1] * 4), 2) == (0.5, 0.5)
    of_one_patient = score(drawn(12, 3, 8, 8), labels, 2, [7] * 8)
    assert all(0 <= value <= 1 for value in of_one_patient)
    rare = score(drawn(12, 1, 8, 8), torch.tensor([0, 1] * 4 + [0, 1, 2, 2]), 3)
    assert all(0 <= value <= 1 for value in rare), "a class that no training image has"
    nothing = score(alike[:, :1], torch.zeros(12, 1, 8, 8), 1)
    assert nothing == (1.0, 1.0), "two empty masks agree"


def test_it_is_the_same_every_time() -> None:
    labels = torch.arange(60) % 2
    assert score(drawn(60, 3, 40, 40), labels, 2) == score(drawn(60, 3, 40, 40), labels, 2)
