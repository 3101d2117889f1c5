"""Values per image: what the means in a record are made of, in a file beside the record.

A record holds means. Its artifact ``per_image`` holds the value of every image, so that a hospital
finds the patient who leaks most, and statistics can resample images. :func:`load_per_image` reads
it::

    from splitsec.records.per_image import load_per_image

    values = load_per_image("results/fsha-none-resnet-...")
    held_out = values.held_out
    held_out.attack.mse  # (N,) float64, one error per held-out image
    held_out.reference.mse  # (N,), the error of the best guess without seeing anything
    skill = 1 - held_out.attack.mse.mean() / held_out.reference.mse.mean()
    held_out.utility.outputs, held_out.utility.labels  # (N, K) logits and (N,) classes
    held_out.images.rows, held_out.images.patients  # which image, and whose

All arrays of one set of images are in the same order. Cells of the same images have the same
held-out images in the same order. Records up to protocol 4 hold some values inside and are read in
the same way; what they do not have is None.

The file needs numpy alone: ``numpy.load(file, allow_pickle=False)``. It is an npz without
compression, so that equal values give equal bytes. An array is named after its set of images and
its field: ``held_out.rows``, ``held_out.attack.mse``, ``held_out.reference.mse``,
``held_out.utility.outputs``, ``training.attack.mse`` and so on. What is None is left out.
``version`` is the version of this layout.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitsec.errors import DataError
from splitsec.metrics.schema import VictimScores
from splitsec.records.image_values import (
    Floats,
    ImageAnswers,
    ImageList,
    ImageMeasures,
    ImageSetValues,
    PerImageValues,
)
from splitsec.records.record import Record, load_record
from splitsec.records.store import artifact

PER_IMAGE = "per_image"
"""Name of the artifact."""

_VERSION = 1
_CLOSE = 1e-9  # by which a mean may differ from the record's, since sums depend on their order


def load_per_image(where: Record | str | Path) -> PerImageValues:
    """Read the values per image of a record.

    Args:
        where: a record that was read from its folder or has just been made, also a brief one of
            :mod:`splitsec.records.index`; or its ``record.json``; or its folder.

    Returns:
        Its values. Both sets are None for a cell that failed before anything was measured.

    Raises:
        DataError: the record cannot be read; the file of its values is missing, was changed, or
            does not fit the record; or the record has none, such as one from a line of JSON.
    """
    record = where if isinstance(where, Record) else load_record(where)
    if record.seal is None and record.folder is not None:  # a brief one
        record = load_record(record.folder)
    if PER_IMAGE not in record.artifacts:
        return _inside(record)
    if record.folder is None:
        raise DataError(
            f"the values per image of {record.spec.title()} are in a file beside its record, and "
            "this record was read without its folder; read it with "
            'splitsec.load_record("results/...")'
        )
    file = artifact(record.folder, record, PER_IMAGE)
    values = _read(file)
    _check_means(record, values, file)
    return values


def per_image_bytes(values: PerImageValues) -> bytes:
    """Return the content of an artifact; equal values give equal bytes."""
    arrays = {"version": np.array(_VERSION, "<i8"), **dict(_named(values))}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as members:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy")  # without the time
            info.create_system = 3  # Unix, wherever it is written
            with members.open(info, "w") as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), (1, 0), False)
    return buffer.getvalue()


def read_per_image(content: bytes, where: str) -> PerImageValues:
    """Read the content of an artifact.

    Args:
        content: the file's bytes, whoever wrote them; reading them runs no code.
        where: names it in errors.

    Raises:
        DataError: it is not what :func:`per_image_bytes` makes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            if any(one.compress_type != zipfile.ZIP_STORED for one in members.infolist()):
                raise ValueError("it is compressed")  # a small file could expand to any size
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return _Arrays({name: archive[name] for name in archive.files}).values()
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{where} does not hold values per image: {error}") from None


def _read(file: Path) -> PerImageValues:
    """Read a file whose name is the hash of its content.

    Raises:
        DataError: it is missing, was changed, or holds something else.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read the values per image at {file}: {error.strerror or error}; copy the "
            "folder 'artifacts' together with the records, or run the cell again with --rerun all"
        ) from None
    if hashlib.sha256(content).hexdigest() != file.stem:
        raise DataError(
            f"the values per image at {file} are damaged: their content is not what the file was "
            "called by; run the cell again with --rerun all"
        )
    return read_per_image(content, str(file))


def _named(values: PerImageValues) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of a file by name; those that are None are left out."""
    for name in ("training", "held_out"):
        own: ImageSetValues | None = getattr(values, name)
        if own is None:
            continue
        groups = ("", own.images), ("attack.", own.attack), ("reference.", own.reference)
        for prefix, group in (*groups, ("utility.", own.utility)):
            for one in fields(group) if group is not None else ():
                array: NDArray[Any] | None = getattr(group, one.name)
                if array is not None:
                    yield f"{name}.{prefix}{one.name}", array


class _Arrays:
    """The arrays of a file, which may be anybody's.

    Args:
        arrays: name to array.

    Raises:
        ValueError: their layout is of another version.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._left = dict(arrays)
        version = self._left.pop("version", None)
        if version is None or version.tolist() != _VERSION:
            raise ValueError(f"its layout is not version {_VERSION}")

    def values(self) -> PerImageValues:
        """Return the values.

        Raises:
            ValueError: an array is missing or unknown, or has another shape or type.
        """
        values = PerImageValues(self._set("training."), self._set("held_out."))
        if self._left:
            raise ValueError(f"it holds an unknown array {min(self._left)!r}")
        return values

    def _set(self, prefix: str) -> ImageSetValues | None:
        if not any(name.startswith(prefix) for name in self._left):
            return None
        clients = self._take(f"{prefix}clients", "i8", None)
        if clients is None:
            raise ValueError(f"it lacks {prefix}clients")
        count = len(clients)
        patients = self._needed(f"{prefix}patients", "i8", count)
        images = ImageList(
            clients=clients,
            patients=patients,
            rows=self._take(f"{prefix}rows", "i8", count),
            names=self._take(f"{prefix}names", "U", count),
        )
        return ImageSetValues(
            images,
            attack=self._measures(f"{prefix}attack.", count),
            reference=self._measures(f"{prefix}reference.", count),
            utility=self._answers(f"{prefix}utility.", count),
        )

    def _measures(self, prefix: str, count: int) -> ImageMeasures | None:
        if not any(name.startswith(prefix) for name in self._left):
            return None
        needed = (self._needed(prefix + name, "f8", count) for name in ("mse", "psnr", "ssim"))
        others = ("lpips", "structure", "pixel", "leakage")
        return ImageMeasures(*needed, *(self._take(prefix + one, "f8", count) for one in others))

    def _answers(self, prefix: str, count: int) -> ImageAnswers | None:
        if not any(name.startswith(prefix) for name in self._left):
            return None
        return ImageAnswers(
            labels=self._take(f"{prefix}labels", "i8", count),
            outputs=self._take(f"{prefix}outputs", "f4", count, dimensions=2),
            jaccard=self._take(f"{prefix}jaccard", "f8", count),
            dice=self._take(f"{prefix}dice", "f8", count),
        )

    def _needed(self, name: str, kind: str, count: int) -> NDArray[Any]:
        array = self._take(name, kind, count)
        if array is None:
            raise ValueError(f"it lacks {name}")
        return array

    def _take(
        self, name: str, kind: str, count: int | None, dimensions: int = 1
    ) -> NDArray[Any] | None:
        """Take an array out of the file; None if it is not there.

        Raises:
            ValueError: its type, its shape or its values are not what they should be.
        """
        array = self._left.pop(name, None)
        if array is None:
            return None
        typed = array.dtype.kind == "U" if kind == "U" else array.dtype == np.dtype(f"<{kind}")
        if not typed or array.ndim != dimensions or count not in (None, len(array)):
            expected = f"{dimensions} dimensions" if count is None else f"{count} rows"
            raise ValueError(
                f"{name} is {array.dtype} of shape {array.shape}; expected {expected} of {kind}"
            )
        if kind.startswith("f") and not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite")
        return array


def _check_means(record: Record, values: PerImageValues, file: Path) -> None:
    """Raise a DataError unless the means of the values are those in the record."""
    for name in ("training", "held_out"):
        scores: VictimScores | None = getattr(record.victims, name, None)
        own: ImageSetValues | None = getattr(values, name)
        attack = None if own is None else own.attack
        if (scores is None) != (attack is None):
            raise DataError(f"{file} and its record do not score the same {name} victims")
        if scores is None or attack is None:
            continue
        for measure in ("mse", "psnr", "ssim", "lpips"):
            stated = getattr(scores.privacy, measure)
            found: Floats | None = getattr(attack, measure)
            mean = None if found is None or not len(found) else float(found.mean())
            expected = None if stated is None else stated.mean
            if mean is None or expected is None:
                fits = mean is expected
            else:
                fits = abs(mean - expected) <= _CLOSE * max(1.0, abs(expected))
            if not fits:
                raise DataError(
                    f"{file} does not fit its record: the mean {name} {measure} is {mean}, and "
                    f"the record says {expected}"
                )


def _inside(record: Record) -> PerImageValues:
    """Return the values that a record up to protocol 4 holds itself.

    Raises:
        DataError: it has scores, and no values of images.
    """
    if record.victims is None:
        return PerImageValues()
    training, held_out = record.victims.training, record.victims.held_out
    return PerImageValues(
        None if training is None else _values_of(record, training), _values_of(record, held_out)
    )


def _values_of(record: Record, scores: VictimScores) -> ImageSetValues:
    privacy = scores.privacy
    found = {
        name: np.array(measure.per_image, np.float64)
        for name in ("mse", "psnr", "ssim", "lpips")
        if (measure := getattr(privacy, name)) is not None and measure.per_image is not None
    }
    if len(found) < 3:
        raise DataError(
            f"{record.spec.title()}: this record has means and no values per image, and names no "
            "file of them; use the record that splitsec eval wrote, with its folder 'artifacts'"
        )
    leakage = scores.leakage.per_image
    return ImageSetValues(
        images=None,
        attack=ImageMeasures(
            **found, leakage=None if leakage is None else np.array(leakage, np.float64)
        ),
    )
