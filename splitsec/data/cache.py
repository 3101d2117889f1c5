"""Caches decoded, resized images and masks: one memory-mapped array per data set and size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitsec.errors import OutputError
from splitsec.files import sha256_of, write_atomically, write_text
from splitsec.folders import cache_folder
from splitsec.progress import Progress


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
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    file = cache_folder() / "images" / f"{name}.npy"
    kept = _read(file, progress)
    if kept is not None:
        return kept
    images = make()
    try:
        _write(file, images)
    except (OSError, OutputError) as error:
        progress.message(f"decoded images are not kept: {file.parent} cannot be written ({error})")
        return images
    return images


def _sidecar(file: Path) -> Path:
    return file.with_suffix(".sha256")


def _read(file: Path, progress: Progress) -> NDArray[np.uint8] | None:
    try:
        written = _sidecar(file).read_text(encoding="ascii").strip()
        digest = sha256_of(file)
    except (OSError, UnicodeDecodeError):
        return None
    if digest != written:
        progress.message(f"{file} is damaged; decoding its images again")
        return None
    images: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
    return images


def _write(file: Path, images: NDArray[np.uint8]) -> None:
    """Write the array and then its hash; an array without a hash is not read."""
    _sidecar(file).unlink(missing_ok=True)
    write_atomically(file, lambda there: np.save(there, images, allow_pickle=False))
    write_text(_sidecar(file), sha256_of(file))
