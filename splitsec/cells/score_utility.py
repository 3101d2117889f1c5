"""Measures the utility of an honestly trained model, for the record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from splitsec.cells.linear_utility import linear_utility_of
from splitsec.data.parts import Data, Part
from splitsec.devices import on_cpu
from splitsec.errors import DivergedError, PluginError
from splitsec.metrics.utility import (
    FEW,
    accuracy,
    classification_utility,
    overlap,
    roc_auc,
    segmentation_utility,
)
from splitsec.plugins.toolbox.distance_correlation import corrected_squared_distance_correlation
from splitsec.randomness import numpy_generator
from splitsec.records.image_values import ImageAnswers
from splitsec.records.record import Utility
from splitsec.training.trained import TrainedSession


class UtilityScore(NamedTuple):
    """The utility of a model, and whether it learned more than a constant answer.

    Attributes:
        utility: measures for the record.
        learned: whether it is significantly better than the trivial predictor.
        answers: what the model answered for each held-out image.
        notes: sentences for the reader.
    """

    utility: Utility
    learned: bool
    answers: ImageAnswers
    notes: tuple[str, ...] = ()


def score_utility(label: str, released: Tensor, outputs: Tensor, data: Data) -> UtilityScore:
    """Score the model's outputs on the held-out images.

    The images are divided among the clients in order, and each client has its own figures too.

    Args:
        label: names the target in errors.
        released: smashed data of the held-out images.
        outputs: the model's outputs for them.
        data: the session's images.

    Raises:
        DivergedError: the model's outputs are not finite.
    """
    released, outputs = on_cpu(released), on_cpu(outputs)
    check_outputs(label, outputs, data.held_out, data)
    if not torch.isfinite(outputs).all():
        raise DivergedError("honest training diverged: the model's outputs are not finite")
    scored = _segmentation if data.task == "segmentation" else _classification
    score = scored(outputs, data)
    images = data.held_out.all().flatten(1)
    related = corrected_squared_distance_correlation(images, released.flatten(1))
    linear = linear_utility_of(data)
    more = {
        "distance_correlation": related.item(),
        "clients": _clients(outputs, data),
        "linear_pixels": linear.pixels,
        "linear_colour": linear.colour,
    }
    return score._replace(utility=score.utility.model_copy(update=more))


def validation_scores(trained: TrainedSession, data: Data) -> dict[str, float]:
    """Return measures on validation images; the first of them chooses the epoch.

    Args:
        trained: a session that is still running.
        data: its images.
    """
    part = data.validation
    _, outputs = trained.predict(part.all(), "validation")
    outputs = on_cpu(outputs)
    check_outputs(trained.clients[0].sender.names[0], outputs, part, data)
    scores = _measures(outputs, part.targets(range(len(part))), data)
    return {f"validation {name}": value for name, value in scores.items()}


def _measures(outputs: Tensor, targets: Tensor, data: Data) -> dict[str, float]:
    if data.task == "segmentation":
        both = overlap(outputs.numpy() > 0, targets.numpy() > 0)
        return {
            "jaccard": float(both.jaccard.mean()),
            "dice": float(both.dice.mean()),
            "accuracy": float(both.accuracy.mean()),
        }
    scores, labels = outputs.numpy(), targets.numpy()
    return {"auc": roc_auc(scores, labels), "accuracy": accuracy(scores, labels)}


def _clients(outputs: Tensor, data: Data) -> list[dict[str, float]]:
    """Return the measures of each client's share of the held-out images, if there are several."""
    count = len(data.private)
    if count == 1:
        return []
    targets = data.held_out.targets(range(len(data.held_out)))
    shares = [torch.tensor_split(values, count) for values in (outputs, targets)]
    return [_measures(given, due, data) for given, due in zip(*shares, strict=True) if len(given)]


def check_outputs(label: str, outputs: Tensor, part: Part, data: Data) -> None:
    """Raise a PluginError unless a target's outputs have the shape that its task needs."""
    extents = part.images.shape[2:] if data.task == "segmentation" else ()
    due = (len(part), data.outputs, *extents)
    if tuple(outputs.shape) != due:
        raise PluginError(f"{label} gave outputs of shape {tuple(outputs.shape)}; expected {due}")


def _classification(outputs: Tensor, data: Data) -> UtilityScore:
    scores = classification_utility(
        outputs.numpy(),
        data.held_out.labels,
        np.concatenate([part.labels for part in data.private]),
        numpy_generator("utility interval", data=data.images_sha256),
    )
    utility = Utility(
        accuracy=scores.accuracy,
        auc=scores.auc,
        auc_interval=scores.auc_interval,
        trivial={"accuracy": scores.trivial_accuracy, "auc": scores.trivial_auc},
        n=scores.n,
    )
    answers = ImageAnswers(labels=data.held_out.labels, outputs=outputs.float().numpy())
    return UtilityScore(utility, scores.learned, answers, tuple(_rare(data)))


def _rare(data: Data) -> Iterator[str]:
    """Yield what a reader of the AUC must know of classes with few held-out images or none."""
    counts = data.balance()["held-out"]
    present = [name for name, count in counts.items() if count]
    if len(present) == 1:
        yield (
            f"all held-out images are of the class {present[0]!r}, so nothing can be ranked; an "
            "AUC of 0.5 stands for that"
        )
        return
    absent = [repr(name) for name, count in counts.items() if not count]
    if absent:
        yield f"no held-out image is of class {', '.join(absent)}; the AUC leaves it out"
    few = [f"{count} of class {name!r}" for name, count in counts.items() if 0 < count < FEW]
    if few:
        yield (
            f"few held-out images ({', '.join(few)}) decide the AUC, and its interval is too narrow"
        )


def _segmentation(outputs: Tensor, data: Data) -> UtilityScore:
    training = [part.targets(range(len(part))).mean(0) for part in data.private]
    sizes = torch.tensor([len(part) for part in data.private], dtype=torch.float32)
    mean = (torch.stack(training) * sizes.view(-1, 1, 1, 1)).sum(0) / sizes.sum()
    predicted = outputs.numpy() > 0
    masks = data.held_out.targets(range(len(data.held_out))).numpy() > 0
    scores, found = (
        segmentation_utility(predicted, masks, mean.numpy() > 0.5),
        overlap(predicted, masks),
    )
    utility = Utility(
        accuracy=scores.accuracy,
        jaccard=scores.jaccard,
        jaccard_interval=scores.jaccard_interval,
        dice=scores.dice,
        trivial={
            "accuracy": scores.trivial_accuracy,
            "jaccard": scores.trivial_jaccard,
            "dice": scores.trivial_dice,
        },
        n=scores.n,
    )
    answers = ImageAnswers(jaccard=found.jaccard, dice=found.dice)
    return UtilityScore(utility, scores.jaccard_interval[0] > scores.trivial_jaccard, answers)
