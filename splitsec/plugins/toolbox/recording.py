"""Reads traffic that another framework recorded: smashed data with the images that they are of.

A recording is a folder of ``.safetensors`` files. Each holds some exchanges, in the order of the
files' names:

===============  =========================================================
``images``       the originals, (N, C, H, W), uint8 or floats in [0, 1]
``smashed``      what was sent of them, (N, ...)
``labels``       labels that crossed beside them, (N,); or
``kept_labels``  labels that did not cross; they only score
===============  =========================================================

``public.safetensors`` holds the attacker's own ``images`` and ``labels``. An image that was sent
several times counts as it was sent last.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from splitsec.errors import DataError, reason

PUBLIC = "public.safetensors"


class Recording(NamedTuple):
    """Recorded traffic, each image once.

    Attributes:
        images: (N, C, H, W) uint8, in the order in which they were sent first.
        labels: (N,) int64.
        smashed: (N, ...) float32, what was sent last of each.
        labels_crossed: whether the labels were sent, too.
        public: (M, C, H, W) uint8.
        public_labels: (M,) int64.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    smashed: Tensor
    labels_crossed: bool
    public: NDArray[np.uint8]
    public_labels: NDArray[np.int64]


def read_recording(folder: Path) -> Recording:
    """Read a folder of recorded traffic.

    Raises:
        DataError: it is not in the layout, or its tensors do not fit together.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder of recorded traffic at {folder}")
    files = sorted(file for file in folder.glob("*.safetensors") if file.name != PUBLIC)
    if not files:
        raise DataError(f"{folder} holds no .safetensors file with recorded traffic")
    if not (folder / PUBLIC).exists():
        raise DataError(
            f"cannot read recorded traffic at {folder / PUBLIC}: it is missing; it holds images "
            "and labels of the attacker's own, which no client sent"
        )
    public = _read(folder / PUBLIC)
    parts = [_part(file) for file in files]
    crossed = {one.labels_crossed for one in parts}
    if len(crossed) > 1:
        raise DataError(
            f"{folder}: some files have labels that crossed (labels), others labels that did not "
            "(kept_labels); a deployment does one of them"
        )
    shapes = {(one.images.shape[1:], tuple(one.smashed.shape[1:])) for one in parts}
    if len(shapes) > 1:
        listed = " and ".join(f"{images} with {sent}" for images, sent in sorted(shapes)[:2])
        raise DataError(f"{folder}: images and smashed data have several shapes: {listed}")
    images = np.concatenate([one.images for one in parts])
    rows: dict[bytes, int] = {}
    last = [rows.setdefault(image.tobytes(), len(rows)) for image in images]
    first = np.unique(last, return_index=True)[1]
    smashed = torch.cat([one.smashed for one in parts])
    latest = {row: place for place, row in enumerate(last)}
    own = _images(folder / PUBLIC, public)
    if own.shape[1:] != images.shape[1:]:
        raise DataError(
            f"{folder / PUBLIC} has images of shape {own.shape[1:]}, and those of the traffic are "
            f"{images.shape[1:]}"
        )
    labels = np.concatenate([one.labels for one in parts])[first]
    public_labels = _labels(folder / PUBLIC, public, "labels", len(own))
    missing = sorted({*labels.tolist()} - {*public_labels.tolist()})
    if missing:
        raise DataError(
            f"{folder / PUBLIC} has no image of class {', '.join(map(str, missing))}, which the "
            "traffic has: an attacker with images of one kind alone recovers little, and that "
            "would look safe; give it images of every class"
        )
    return Recording(
        images=images[first],
        labels=labels,
        smashed=smashed[[latest[row] for row in range(len(rows))]],
        labels_crossed=crossed == {True},
        public=own,
        public_labels=public_labels,
    )


class _Part(NamedTuple):
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    smashed: Tensor
    labels_crossed: bool


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read recorded traffic at {file}: {reason(error)}") from None


def _part(file: Path) -> _Part:
    given = _read(file)
    images = _images(file, given)
    smashed = given.get("smashed")
    if smashed is None or not smashed.is_floating_point() or len(smashed) != len(images):
        raise DataError(
            f"{file}: smashed must be floats, one for each of the {len(images)} images; it is "
            f"{_kind(smashed)}"
        )
    if not 2 <= smashed.dim() <= 4:
        raise DataError(
            f"{file}: smashed is {_kind(smashed)}; expected maps (N, c, h, w), tokens (N, T, D) or "
            "vectors (N, D)"
        )
    if not torch.isfinite(smashed).all():
        raise DataError(f"{file}: smashed has values that are not finite")
    crossed = "labels" in given
    name = "labels" if crossed else "kept_labels"
    if name not in given:
        raise DataError(
            f"{file} has no labels; give those that crossed as labels, or those that did not as "
            "kept_labels: they are needed to say what the server knows of them"
        )
    return _Part(images, _labels(file, given, name, len(images)), smashed.float(), crossed)


def _images(file: Path, given: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    images = given.get("images")
    if images is None or images.dim() != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise DataError(f"{file}: images must be (N, 1 or 3, H, W); it has {_kind(images)}")
    if images.shape[2] != images.shape[3]:
        raise DataError(f"{file}: images are {_kind(images)}; they must be square")
    if images.is_floating_point():
        if not (images.min() >= 0 and images.max() <= 1):
            raise DataError(
                f"{file}: images are {float(images.min()):.2f} to {float(images.max()):.2f}; store "
                "them as in the file, before normalisation: uint8, or floats in [0, 1]"
            )
        images = (255 * images).round().to(torch.uint8)
    if images.dtype != torch.uint8:
        raise DataError(f"{file}: images are {images.dtype}; expected uint8, or floats in [0, 1]")
    return images.numpy()


def _labels(file: Path, given: Mapping[str, Tensor], name: str, count: int) -> NDArray[np.int64]:
    labels = given.get(name)
    whole = labels is not None and not labels.is_floating_point() and labels.shape == (count,)
    if labels is None or not whole or (count and int(labels.min()) < 0):
        raise DataError(
            f"{file}: {name} must be {count} whole numbers from 0; it has {_kind(labels)}"
        )
    return labels.to(torch.int64).numpy()


def _kind(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"{tensor.dtype} of shape {tuple(tensor.shape)}"
