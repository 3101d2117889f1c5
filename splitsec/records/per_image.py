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
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitsec.data.npz import read_array
from splitsec.errors import DataError
from splitsec.metrics.schema import VictimScores
from splitsec.records.artifacts import artifact
from splitsec.records.bounded import read_regular
from splitsec.records.checking_values import check_values
from splitsec.records.image_values import (
    ImageAnswers,
    ImageList,
    ImageMeasures,
    ImageSetValues,
    PerImageValues,
)
from splitsec.records.reading import load_record
from splitsec.records.record import Record

PER_IMAGE = "per_image"
"""Name of the artifact."""

_VERSION = 1
_LARGEST = 100_000_000  # bytes of a file
_HEADERS = 100_000  # bytes
_PER_IMAGE = 8_000  # bytes, most of them for the name of a file in four bytes a letter
_ARRAYS = 50
_LAST_LETTER = 0x10FFFF


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
    values = _read(file, _most_bytes(record))
    problem = check_values(record, values)
    if problem:
        raise DataError(f"{file} does not fit its record: {problem}")
    return values


def check_per_image(record: Record) -> None:
    """Check the file of a record's values per image, if it is there.

    Raises:
        DataError: it is damaged, or does not fit the record.
    """
    if PER_IMAGE not in record.artifacts or record.folder is None:
        return
    if artifact(record.folder, record, PER_IMAGE).exists():
        load_per_image(record)


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
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = _names(archive, len(content))
            return _Arrays({name: read_array(archive, name) for name in names}).values()
    except (ValueError, OSError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile) as error:
        raise DataError(f"{where} does not hold values per image: {error}") from None


def _names(archive: zipfile.ZipFile, size: int) -> list[str]:
    """Return the names of the arrays of a file.

    Raises:
        ValueError: it could hold more than its own size: members are compressed or overlap.
    """
    members = archive.infolist()
    if any(one.compress_type != zipfile.ZIP_STORED for one in members):
        raise ValueError("it is compressed")
    if len(members) > _ARRAYS or sum(one.file_size for one in members) > size:
        raise ValueError("it holds more than it should")
    names = [one.filename.removesuffix(".npy") for one in members]
    if len(set(names)) < len(names):
        raise ValueError("an array is in it twice")
    return names


def _most_bytes(record: Record) -> int:
    """Return how large the file of a record's values per image may be."""
    victims, utility = record.victims, record.utility
    scored = [] if victims is None else [victims.training, victims.held_out]
    images = sum(one.count for one in scored if one is not None)
    images += 0 if utility is None else utility.n
    classes = record.data.get("classes", ())
    return min(_LARGEST, _HEADERS + images * (_PER_IMAGE + 4 * len(classes)))


def _read(file: Path, most: int) -> PerImageValues:
    """Read a file whose name is the hash of its content.

    Raises:
        DataError: it is missing, was changed, or holds something else.
    """
    try:
        content = read_regular(file, most)
    except ValueError as error:
        raise DataError(f"cannot read the values per image at {file}: {error}") from None
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
        if own.attacked is not None:
            yield f"{name}.attacked", own.attacked
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
        attacked = self._rows(f"{prefix}attacked", count)
        scored = count if attacked is None else len(attacked)
        return ImageSetValues(
            images,
            attack=self._measures(f"{prefix}attack.", scored),
            reference=self._measures(f"{prefix}reference.", scored),
            utility=self._answers(f"{prefix}utility.", count),
            attacked=attacked,
        )

    def _rows(self, name: str, count: int) -> NDArray[Any] | None:
        rows = self._take(name, "i8", None)
        if rows is None:
            return None
        inside = rows.min(initial=0) >= 0 and rows.max(initial=-1) < count
        if not inside or (np.diff(rows) <= 0).any():
            raise ValueError(f"{name} are no increasing rows of {count} images")
        return rows

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
        if kind == "U" and np.frombuffer(array, "<u4").max(initial=0) > _LAST_LETTER:
            raise ValueError(f"{name} holds something other than letters")
        return array


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
    if not {"mse", "psnr", "ssim"} <= found.keys():
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
