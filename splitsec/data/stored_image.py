"""Opens image files: one picture, whole, with the turn that its EXIF orientation asks for."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from splitsec.data.truncation import format_of, refuse_truncated
from splitsec.errors import DataError, reason

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Not EPS, for which Pillow starts an interpreter, nor formats that do not show their end.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000")
_SWAPS_SIDES = (5, 6, 7, 8)
_SUBFILE_TYPE, _REDUCED = 254, 1
_STRIPS, _TILES = (273, 279), (324, 325)  # TIFF tags of offsets and lengths
_PNG_DEPTH = 24  # offset of the bit depth in a PNG


class StoredImage(NamedTuple):
    """The pixels of a file as they are stored.

    Attributes:
        image: the decoded image, in Pillow's mode for the file.
        turn: what shows it upright, or None if it is stored so.
        sample_bits: bits of each channel in the file; 8 for formats other than PNG and
            TIFF, whatever they store.
    """

    image: Image.Image
    turn: Image.Transpose | None
    sample_bits: int


def read_stored(path: Path, kind: str, draft: tuple[str, int] | None = None) -> StoredImage:
    """Read the only picture of a file.

    Args:
        path: the file.
        kind: what the file is, for errors: "image" or "mask".
        draft: mode and least side in pixels that are needed; a JPEG is then decoded at a
            fraction of its size.

    Raises:
        DataError: the file is missing, damaged, truncated, too large, not an image, or has
            several frames or pages.
    """
    try:
        content = path.read_bytes()
        refuse_truncated(content)
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            _refuse_several(image)
            _refuse_missing_pixels(image, len(content))
            if draft is not None:
                image.draft(draft[0], (draft[1], draft[1]))
            image.load()
            # Pillow turns a TIFF when it loads the pixels, and says so by taking the tag away.
            turn = _TURNS.get(_orientation(image))
            return StoredImage(image, turn, _sample_bits(image, content))
    except Exception as error:  # Pillow's decoders raise many types on damaged bytes
        why = _unidentified(content) if isinstance(error, UnidentifiedImageError) else _why(error)
        raise DataError(f"cannot read the {kind} {path}: {why}") from error


def turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """Return an image as a viewer shows it."""
    return image if turn is None else image.transpose(turn)


def upright_size(path: Path) -> tuple[int, int]:
    """Return the width and height of a file's picture as a viewer shows it, without decoding it.

    Raises:
        DataError: the file is missing or not an image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            size = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # whose size may be turned already
                size = image.tag_v2[256], image.tag_v2[257]
            swapped = _orientation(image) in _SWAPS_SIDES
    except Exception as error:  # Pillow's decoders raise many types on damaged bytes
        raise DataError(f"cannot read the image {path}: {_why(error)}") from error
    return (size[1], size[0]) if swapped else size


def _why(error: Exception) -> str:
    """Return what is wrong with a file, in words for a person who did not write it."""
    said = reason(error)
    if isinstance(error, Image.DecompressionBombError):
        return f"it has too many pixels; at most {2 * (Image.MAX_IMAGE_PIXELS or 0):,} are read"
    if isinstance(error, DataError) or "truncated" not in said.lower():
        return said
    return f"it is truncated: {said[0].lower()}{said[1:]}"


def _unidentified(content: bytes) -> str:
    known = format_of(content)
    if known is None:
        return "it is of no known format; PNG, JPEG, TIFF, BMP, WebP and GIF are read"
    return f"it begins as {known}, but is damaged or of a kind of {known} that is not supported"


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, or 1 if the file states none that is valid."""
    try:
        stated: Any = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # viewers show a picture whose EXIF data are damaged as it is stored
        return 1
    return stated if isinstance(stated, int) and stated in _TURNS else 1


def _refuse_several(image: Image.Image) -> None:
    """Raise a DataError if a file holds more than one picture.

    Smaller versions of the first one do not count: pages of a TIFF that say so, and previews
    and brightness maps that phones put behind a JPEG (MPO).
    """
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format in ("MPO", "TIFF"):
        size = image.size
        smaller = 0
        for frame in range(1, count):
            image.seek(frame)
            tags = getattr(image, "tag_v2", {})
            reduced = tags.get(_SUBFILE_TYPE, 0) & _REDUCED
            preview = image.format == "MPO" and image.width * image.height < size[0] * size[1]
            smaller += bool(reduced or preview)
        image.seek(0)
        count -= smaller
    if count > 1:
        raise DataError(
            f"it has {count} frames or pages, and one is expected; save the one that counts as a "
            "file of its own"
        )


def _refuse_missing_pixels(image: Image.Image, length: int) -> None:
    """Raise a DataError if strips or tiles of a TIFF lie beyond the end of the file."""
    tags = getattr(image, "tag_v2", {})
    for offsets, lengths in (_STRIPS, _TILES):
        starts, sizes = (np.atleast_1d(tags.get(tag, ())) for tag in (offsets, lengths))
        if len(starts) == len(sizes) > 0 and (needs := int((starts + sizes).max())) > length:
            raise DataError(
                f"it is truncated: its pixels need {needs:,} bytes of file, and it has {length:,}"
            )


def _sample_bits(image: Image.Image, content: bytes) -> int:
    if image.format == "PNG":
        return content[_PNG_DEPTH]
    stated = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE, (8,))
    return int(max(np.atleast_1d(stated)))
