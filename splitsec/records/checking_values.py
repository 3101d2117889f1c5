"""Whether the values per image of a record are those that its means are of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from splitsec.metrics.figures import limits_of
from splitsec.metrics.schema import BaselineScores, VictimScores
from splitsec.records.image_values import (
    Floats,
    ImageAnswers,
    ImageMeasures,
    ImageSetValues,
    PerImageValues,
)
from splitsec.records.record import Record, Utility

_CLOSE = 1e-9  # by which a mean may differ from the record's, since sums depend on their order
_ROUNDING = 1e-6
_ALMOST_WORST = 0.95


def check_values(record: Record, values: PerImageValues) -> str:
    """Return how values per image contradict a record, or an empty text if they do not.

    Args:
        record: any record.
        values: its values, with the shapes and types that they should have.
    """
    return next(_problems(record, values), "")


def _problems(record: Record, values: PerImageValues) -> Iterator[str]:
    for name in ("training", "held_out"):
        scores: VictimScores | None = getattr(record.victims, name, None)
        own: ImageSetValues | None = getattr(values, name)
        attack = None if own is None else own.attack
        if (scores is None) != (attack is None):
            yield f"it and its record do not score the same {name} victims"
            return
        if scores is None or attack is None or own is None:
            continue
        if scores.images not in (None, len(attack.mse)):
            yield f"it has {len(attack.mse)} {name} victims, and the record {scores.images}"
            return
        for said, measures in (("", attack), ("the blind guess's ", own.reference)):
            if measures is not None:
                yield from (f"{said}{name} {one}" for one in _outside(measures))
        yield from (f"the mean {name} {one}" for one in _means(scores, attack))
        if own.reference is not None:
            yield from (f"the blind guess's {name} {one}" for one in _blind(scores, own.reference))
        yield from (f"the {name} {one}" for one in _leakage(scores, attack.leakage))
    answers = None if values.held_out is None else values.held_out.utility
    if answers is not None:
        if record.utility is None:
            yield "it has answers of a model, and the record no utility"
            return
        yield from _answers(record.utility, answers, len(record.data.get("classes", ())))


def _outside(measures: ImageMeasures) -> Iterator[str]:
    """Yield values that cannot be."""
    for one in fields(measures):
        values: Floats | None = getattr(measures, one.name)
        if values is None:
            continue
        limits = limits_of(one.name)
        if (values < limits.low - _ROUNDING).any() or (values > limits.high + _ROUNDING).any():
            yield f"{one.name} is from {values.min():.6g} to {values.max():.6g}, which cannot be"


def _means(scores: VictimScores, attack: ImageMeasures) -> Iterator[str]:
    privacy = scores.privacy
    stated = {
        name: None if (own := getattr(privacy, name)) is None else own.mean
        for name in ("mse", "psnr", "ssim", "lpips")
    }
    for name, expected in stated.items():
        yield from _differs(name, getattr(attack, name), expected)
    for name in ("structure", "pixel"):
        if getattr(attack, name) is not None:
            yield from _differs(name, getattr(attack, name), getattr(privacy.identification, name))


def _blind(scores: VictimScores, reference: ImageMeasures) -> Iterator[str]:
    for name in ("mse", "ssim", "lpips"):
        strongest = getattr(scores.reference, name)
        known: BaselineScores | None = scores.trivial.get(strongest or "")
        expected = None if known is None else getattr(known, name)
        yield from _differs(name, getattr(reference, name), expected)


def _leakage(scores: VictimScores, values: Floats | None) -> Iterator[str]:
    own = scores.leakage
    if values is None or not len(values):
        return
    for name, found, stated in (
        ("worst leakage", values.max().item(), own.worst),
        ("almost worst leakage", np.quantile(values, _ALMOST_WORST).item(), own.almost_worst),
    ):
        if stated is None or abs(found - stated) > _ROUNDING:
            yield f"{name} is {found}, and the record says {stated}"
    if own.mean is None or own.mean > values.mean() + _ROUNDING:
        yield f"leakage is {values.mean()} over images, and the record says {own.mean}"


def _answers(utility: Utility, answers: ImageAnswers, classes: int) -> Iterator[str]:
    """Yield how a model's answers contradict its utility."""
    if answers.jaccard is not None or answers.dice is not None:
        yield from _differs("jaccard", answers.jaccard, utility.jaccard)
        yield from _differs("dice", answers.dice, utility.dice)
        return
    outputs, labels = answers.outputs, answers.labels
    if outputs is None or labels is None:
        yield "it has a model's answers without the truth, or the truth alone"
        return
    if len(labels) != utility.n:
        yield f"it has {len(labels)} answers, and the record {utility.n}"
        return
    if labels.min() < 0 or labels.max() >= outputs.shape[1] or classes not in (0, outputs.shape[1]):
        yield "its labels, its answers and the record's classes do not fit each other"
        return
    from splitsec.metrics.utility import accuracy, roc_auc  # imports scipy.stats

    for name, found, stated in (
        ("accuracy", accuracy(outputs, labels), utility.accuracy),
        ("AUC", roc_auc(outputs, labels), utility.auc),
    ):
        if stated is None or abs(found - stated) > _ROUNDING:
            yield f"the {name} of its answers is {found}, and the record says {stated}"


def _differs(name: str, values: Floats | None, expected: float | None) -> Iterator[str]:
    mean = None if values is None or not len(values) else float(values.mean())
    if mean is None or expected is None:
        fits = mean is expected
    else:
        fits = abs(mean - expected) <= _CLOSE * max(1.0, abs(expected))
    if not fits:
        yield f"{name} is {mean}, and the record says {expected}"
