"""Reads files in MedMNIST's layout: one ``.npz`` with images and labels of three splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from splitsec.data.npz import ArrayHeader, array_header, read_array, read_rows
from splitsec.datasets.medmnist.sets import SIZES, MedMnistSet
from splitsec.errors import DataError, reason
from splitsec.plugins.source import TEST, TRAIN, VALIDATION

POOLS = {"train": TRAIN, "val": VALIDATION, "test": TEST}
"""The publishers' splits, by the names of their arrays, to the pools of a catalogue."""

_BLOCK_BYTES = 1 << 20
_MOST_CLASSES = 1000  # of a set without a description; more would be measurements, not classes


class MedMnistFile(NamedTuple):
    """A checked file; its images have not been read.

    Attributes:
        path: path of the file.
        labels: labels of all splits in order, shape (N,); shape (N, findings), 0 or 1, if an image
            may have several.
        lengths: split to number of images.
        extent: height and width of the images in pixels.
        sha256: SHA-256 of the file.
        md5: MD5 of the file, the checksum that MedMNIST states.
    """

    path: Path
    labels: NDArray[np.int64]
    lengths: dict[str, int]
    extent: tuple[int, int]
    sha256: str
    md5: str

    @property
    def pools(self) -> NDArray[np.str_]:
        """The pool of each image, shape (N,)."""
        return np.repeat(list(POOLS.values()), [self.lengths[split] for split in POOLS])


def read_file(path: Path, known: MedMnistSet) -> MedMnistFile:
    """Check a file and read its labels, and only the headers of its images.

    Args:
        path: the ``.npz`` file.
        known: the set that it should hold.

    Raises:
        DataError: the file cannot be read, or does not hold this set.
    """
    sha256, md5 = _checksums(path)
    with _unpacking(path, known) as archive:
        headers = {split: array_header(archive, f"{split}_images") for split in POOLS}
        stored = {split: read_array(archive, f"{split}_labels") for split in POOLS}
    for split, header in headers.items():
        _check_images(header, split, path, known)
    if len({header.shape[1:] for header in headers.values()}) > 1:
        raise DataError(f"{path}: the splits have images of different sizes")
    columns = {split: _columns(stored[split], split, path, known) for split in POOLS}
    for split, labels in columns.items():
        _check_labels(labels, headers[split].shape[0], split, path, known)
    if len({labels.shape[1:] for labels in columns.values()}) > 1:
        raise DataError(f"{path}: the splits have different numbers of labels per image")
    lengths = {split: header.shape[0] for split, header in headers.items()}
    height, width = headers["train"].shape[1:3]
    labels = np.concatenate(list(columns.values())).astype(np.int64)
    return MedMnistFile(path, labels, lengths, (height, width), sha256, md5)


def read_images(
    file: MedMnistFile, known: MedMnistSet, keys: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield some images, one at a time, in the order of the file.

    Args:
        file: the file to read.
        known: the set that it holds.
        keys: positions among the images of all splits in order.

    Yields:
        Position in ``keys``, and the image, uint8 of shape (height, width) or (height, width, 3).

    Raises:
        DataError: the images cannot be read.
    """
    order = np.argsort(np.asarray(keys, np.int64), kind="stable")
    ascending = np.asarray(keys, np.int64)[order]
    start = 0
    with _unpacking(file.path, known) as archive:
        for split, length in file.lengths.items():
            first, last = np.searchsorted(ascending, [start, start + length])
            if first < last:
                rows = read_rows(archive, f"{split}_images", ascending[first:last] - start)
                # Strict, so that the rows are read to the end, which compares the checksum.
                yield from zip(order[first:last].tolist(), rows, strict=True)
            start += length


def _checksums(path: Path) -> tuple[str, str]:
    """Return a file's SHA-256 and MD5, read once."""
    # Systems under FIPS rules allow MD5 only if it is not used for security.
    sha256, md5 = hashlib.sha256(), hashlib.new("md5", usedforsecurity=False)
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                sha256.update(block)
                md5.update(block)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from None
    return sha256.hexdigest(), md5.hexdigest()


@contextmanager
def _unpacking(path: Path, known: MedMnistSet) -> Iterator[ZipFile]:
    """Open a file, and turn errors of unpacking into ones that name it and say what to do."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from None
    try:
        with stream, ZipFile(stream) as archive:
            yield archive
    except Exception as error:  # zip, deflate and numpy's headers each raise their own
        what, cure = f"a set in MedMNIST's layout: {reason(error)}", "replace it, or delete it"
        if known.official:
            what = f"{known.title}: {reason(error)}"
            cure = f"replace it by {known.file_name(SIZES[0])} of medmnist.com, or delete it"
        raise DataError(f"{path} is not {what}; {cure}") from error


def _check_images(header: ArrayHeader, split: str, path: Path, known: MedMnistSet) -> None:
    channels = {3: 1, 4: 3}.get(len(header.shape), 0)
    if len(header.shape) == 4 and header.shape[3] != 3:
        channels = 0
    due = known.channels or channels
    if channels and due == channels and header.dtype == np.uint8 and 0 not in header.shape[1:]:
        return
    shapes = {1: "(N, height, width)", 3: "(N, height, width, 3)"}
    wanted = shapes.get(due, " or ".join(shapes.values()))
    volumes = len(header.shape) == 5 or (
        len(header.shape) == 4 and len(set(header.shape[1:])) == 1 and header.shape[1] > 4
    )
    raise DataError(
        f"{path}: {split}_images is {header.dtype} of shape {header.shape}, not uint8 of {wanted}"
        + ("; these look like volumes, and only 2D sets can be used" if volumes else "")
    )


def _columns(labels: NDArray[Any], split: str, path: Path, known: MedMnistSet) -> NDArray[Any]:
    """Return labels of shape (N,), or (N, findings) if an image may have several."""
    if known.findings:
        due = len(known.classes or ())
        if labels.ndim != 2 or labels.shape[1] != due:
            raise DataError(f"{path}: {split}_labels is of shape {labels.shape}, not (N, {due})")
        return labels
    if not known.official and labels.ndim == 2 and labels.shape[1] > 1:
        return labels
    return labels.reshape(-1)


def _check_labels(
    labels: NDArray[Any], images: int, split: str, path: Path, known: MedMnistSet
) -> None:
    if images != len(labels) or images == 0:
        raise DataError(f"{path}: {split} has {images} images and {len(labels)} labels")
    if labels.dtype.kind not in "iuf":
        raise DataError(f"{path}: {split}_labels is {labels.dtype}, not whole numbers")
    most = 1 if labels.ndim == 2 else len(known.classes or range(_MOST_CLASSES)) - 1
    wrong = np.argwhere(~np.isin(labels, range(most + 1)))
    if len(wrong):
        found = f"{labels[tuple(wrong[0])]} (row {wrong[0][0]})"
        raise DataError(f"{path}: {split}_labels holds {found}, which is not one of 0 to {most}")
