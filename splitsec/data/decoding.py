"""Decoding and resizing image files."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from splitsec.errors import DataError
from splitsec.progress import Progress

_THREADS = 4


def resize(image: Image.Image, size: int, channels: int) -> NDArray[np.uint8]:
    """Return an image as uint8 of shape (channels, size, size), bilinear with antialiasing."""
    converted = image.convert("RGB" if channels == 3 else "L")
    pixels = np.asarray(converted.resize((size, size), Image.Resampling.BILINEAR))
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB of shape (3, H, W) as grey of shape (1, H, W), by the weights of BT.601."""
    grey = np.tensordot(np.array([0.299, 0.587, 0.114]), image, 1)
    return np.rint(grey)[None].astype(np.uint8)


def decode_file(path: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """Read one image file.

    Raises:
        DataError: the file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB" if channels == 3 else "L", (2 * size, 2 * size))
            return resize(image, size, channels)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DataError(f"cannot read the image {path}: {error}") from None


def decode_files(
    paths: Sequence[Path], size: int, channels: int, progress: Progress
) -> NDArray[np.uint8]:
    """Read image files in a few threads, shape (n, channels, size, size)."""
    images = np.empty((len(paths), channels, size, size), np.uint8)
    with (
        progress.stage("reading images", len(paths)) as stage,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        decoded = pool.map(lambda path: decode_file(path, size, channels), paths)
        for row, image in enumerate(decoded):
            images[row] = image
            stage.advance()
    return images
