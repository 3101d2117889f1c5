"""Decodes and resizes image files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from splitsec.data.grey_levels import eight_bits
from splitsec.data.stored_image import read_stored, turned
from splitsec.errors import DataError, reason
from splitsec.progress import Progress

DECODING = 2
"""Changes whenever the same file gives other pixels, so that cached pixels are not used then."""

_THREADS = 4

T = TypeVar("T")
R = TypeVar("R")


def resize(image: Image.Image, size: int, channels: int) -> NDArray[np.uint8]:
    """Return an image as uint8 of shape (channels, size, size), bilinear with antialiasing.

    Transparent images are laid over black.

    Args:
        image: an image of 8 bits per channel.
        size: height and width of the result, pixels.
        channels: 1 (grey) or 3 (RGB).
    """
    mode, converted = "RGB" if channels == 3 else "L", over_black(image)
    if converted.mode != mode:  # else Pillow would copy it, while other threads wait
        converted = converted.convert(mode)
    pixels = np.asarray(converted.resize((size, size), Image.Resampling.BILINEAR))
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def over_black(image: Image.Image) -> Image.Image:
    """Return a transparent image laid over black, and any other image unchanged."""
    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)


def to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB of shape (3, H, W) as grey of shape (1, H, W), by the weights of BT.601."""
    grey = np.tensordot(np.array([0.299, 0.587, 0.114]), image, 1)
    return np.rint(grey)[None].astype(np.uint8)


def decode_file(path: Path, size: int, channels: int, bits: int = 0) -> NDArray[np.uint8]:
    """Read one image file as a viewer shows it, and resize it, see :func:`resize`.

    Args:
        path: a file of one picture.
        size: height and width of the result, pixels.
        channels: 1 (grey) or 3 (RGB).
        bits: how many bits of grey values that are stored in 16 are used, see
            :func:`splitsec.data.grey_levels.eight_bits`.

    Raises:
        DataError: the file is missing, damaged, truncated, too large, not an image, has several
            frames or pages, or its values for black and white are unknown.
    """
    mode = "RGB" if channels == 3 else "L"
    stored = read_stored(path, "image", draft=(mode, 2 * size))
    try:
        return resize(turned(eight_bits(stored, bits), stored.turn), size, channels)
    except (DataError, ValueError) as error:
        raise DataError(f"cannot use the image {path}: {reason(error)}") from error


def in_threads(
    name: str, items: Sequence[T], read: Callable[[T], R], progress: Progress
) -> Iterator[R]:
    """Yield what ``read`` returns for each item, in order; a few threads read ahead.

    Args:
        name: name of the stage that is shown.
        items: what is read.
        read: reads one item.
        progress: shows how many have been read.
    """
    with progress.stage(name, len(items)) as stage, ThreadPoolExecutor(_THREADS) as pool:
        for made in pool.map(read, items):
            yield made
            stage.advance()


def decode_files(
    paths: Sequence[Path], size: int, channels: int, progress: Progress, bits: int = 0
) -> NDArray[np.uint8]:
    """Read image files in a few threads, see :func:`decode_file`.

    Returns:
        Images in the order of the paths, shape (n, channels, size, size).
    """
    images = np.empty((len(paths), channels, size, size), np.uint8)
    read = partial(decode_file, size=size, channels=channels, bits=bits)
    for row, image in enumerate(in_threads("reading images", paths, read, progress)):
        images[row] = image
    return images
