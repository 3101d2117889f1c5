"""Opening, fitting and summarising single images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from splitsec.data.catalogue import Decoded
from splitsec.errors import DataError
from splitsec.progress import Stage

Fit = Literal["pad", "crop", "stretch"]

SIGNATURE_SIDE = 16
_CHUNK = 64  # images between two reports of progress


def open_image(path: Path) -> Image.Image:
    """Decode a whole image file to RGB or grey, upright.

    Raises:
        DataError: the file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except FileNotFoundError:
        raise DataError(f"image {path} does not exist") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(
            f"image {path} cannot be read ({reason}); replace the file or leave it out"
        ) from None
    if image.mode.startswith(("I", "F")):  # 16 bits and more: keep the range, not the low byte
        values = np.asarray(image, dtype=np.float64)
        highest = 65535.0 if values.max(initial=0.0) > 255 else 255.0
        return Image.fromarray(np.clip(values / highest * 255, 0, 255).astype(np.uint8))
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


def make_square(image: Image.Image, fit: Fit) -> Image.Image:
    """Make an image square: pad with black, crop to the centre, or leave for stretching."""
    width, height = image.size
    if fit == "stretch" or width == height:
        return image
    side = max(width, height) if fit == "pad" else min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))  # outside the image is black


def to_array(image: Image.Image, size: int, channels: int) -> NDArray[np.uint8]:
    """Resize (bilinear, antialiased) and convert to shape (channels, size, size)."""
    image = image.convert("RGB" if channels == 3 else "L")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    values = np.asarray(image, dtype=np.uint8)
    return values.transpose(2, 0, 1) if channels == 3 else values[None]


def signature(image: Image.Image) -> NDArray[np.uint8]:
    """Average an image down to 16x16 grey values, shape (16, 16)."""
    side = (SIGNATURE_SIDE, SIGNATURE_SIDE)
    return np.asarray(image.convert("L").resize(side, Image.Resampling.BOX), dtype=np.uint8)


def decode_files(
    paths: Sequence[Path], size: int, channels: int, fit: Fit, stage: Stage
) -> Decoded:
    """Decode image files in a few threads, in order.

    Args:
        paths: the files.
        size: height and width in pixels.
        channels: 1 or 3.
        fit: how an image that is not square becomes so.
        stage: advanced by one per image.

    Raises:
        DataError: a file cannot be read; the text names it.
    """
    images = np.empty((len(paths), channels, size, size), dtype=np.uint8)
    signatures = np.empty((len(paths), SIGNATURE_SIDE, SIGNATURE_SIDE), dtype=np.uint8)

    def decode(row: int) -> None:
        image = make_square(open_image(paths[row]), fit)
        images[row] = to_array(image, size, channels)
        signatures[row] = signature(image)

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as threads:
        for start in range(0, len(paths), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(paths)))
            for _ in threads.map(decode, chunk):
                stage.advance()
    return Decoded(images, signatures)
