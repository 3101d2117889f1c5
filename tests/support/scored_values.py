"""Records whose scores follow from values per image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from splitsec.metrics.leakage import KINDS, VictimErrors, leakage
from splitsec.metrics.schema import VictimScores
from splitsec.metrics.utility import accuracy, roc_auc
from splitsec.records.image_values import (
    Floats,
    ImageAnswers,
    ImageList,
    ImageMeasures,
    ImageSetValues,
    PerImageValues,
)
from splitsec.records.per_image import PER_IMAGE
from splitsec.records.record import Leakage, Record, Victims
from splitsec.records.store import keep_artifact, record_folder, write_record
from support.records import flagged, make_record, make_scores

GALLERY = 100


def measures(count: int, seed: int, **others: Any) -> ImageMeasures:
    drawn = np.random.default_rng(seed).random((6, count))
    return ImageMeasures(
        **dict(zip(("mse", "psnr", "ssim", "lpips", "structure", "pixel"), drawn, strict=True))
        | others
    )


def make_values(count: int = 5) -> PerImageValues:
    held_out = ImageList(
        clients=np.arange(count) % 2,
        patients=np.arange(count) // 2 + 70,
        rows=np.arange(count) * 3,
        names=np.array([f"Zoë {index}.png" for index in range(count)]),
    )
    training = ImageList(np.zeros(3, np.int64), np.array([70, 9, 9]), np.array([8, 1, 4]))
    generator = np.random.default_rng(7)
    answers = ImageAnswers(
        labels=np.arange(count) % 3, outputs=generator.random((count, 3), np.float32)
    )
    return PerImageValues(
        training=ImageSetValues(training, measures(3, 1, lpips=None), measures(3, 2, lpips=None)),
        held_out=measured(
            ImageSetValues(held_out, measures(count, 3), measures(count, 4), answers)
        ),
    )


def errors_of(attack: ImageMeasures, reference: ImageMeasures) -> VictimErrors:
    def errors(own: ImageMeasures) -> Mapping[str, Floats]:
        found = {"mse": own.mse, "ssim": 1 - own.ssim, "lpips": own.lpips}
        return {name: values for name, values in found.items() if values is not None}

    assert attack.structure is not None
    assert attack.pixel is not None
    identified = {"structure": attack.structure, "pixel": attack.pixel}
    return VictimErrors(errors(attack), errors(reference), identified, GALLERY, 1 / GALLERY)


def measured(own: ImageSetValues) -> ImageSetValues:
    """Return values with the leakage of each image, where it can be computed."""
    assert own.attack is not None
    assert own.reference is not None
    values = errors_of(own.attack, own.reference).per_image()
    return replace(own, attack=replace(own.attack, leakage=values))


def scores_from(own: ImageSetValues) -> VictimScores:
    """Return the scores of the victims of one set."""
    attack, reference = own.attack, own.reference
    assert attack is not None
    assert reference is not None
    skills = errors_of(attack, reference).skills()
    privacy: dict[str, object] = {
        name: None if (values := getattr(attack, name)) is None else {"mean": values.mean()}
        for name in ("mse", "psnr", "ssim", "lpips")
    }
    rates = {kind: getattr(attack, kind).mean() for kind in KINDS}
    blind = {
        name: None if (values := getattr(reference, name)) is None else values.mean()
        for name in ("mse", "psnr", "ssim", "lpips")
    }
    told = leakage(skills)
    blind |= {
        "structure": 1 / GALLERY,
        "pixel": 1 / GALLERY,
        "leakage": None if told is None else 0,
    }
    found: dict[str, object] = {"mean": told, "per_image": None, "share_above_random": None}
    if attack.leakage is not None:
        found["worst"] = attack.leakage.max()
        found["almost_worst"] = np.quantile(attack.leakage, 0.95)
    said: dict[str, object] = {
        "privacy": privacy | {"identification": rates | {"gallery": GALLERY}},
        "skill": skills,
        "leakage": found,
        "reference": dict.fromkeys(("mse", "ssim"), "mean-image")
        | {"lpips": None if attack.lpips is None else "mean-image"},
        "trivial": {"mean-image": blind},
        "yardsticks": {"colour": blind},
        "images": len(attack.mse),
    }
    return VictimScores.model_validate(make_scores().model_dump() | said)


def record_of(values: PerImageValues, record: Record | None = None) -> Record:
    """Return a record whose scores and utility are those of values per image."""
    record = record or make_record()
    assert values.training is not None
    assert values.held_out is not None
    assert record.utility is not None
    victims = Victims(training=scores_from(values.training), held_out=scores_from(values.held_out))
    known = {"training": victims.training, "held_out": victims.held_out}
    worst = max(known, key=lambda name: known[name].leakage.mean or 0.0)
    scores = known[worst]
    assert scores is not None
    headline = Leakage.model_validate({"value": scores.leakage.mean, "victims": worst})
    answers, utility = values.held_out.utility, record.utility
    if answers is not None and answers.outputs is not None and answers.labels is not None:
        figures = {
            "accuracy": accuracy(answers.outputs, answers.labels),
            "auc": roc_auc(answers.outputs, answers.labels),
            "n": len(answers.labels),
        }
        utility = utility.model_copy(update=figures)
    changes = {"victims": victims, "leakage": headline, "utility": utility}
    return flagged(record.model_copy(update=changes))


def write_with_values(store: Path, record: Record, content: bytes) -> Record:
    """Write a record, and a file of values per image beside it."""
    folder = record_folder(store, record)

    def write(path: Path) -> None:
        path.write_bytes(content)

    name = keep_artifact(folder, ".npz", write)
    return write_record(folder, record.model_copy(update={"artifacts": {PER_IMAGE: name}}))
