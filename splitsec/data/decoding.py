"""Decodes and resizes image files."""

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
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF 6.0


def resize(image: Image.Image, size: int, channels: int) -> NDArray[np.uint8]:
    """Return an image as uint8 of shape (channels, size, size), bilinear with antialiasing.

    Transparent images are laid over black. Grey images of 16 bits are divided by 257, so that
    65,535 becomes 255.

    Raises:
        DataError: the pixels are floats or 32-bit integers, whose black and white are unknown.
    """
    converted = _over_black(_eight_bits(image)).convert("RGB" if channels == 3 else "L")
    pixels = np.asarray(converted.resize((size, size), Image.Resampling.BILINEAR))
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return grey of more than 8 bits as 8 bits, other images unchanged."""
    # Older Pillow reads PNG of 16 bits as mode "I"; it scales PGM to 0..65,535 in that mode.
    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.int64)
        tags = getattr(image, "tag_v2", {})
        white = 4095 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            values = white - values
        return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))
    if image.mode.startswith(("I", "F")):
        kind = "floats" if image.mode.startswith("F") else "32-bit or signed integers"
        raise DataError(
            f"its pixels are {kind}, whose values for black and white are unknown; "
            "save it with 8 or 16 bits per channel"
        )
    return image


def _over_black(image: Image.Image) -> Image.Image:
    """Lay a transparent image over black."""
    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)


def to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB of shape (3, H, W) as grey of shape (1, H, W), by the weights of BT.601."""
    grey = np.tensordot(np.array([0.299, 0.587, 0.114]), image, 1)
    return np.rint(grey)[None].astype(np.uint8)


def decode_file(path: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """Read one image file and resize it, see :func:`resize`.

    Raises:
        DataError: the file is missing, damaged, too large, not an image, or of unknown range.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB" if channels == 3 else "L", (2 * size, 2 * size))
            image.load()
    except UnidentifiedImageError:
        raise DataError(f"cannot read the image {path}: it is of no known format") from None
    except Exception as error:  # Pillow's decoders raise many types on damaged bytes
        raise DataError(f"cannot read the image {path}: {reason(error)}") from error
    try:
        return resize(image, size, channels)
    except (DataError, ValueError) as error:
        raise DataError(f"cannot use the image {path}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return the message of an exception on one line, or its type's name if it has none."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()).rstrip(".") or type(error).__name__


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
