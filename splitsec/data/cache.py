"""Caches decoded, resized images and masks: one memory-mapped array per data set and size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitsec.errors import OutputError
from splitsec.files import sha256_of, write_atomically, write_text
from splitsec.folders import cache_folder
from splitsec.progress import Joined, Progress, Silent

PORTION = 500
"""Images, the most that an interruption loses, of those that have a file each."""


Decode = Callable[[slice, Progress], NDArray[np.uint8]]
"""Returns the images of some rows, shape (n, C, H, W), and shows how many are done."""


def cached_images(
    key: dict[str, Any], make: Callable[[], NDArray[np.uint8]], progress: Progress
) -> NDArray[np.uint8]:
    """Return images from the cache, or make and keep them.

    A file whose hash differs from the one beside it is reported and made again. If the folder
    cannot be written, that is reported, and the images are used without being kept.

    Args:
        key: JSON values of everything that decides the images.
        make: decodes them, shape (N, C, H, W).
        progress: receives messages about a damaged file or an unwritable folder.

    Returns:
        A read-only memory map, or the array itself if it could not be kept.
    """
    file = _file(key)
    kept = _read(file, progress)
    return _keep(file, make(), progress) if kept is None else kept


def cached_in_portions(
    key: dict[str, Any], count: int, portion: int, decode: Decode, progress: Progress
) -> NDArray[np.uint8]:
    """Return images as :func:`cached_images` does, and keep each portion as soon as it is decoded.

    Decoding that was interrupted goes on with the first portion that is not kept.

    Args:
        key: JSON values of everything that decides the images.
        count: number of images.
        portion: how many are decoded and kept at a time.
        decode: decodes some of them; an image depends only on its row.
        progress: shows the stage of the portions as one, and see :func:`cached_images`.

    Returns:
        Shape (count, C, H, W), see :func:`cached_images`.
    """
    rows = [slice(first, min(first + portion, count)) for first in range(0, count, portion or 1)]
    if len(rows) < 2:
        return cached_images(key, partial(decode, slice(count), progress), progress)
    files = [_file(key | {"from": one.start, "to": one.stop}) for one in rows]

    def joined() -> NDArray[np.uint8]:
        found = [_read(file, progress) for file in files]
        left = sum(
            one.stop - one.start for one, kept in zip(rows, found, strict=True) if kept is None
        )
        with Joined(progress, left) as shown:
            return np.concatenate(
                [
                    # That a folder cannot be written is said once, of the whole.
                    _keep(file, decode(one, shown), Silent()) if kept is None else kept
                    for file, one, kept in zip(files, rows, found, strict=True)
                ]
            )

    images = cached_images(key, joined, progress)
    for file in files:
        _forget(file)
    return images


def _file(key: dict[str, Any]) -> Path:
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    return cache_folder() / "images" / f"{name}.npy"


def _sidecar(file: Path) -> Path:
    return file.with_suffix(".sha256")


def _read(file: Path, progress: Progress) -> NDArray[np.uint8] | None:
    try:
        written = _sidecar(file).read_text(encoding="ascii").strip()
        if sha256_of(file) == written:
            return _mapped(file)
    except (OSError, UnicodeDecodeError):  # another process may remove a portion at any time
        return None
    progress.message(f"{file} is damaged; decoding its images again")
    return None


def _mapped(file: Path) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
    return images


def _keep(file: Path, images: NDArray[np.uint8], progress: Progress) -> NDArray[np.uint8]:
    """Write images and return them as a map of the file, or as they are if that is impossible."""
    try:
        _write(file, images)
        return _mapped(file)
    except (OSError, OutputError) as error:
        progress.message(f"decoded images are not kept: {file.parent} cannot be written ({error})")
        return images


def _forget(file: Path) -> None:
    """Remove an array that is part of another one; maps of it stay valid."""
    with suppress(OSError):
        _sidecar(file).unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def _write(file: Path, images: NDArray[np.uint8]) -> None:
    """Write the array and then its hash; one without its hash, or with another, is not read."""
    _sidecar(file).unlink(missing_ok=True)
    write_atomically(file, lambda there: np.save(there, images, allow_pickle=False), flush=False)
    write_text(_sidecar(file), sha256_of(file))
