"""Detectors: what they see in gradients, and when they end a session."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from splitsec.errors import NotApplicable, SessionEnded
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.progress import Silent
from splitsec.running.runs import run_cells
from support.cells import tiny_cells

LABELS = torch.arange(12) % 3


def scrutiny(**given: Any) -> Any:
    cls = load_plugin("defense", "gradient-scrutiny").cls
    return cls(build_parameters("defense 'gradient-scrutiny'", cls.Parameters, given))


def gradients(count: int, of_the_class: float, seed: int = 0) -> list[Tensor]:
    """Return gradients, a part of which depends on the class alone."""
    drawn = torch.Generator().manual_seed(seed)
    classes = torch.randn(3, 8, 2, 2, generator=drawn)
    return [
        of_the_class * classes[LABELS] + torch.randn(12, 8, 2, 2, generator=drawn)
        for _ in range(count)
    ]


def score_by_loops(seen: list[Tensor]) -> float:
    """Return the paper's score after the last batch, pair by pair."""
    points = []
    for gradient in seen:
        same, other = [], []
        for one, two in itertools.combinations(range(12), 2):
            x, y = (gradient[row].flatten().double().numpy() for row in (one, two))
            alike = 0.5 + 0.5 * float(x @ y) / float(np.linalg.norm(x) * np.linalg.norm(y))
            (same if LABELS[one] == LABELS[two] else other).append(alike)
        points.append((mean(other), mean(same)))
    d, s = points[-1]
    gap = (s - d) / (s + d)
    errors = []
    for values in zip(*points, strict=True):
        curve = np.poly1d(np.polyfit(range(len(values)), values, 2))
        errors.append(math.sqrt(mean((v - curve(i)) ** 2 for i, v in enumerate(values))))
    bands = [(mean(part) - pstdev(part), mean(part) + pstdev(part)) for part in (same, other)]
    union = max(high for _, high in bands) - min(low for low, _ in bands)
    shared = max(0.0, min(high for _, high in bands) - max(low for low, _ in bands))
    product = gap / abs(gap) ** 0.6
    product *= -math.log(7 * mean(errors) + math.exp(-2)) * -math.log(shared / union + 1 / math.e)
    return 1 / (1 + math.exp(-5 * (product - 0.7)))


@pytest.mark.parametrize("of_the_class", [0.0, 0.5, 3.0])
def test_the_score_is_that_of_the_paper(of_the_class: float) -> None:
    defense = scrutiny(measure="published", threshold=0, first=5)
    seen = gradients(9, of_the_class)
    for step, gradient in enumerate(seen):
        assert defense.receive(gradient, step, LABELS) is gradient
    assert len(defense.scores) == 5
    for number, score in enumerate(defense.scores):
        assert score == pytest.approx(score_by_loops(seen[: number + 5]), rel=1e-4)


@pytest.mark.parametrize(("measure", "threshold"), [("gap", 0.03), ("published", 0.2)])
def test_gradients_that_know_no_class_end_the_session(measure: str, threshold: float) -> None:
    defense = scrutiny(measure=measure, first=5, window=4, threshold=threshold)
    with pytest.raises(SessionEnded, match="of one class are no more alike than those of two"):
        for step, gradient in enumerate(gradients(40, of_the_class=0.0)):
            defense.receive(gradient, step, LABELS)
    assert 8 - 5 < len(defense.scores) < 20
    calm = scrutiny(measure=measure, first=5, window=4, threshold=threshold)
    for step, gradient in enumerate(gradients(40, of_the_class=3.0)):
        calm.receive(gradient, step, LABELS)
    assert len(calm.scores) == 36


def test_batches_of_one_class_or_without_pairs_are_passed_over() -> None:
    defense = scrutiny(first=3)
    gradient = gradients(1, 1.0)[0]
    for labels in (torch.zeros(12, dtype=torch.long), torch.arange(12)):
        for step in range(9):
            assert defense.receive(gradient, step, labels) is gradient
    assert not defense.scores
    assert defense.receive(0 * gradient, 0, LABELS).abs().max() == 0, "zero has no direction"


def test_the_gap_is_that_of_the_means() -> None:
    defense, (gradient,) = scrutiny(first=3), gradients(1, 1.0)
    defense.receive(gradient, 0, LABELS)
    flat = torch.nn.functional.normalize(gradient.flatten(1), dim=1)
    alike = 0.5 + 0.5 * flat @ flat.T
    pairs = list(itertools.combinations(range(12), 2))
    same, other = (
        mean(alike[one, two].item() for one, two in pairs if (LABELS[one] == LABELS[two]) == due)
        for due in (True, False)
    )
    assert defense.gaps == [pytest.approx((same - other) / (same + other), rel=1e-4)]


def test_masks_are_no_classes() -> None:
    with pytest.raises(NotApplicable, match="these labels are masks"):
        scrutiny().receive(gradients(1, 1.0)[0], 0, torch.ones(12, 1, 4, 4))


def test_a_threshold_of_one_ends_any_session_and_of_zero_none(tmp_path: Path) -> None:
    defense = "gradient-scrutiny:threshold=1,first=3,window=1"
    settings = ("training.batch_size=4",)
    attack = "fsha:iterations=8,pretraining=2,image_steps=5"
    (record,) = run_cells(tiny_cells(attack, defense, None, *settings), tmp_path, Silent())
    assert record.status == "ok", record.reason
    assert record.session["honest_exchanges"] <= 4
    assert "honest-session-ended" in record.flags, "a threshold of one ends any session"
    never = defense.replace("threshold=1", "threshold=-1")
    (record,) = run_cells(tiny_cells(attack, never, None, *settings), tmp_path, Silent())
    assert record.session["honest_ended"] is None
