"""Figures of cells on resampled images, for intervals and ranks over seeds and images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from splitsec.errors import DataError
from splitsec.metrics.leakage import (
    VictimErrors,
    resampled_identification,
    resampled_leakage,
    resampled_rate,
)
from splitsec.metrics.schema import VictimScores
from splitsec.metrics.two_level import (
    RESAMPLES,
    Floats,
    Sample,
    draw_images,
    draw_labelled_images,
)
from splitsec.records.image_values import ImageAnswers, ImageSetValues
from splitsec.records.per_image import load_per_image
from splitsec.records.reading import load_record
from splitsec.records.record import Record

_SETS = ("training", "held_out")
_AGREES = 1e-6  # by which leakage from values per image may differ from the record's


def completed(record: Record) -> Record:
    """Return a record with its scores, which a brief one of an index lacks.

    Raises:
        DataError: the record cannot be read.
    """
    if record.seal is None and record.victims is None and record.folder is not None:
        return load_record(record.folder)
    return record


def identified(record: Record) -> float | None:
    """Return the skill of identification, the larger of both victims'.

    None where identification was not measured.
    """
    found = []
    for name in _SETS:
        scores: VictimScores | None = getattr(record.victims, name, None)
        if scores is None or scores.privacy.identification.gallery < 2:
            continue
        if scores.skill.identification is not None:
            found.append(scores.skill.identification)
            continue
        rates, guess = scores.privacy.identification, _guessed(scores)
        found.append((max(rates.structure, rates.pixel) - guess) / (1 - guess))
    return max(found, default=None)


def identified_rate(record: Record) -> float | None:
    """Return the share of victims that are identified, the larger of both victims'.

    None where identification was not measured.
    """
    found = [
        max(scores.privacy.identification.structure, scores.privacy.identification.pixel)
        for name in _SETS
        if (scores := getattr(record.victims, name, None)) is not None
        and scores.privacy.identification.gallery >= 2
    ]
    return max(found, default=None)


def worst_leakage(record: Record) -> float | None:
    """Return the leakage of the victim that leaks most; None in records up to protocol 4."""
    found = [
        scores.leakage.worst
        for name in _SETS
        if (scores := getattr(record.victims, name, None)) is not None
        and scores.leakage.worst is not None
    ]
    return max(found, default=None)


class CellImages(NamedTuple):
    """What is known of single images of one cell.

    Attributes:
        protocol: whose definition of leakage the record follows.
        victims: per set of victims, their scores; empty without an attack.
        answers: the model's answers for the held-out images; None if they are not known.
    """

    protocol: int
    victims: dict[str, VictimErrors]
    answers: ImageAnswers | None


def images_of(record: Record) -> CellImages | None:
    """Return what is known of single images; None where that is nothing.

    Values that do not give the record's own leakage are not used.
    """
    try:
        values = load_per_image(record)
    except DataError:
        return None
    victims = {}
    for name in _SETS:
        own: ImageSetValues | None = getattr(values, name)
        scores: VictimScores | None = getattr(record.victims, name, None)
        if own is not None and scores is not None:
            found = _scores_of(own, scores)
            if found is None:
                return None
            victims[name] = found
    if not victims:
        answers = None if values.held_out is None else values.held_out.utility
        return None if answers is None else CellImages(record.protocol, {}, answers)
    cell = CellImages(
        record.protocol, victims, None if values.held_out is None else values.held_out.utility
    )
    whole = {name: np.ones((1, len(one.errors["mse"])), np.int64) for name, one in victims.items()}
    (leakage,) = leakage_on(cell, whole)
    known = None if record.leakage is None else record.leakage.value
    return cell if known is not None and abs(leakage - known) <= _AGREES else None


def _scores_of(values: ImageSetValues, scores: VictimScores) -> VictimErrors | None:
    attack, reference = values.attack, values.reference
    if attack is None or attack.lpips is None or scores.reference.lpips is None:
        return None
    errors = {"mse": attack.mse, "ssim": 1 - attack.ssim, "lpips": attack.lpips}
    count = len(attack.mse)
    if reference is None or reference.lpips is None:
        blind = {name: scores.trivial[getattr(scores.reference, name)] for name in errors}
        mean = blind["lpips"].lpips
        if mean is None:
            return None
        means = {"mse": blind["mse"].mse, "ssim": 1 - blind["ssim"].ssim, "lpips": mean}
        references = {name: np.full(count, value) for name, value in means.items()}
    else:
        references = {"mse": reference.mse, "ssim": 1 - reference.ssim, "lpips": reference.lpips}
    ways = {"structure": attack.structure, "pixel": attack.pixel}
    identified = {name: one for name, one in ways.items() if one is not None}
    return VictimErrors(
        errors, references, identified, scores.privacy.identification.gallery, _guessed(scores)
    )


def _guessed(scores: VictimScores) -> float:
    """Return the share of victims that the best blind guess identifies."""
    found, skill = scores.privacy.identification, scores.skill.identification
    if skill is None or skill >= 1:
        return 1 / found.gallery
    return (max(found.structure, found.pixel) - skill) / (1 - skill)


def leakage_on(cell: CellImages, counts: dict[str, NDArray[np.int64]]) -> Floats:
    """Return a cell's leakage on resampled images: of the victims who leak more.

    Args:
        cell: with victims.
        counts: per set of victims, (R, N).

    Returns:
        (R,).
    """
    found = [
        resampled_leakage(scores, counts[name], cell.protocol)
        for name, scores in cell.victims.items()
    ]
    most: Floats = np.max(found, axis=0)
    return most


class Resampler:
    """The same resamples of images for all cells of a board, which share their images.

    Args:
        records: the board's cells, with their scores, by any key.
        resamples: number of resamples R.
    """

    def __init__(self, records: Mapping[int, Record], resamples: int = RESAMPLES) -> None:
        self._resamples = resamples
        self._cells = {key: images_of(one) for key, one in records.items()}
        self._leakages: dict[int, Floats | None] = {}

    @cached_property
    def _counts(self) -> dict[str, NDArray[np.int64]]:
        """Per set of victims, and of the held-out images with answers, (R, N): the largest."""
        draws = np.random.default_rng(0)  # the same records always give the same board
        known = [one for one in self._cells.values() if one is not None]
        sizes = {
            name: max(
                (len(one.victims[name].errors["mse"]) for one in known if name in one.victims),
                default=0,
            )
            for name in _SETS
        }
        labels, answered = self.labels, self._answered
        sizes["held_out"] = sizes["held_out"] or answered
        counts = {
            name: draw_images(size, draws, self._resamples) for name, size in sizes.items() if size
        }
        if labels is not None:
            counts["answers"] = draw_labelled_images(labels, draws, self._resamples)
        elif answered:
            counts["answers"] = draw_images(answered, draws, self._resamples)
        if answered and sizes["held_out"] == answered:  # every held-out image is attacked
            counts["held_out"] = counts["answers"]
        return counts

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        """The classes of the held-out images; None where they are not known."""
        for one in self._cells.values():
            if one is not None and one.answers is not None and one.answers.labels is not None:
                return one.answers.labels
        return None

    @cached_property
    def _answered(self) -> int:
        """Number of held-out images with an answer of the model."""
        if self.labels is not None:
            return len(self.labels)
        found = (
            len(one.answers.jaccard)
            for one in self._cells.values()
            if one is not None and one.answers is not None and one.answers.jaccard is not None
        )
        return max(found, default=0)

    @property
    def held_out(self) -> int | None:
        """Number of held-out images; None where no value of one is known."""
        counts = self._counts.get("answers")
        return None if counts is None else counts.shape[1]

    @property
    def victims(self) -> int | None:
        """Number of images in the smaller set of victims; None where no value of one is known."""
        return min(
            (self._counts[name].shape[1] for name in _SETS if name in self._counts), default=None
        )

    def leakage(self, key: int) -> Floats | None:
        """Return a cell's leakage on resampled images, (R,); None where it is not known."""
        if key not in self._leakages:
            self._leakages[key] = self._leakage(key)
        return self._leakages[key]

    def _leakage(self, key: int) -> Floats | None:
        cell = self._cells.get(key)
        if cell is None or not cell.victims:
            return None
        if any(
            len(one.errors["mse"]) != self._counts[name].shape[1]
            for name, one in cell.victims.items()
        ):
            return None
        found = leakage_on(cell, self._counts)
        return found if np.isfinite(found).all() else None

    def identified(self, key: int) -> Floats | None:
        """Return how much a cell identifies on resampled images, (R,), where it is known."""
        return self._identified(key, resampled_identification)

    def rate(self, key: int) -> Floats | None:
        """Return the share of victims that a cell identifies, (R,), where it is known."""
        return self._identified(key, resampled_rate)

    def _identified(
        self, key: int, figure: Callable[[VictimErrors, NDArray[np.integer]], Floats]
    ) -> Floats | None:
        cell = self._cells.get(key)
        if cell is None or not cell.victims:
            return None
        found = []
        for name, scores in cell.victims.items():
            if not scores.identified:
                return None
            if len(scores.errors["mse"]) != self._counts[name].shape[1]:
                return None
            found.append(figure(scores, self._counts[name]))
        most: Floats = np.max(found, axis=0)
        return most

    def utility(self, key: int) -> Floats | None:
        """Return a cell's AUC or Jaccard on resampled held-out images, (R,), where it is known."""
        cell = self._cells.get(key)
        answers = None if cell is None else cell.answers
        if answers is None:
            return None
        counts = self._counts["answers"]
        if answers.jaccard is not None and len(answers.jaccard) == counts.shape[1]:
            mean: Floats = counts @ answers.jaccard / counts.shape[1]
            return mean
        if answers.outputs is None or answers.labels is None:
            return None
        if self.labels is None or not np.array_equal(answers.labels, self.labels):
            return None
        from splitsec.metrics.utility import auc_on  # imports scipy.stats, seldom needed

        return auc_on(answers.outputs.astype(np.float64), answers.labels, counts)


def stacked(
    per_seed: pd.Series[float], on_images: Sequence[Floats | None], images: int | None
) -> Sample:
    """Return a sample of a figure per seed and its resampled values, all or none of them.

    Args:
        per_seed: (S,).
        on_images: for each seed, (R,), or None where values per image are not known.
        images: number of images.
    """
    known = [one for one in on_images if one is not None]
    if not known or len(known) < len(on_images):
        return Sample(per_seed.to_numpy(float))
    return Sample(per_seed.to_numpy(float), np.stack(known, axis=1), images)


def ratio_of(parts: Sample, wholes: Sample) -> Sample:
    """Return a sample whose mean is the ratio of two means, and which varies as the ratio does.

    It is the linearised ratio, see :func:`splitsec.metrics.intervals.ratio_estimate`.

    Args:
        parts: numerators.
        wholes: denominators at the same seeds, with a mean other than 0.
    """
    ratio = parts.mean / wholes.mean

    def linear(part: Floats, whole: Floats) -> Floats:
        values: Floats = ratio + (part - ratio * whole) / wholes.mean
        return values

    images = None
    if parts.on_images is not None and wholes.on_images is not None:
        images = linear(parts.on_images, wholes.on_images)
    return Sample(linear(parts.per_seed, wholes.per_seed), images, parts.images)
