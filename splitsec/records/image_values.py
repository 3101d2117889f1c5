"""The values of single images, which :mod:`.per_image` reads and writes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ImageList:
    """Which images a set of values is about; each field has shape (N,).

    Attributes:
        clients: index of the client that the image belongs to.
        patients: images of one patient share a number, which means nothing else; where the data
            set names no patients, each image has its own.
        rows: the image's key in its data set (its row, where the data set is a table); None in
            published records of a secret partition.
        names: what a person calls the image, such as the name of its file; None where the data set
            has no names, and in published records.
    """

    clients: Integers
    patients: Integers
    rows: Integers | None = None
    names: NDArray[np.str_] | None = None


RANKED: Mapping[str, float] = {
    "the worst": 1.0,
    "95th percentile": 0.95,
    "typical": 0.5,
    "lower quarter": 0.25,
}
"""Victims of whom pictures are kept beside a record, in order: what they are called, and which
share of the victims leaks at most as much. Their pictures are the arrays ``ranked_originals``,
``ranked_reconstructions`` and ``ranked_trivial``, and their places among the victims are
``ranked_rows``."""


def ranked_places(count: int) -> list[int]:
    """Return the places of the :data:`RANKED` victims among so many, sorted by rising leakage.

    Examples:
        >>> ranked_places(200)
        [199, 189, 99, 49]
    """
    return [math.ceil(share * count) - 1 for share in RANKED.values()]


@dataclass(frozen=True)
class ImageMeasures:
    """Measures of reconstructions against their victims; each has shape (N,).

    Attributes:
        mse: mean squared error, images in [0, 1].
        psnr: decibels, at most 100.
        ssim: in [-1, 1]; the error that skill is made of is ``1 - ssim``.
        lpips: perceptual distance; None where LPIPS had no weights.
        structure: chance to be picked out of a gallery by shapes alone, in [0, 1]; None in records
            up to protocol 4, or where identification was not measured.
        pixel: the same by mean squared error.
        leakage: leakage of the image; None where it was not measured, and of a reference.
    """

    mse: Floats
    psnr: Floats
    ssim: Floats
    lpips: Floats | None = None
    structure: Floats | None = None
    pixel: Floats | None = None
    leakage: Floats | None = None


@dataclass(frozen=True)
class ImageAnswers:
    """What the honest model answered for each image, beside the truth.

    Attributes:
        labels: (N,), classes; None for segmentation.
        outputs: (N, K) float32, the model's logits; None for segmentation.
        jaccard: (N,), intersection over union of the masks; None for classification.
        dice: (N,), Dice coefficient of the masks; None for classification.
    """

    labels: Integers | None = None
    outputs: NDArray[np.float32] | None = None
    jaccard: Floats | None = None
    dice: Floats | None = None


@dataclass(frozen=True)
class ImageSetValues:
    """Values of one set of images.

    Attributes:
        images: which images they are; None in records up to protocol 4.
        attack: the attack's measures; None for a cell without an attack.
        reference: per measure, those of the blind attacker that skill compares with; None where
            ``attack`` is, and in records up to protocol 4.
        utility: the model's answers; None for training victims, and in records up to protocol 4.
        attacked: rows of ``images`` that ``attack`` and ``reference`` are of, increasing; None for
            all of them.
    """

    images: ImageList | None
    attack: ImageMeasures | None = None
    reference: ImageMeasures | None = None
    utility: ImageAnswers | None = None
    attacked: Integers | None = None


@dataclass(frozen=True)
class PerImageValues:
    """All values per image of one cell, as far as it got.

    Attributes:
        training: of the training victims; None where they are not scored.
        held_out: of the held-out images; None where nothing was measured.
    """

    training: ImageSetValues | None = None
    held_out: ImageSetValues | None = None

    def without_identities(self, *, rows: bool) -> PerImageValues:
        """Return the values as they may be published: no names, and patients numbered anew.

        Args:
            rows: whether rows are kept; those of a secret partition would tell it.
        """
        numbers: dict[int, int] = {}

        def public(values: ImageSetValues | None) -> ImageSetValues | None:
            if values is None or values.images is None:
                return values
            own = [numbers.setdefault(one, len(numbers)) for one in values.images.patients.tolist()]
            images = replace(
                values.images,
                patients=np.array(own, np.int64),
                rows=values.images.rows if rows else None,
                names=None,
            )
            return replace(values, images=images)

        return PerImageValues(public(self.training), public(self.held_out))


def same_values(one: ImageSetValues | None, other: ImageSetValues | None) -> bool:
    """Return whether two sets hold the same values, whatever is said of which images they are."""

    def same(left: object, right: object) -> bool:
        if is_dataclass(left) and type(left) is type(right):
            return all(
                same(getattr(left, field.name), getattr(right, field.name))
                for field in fields(left)
            )
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
            return np.array_equal(left, right)
        return left is right

    named = [None if own is None else replace(own, images=None) for own in (one, other)]
    return same(*named)
