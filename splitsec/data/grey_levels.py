"""Turns images of more than 8 bits into 8 bits, by a scale that is the same for all images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from splitsec.data.stored_image import StoredImage
from splitsec.errors import DataError

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_FULL_SCALE = ("PPM", "JPEG2000")  # Pillow scales them to 16 bits, as they state their white
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # of TIFF 6.0
_SAMPLE_FORMAT, _SIGNED = 339, 2
_WHITE = 65535
_BRIGHT = 0.01  # share of values in the upper half without which 16 bits are doubted


def eight_bits(stored: StoredImage, bits: int) -> Image.Image:
    """Return an image of 8 bits per channel; 0 stays black.

    Grey of 16 bits is divided by ``(2**bits - 1) / 255``. No image's own brightest value counts,
    because then two images of one exposure would get different scales. Files of 12 bits, PGM and
    JPEG 2000 state what is white.

    Args:
        stored: the pixels of a file.
        bits: how many of 16 bits are used, 8 to 16. If 0, all 16 are, and an image that hardly
            uses the upper half of them is refused, since 12 bits in a file of 16 would be nearly
            black.

    Raises:
        DataError: what is white is unknown, or a value is larger than ``bits`` allow.
    """
    image = stored.image
    tags = getattr(image, "tag_v2", {})
    signed = _SIGNED in np.atleast_1d(tags.get(_SAMPLE_FORMAT, ()))
    if not signed and is_grey_of_16_bits(image):
        return _grey(stored, bits)
    if signed or image.mode.startswith(("I", "F")):
        kind = "floats" if image.mode.startswith("F") else "32-bit or signed integers"
        raise DataError(
            f"its pixels are {kind}, whose values for black and white are unknown; save it with "
            "8 or 16 bits per channel, without a sign, through a window that you would show"
        )
    if stored.sample_bits == 16:
        _refuse_dark_colour(image, bits)
    return image


def shown_values(image: Image.Image) -> NDArray[np.int32] | NDArray[np.float32] | None:
    """Return the values of a grey image, shape (H, W), where larger is brighter; None of a colour.

    The white of one bit is 1. Other values are those of the file, but for TIFF of 16 bits in which
    0 is white: they are subtracted from 65,535.
    """
    if image.mode == "F":
        return np.asarray(image).astype(np.float32)
    if image.mode not in ("1", "L", *_SIXTEEN_BITS, "I") or "transparency" in image.info:
        return None
    values = np.asarray(image).astype(np.int32)
    if is_grey_of_16_bits(image) and _zero_is_white(image):
        return _WHITE - values
    return values


def is_grey_of_16_bits(image: Image.Image) -> bool:
    """Return whether an image has one channel of 16 bits without a sign."""
    # Older Pillow reads PNG of 16 bits as mode "I"; all read PGM of 16 bits so.
    return image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _grey(stored: StoredImage, bits: int) -> Image.Image:
    image = stored.image
    values: NDArray[Any] = np.asarray(image).astype(np.int64)
    if image.format in _FULL_SCALE:
        white = _WHITE
    elif stored.sample_bits < 16:
        white = 2**stored.sample_bits - 1
    else:
        white = 2 ** (bits or 16) - 1
    largest = int(values.max())
    if largest > white:
        raise DataError(
            f"it has a grey value of {largest:,}, but bits={bits} says that white is {white:,}"
        )
    certain = bits or image.format in _FULL_SCALE or stored.sample_bits < 16
    if not certain and float((values > _WHITE // 2).mean()) < _BRIGHT:
        used = max(8, largest.bit_length())
        raise DataError(
            "it stores grey in 16 bits and hardly uses the upper half of them (largest value "
            f"{largest:,}), so its white is unclear; say how many bits are used: --data folder "
            f"with bits={used} if white is {2**used - 1:,}, or bits=16 if it is {_WHITE:,}"
        )
    if _zero_is_white(image):
        values = white - values
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values[values == transparent] = 0
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))


def _refuse_dark_colour(image: Image.Image, bits: int) -> None:
    """Refuse colour of 16 bits, of which Pillow keeps the upper 8, if these are hardly used."""
    bright = (np.asarray(image.convert("RGB")) > 127).any(2).mean()
    if bits in (0, 16) and (bits or bright >= _BRIGHT):
        return
    raise DataError(
        "it stores colour in 16 bits, of which the upper 8 are read, and white may be less than "
        f"{_WHITE:,}; save it with 8 bits per channel, or say bits=16 if white is {_WHITE:,}"
    )


def _zero_is_white(image: Image.Image) -> bool:
    """Return whether a TIFF says that 0 is white; Pillow inverts 8 bits and fewer itself."""
    return bool(getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO)
