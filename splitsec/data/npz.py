"""Reads headers and single rows of arrays in an ``.npz`` archive, without the whole array.

Members of an archive are usually deflated and cannot be memory-mapped. Rows are therefore read in
one pass, from the first to the last, and only the wanted ones are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_BLOCK_BYTES = 1 << 20
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class ArrayHeader(NamedTuple):
    """The header of an array.

    Attributes:
        shape: shape of the whole array.
        by_columns: whether the first axis varies fastest (Fortran order).
        dtype: type of its values.
    """

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of one entry of the first axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def array_header(archive: ZipFile, name: str) -> ArrayHeader:
    """Return the header of an array, without reading the array.

    Args:
        archive: an open ``.npz`` file.
        name: name of the array, without ``.npy``.

    Raises:
        ValueError: there is no such array, it holds Python objects, or it is truncated. Errors of
            :mod:`zipfile` and numpy about a damaged archive pass through.
    """
    with _opened(archive, name) as (_, header):
        return header


def read_array(archive: ZipFile, name: str) -> NDArray[Any]:
    """Return a whole array.

    Raises:
        ValueError: see :func:`array_header`.
    """
    with _opened(archive, name) as (stream, header):
        content = stream.read()
    values = np.frombuffer(content, header.dtype)
    return values.reshape(header.shape, order="F" if header.by_columns else "C")


def read_rows(archive: ZipFile, name: str, wanted: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    """Yield some rows of an array, each of shape ``header.shape[1:]``, one at a time.

    The whole array is read, so that its checksum is compared, but only one row is kept at a time.

    Args:
        archive: an open ``.npz`` file.
        name: name of the array, without ``.npy``.
        wanted: positions of rows, ascending.

    Raises:
        ValueError: see :func:`array_header`.
    """
    with _opened(archive, name) as (stream, header):
        if not header.by_columns:
            following, content = 0, b""
            for row in wanted.tolist():
                if row >= following:
                    _skip(stream, (row - following) * header.row_bytes)
                    content, following = stream.read(header.row_bytes), row + 1
                yield np.frombuffer(content, header.dtype).reshape(header.shape[1:])
            _skip(stream, (header.shape[0] - following) * header.row_bytes)
            stream.read(1)  # zipfile compares the checksum at the end
            return
    yield from read_array(archive, name)[wanted]


def _skip(stream: IO[bytes], count: int) -> None:
    while count > 0:
        count -= len(stream.read(min(count, _BLOCK_BYTES))) or count


@contextmanager
def _opened(archive: ZipFile, name: str) -> Iterator[tuple[IO[bytes], ArrayHeader]]:
    """Open an array and read past its header."""
    member = f"{name}.npy"
    if member not in archive.namelist():
        raise ValueError(f"it has no array {name}")
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        if version not in _READERS:
            raise ValueError(f"{name} is an array of structures")
        header = ArrayHeader(*_READERS[version](stream))
        if header.dtype.hasobject:
            raise ValueError(f"{name} holds Python objects, which are not read")
        held = archive.getinfo(member).file_size - stream.tell()
        stated = math.prod(header.shape) * header.dtype.itemsize
        if held != stated:
            raise ValueError(
                f"{name} has {held} bytes where its shape {header.shape} needs {stated}"
            )
        yield stream, header
