"""Image files as cameras and tools write them."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION = 274  # tag of EXIF and TIFF
LOSSLESS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP", "lossless": True},
    "tif": {"format": "TIFF"},
    "lzw.tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "jpg": {"format": "JPEG", "quality": 100, "subsampling": 0},  # nearly
}


def scene(width: int = 32, height: int = 24) -> Image.Image:
    """Return a smooth picture of which no turn or reflection looks like another."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / (width - 1), 255 * y / (height - 1)
    blue = 255 * np.exp(-((x - width / 5) ** 2 + (y - height / 4) ** 2) / 30)
    return Image.fromarray(np.stack([red, green, blue], 2).astype(np.uint8))


def noise(width: int = 96, height: int = 80, seed: int = 0) -> Image.Image:
    """Return a picture that does not compress well."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def shown(image: Image.Image, orientation: int) -> Image.Image:
    """Return what a viewer makes of stored pixels, from the definition in EXIF 2.32.

    The orientation says where the stored row 0 and column 0 are seen: 6 is "right, top", so that
    the first row is the right side and the first column the top.
    """
    pixels = np.asarray(image)
    if orientation in (5, 6, 7, 8):  # rows are seen as columns
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):  # seen from the bottom
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):  # seen from the right
        pixels = pixels[:, ::-1]
    return Image.fromarray(np.ascontiguousarray(pixels))


def encoded(image: Image.Image, orientation: int | None = None, **options: Any) -> bytes:
    """Return the bytes of an image file, with an EXIF orientation if one is given."""
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = orientation
    stream = BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def several(count: int, **options: Any) -> bytes:
    """Return a file of several different frames or pages."""
    frames = [noise(seed=seed) for seed in range(count)]
    return encoded(frames[0], save_all=True, append_images=frames[1:], **options)


def tiff(pixels: NDArray[Any], sample_format: int = 1, white_is_zero: bool = False) -> bytes:
    """Return a grey TIFF without compression, in the byte order of its pixels.

    Args:
        pixels: shape (H, W), of any type of numbers.
        sample_format: 1 for unsigned, 2 for signed integers, 3 for floats.
        white_is_zero: whether 0 is white.
    """
    big = pixels.dtype.byteorder == ">"
    order, mark = (">", b"MM\0*") if big else ("<", b"II*\0")
    height, width = pixels.shape
    data = pixels.tobytes()
    tags = {256: width, 257: height, 258: 8 * pixels.dtype.itemsize, 259: 1}
    tags |= {262: 0 if white_is_zero else 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    tags |= {339: sample_format}
    entries = b"".join(
        np.array([tag, 4], f"{order}u2").tobytes() + np.array([1, value], f"{order}u4").tobytes()
        for tag, value in sorted(tags.items())
    )
    start = np.array(8 + len(data), f"{order}u4").tobytes()
    count = np.array(len(tags), f"{order}u2").tobytes()
    return mark + start + data + count + entries + bytes(4)
