"""Images of more than 8 bits: one scale for all of them, or a sentence that asks for it."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from splitsec.data.decoding import decode_file
from splitsec.errors import DataError
from support.pictures import encoded, tiff

SIZE = 16


def ramp(white: int, dtype: Any = np.uint16) -> NDArray[Any]:
    values = np.linspace(0, white, SIZE * SIZE).round().reshape(SIZE, SIZE)
    return values.astype(dtype)


def decode(content: bytes, folder: Path, bits: int = 0, channels: int = 1) -> NDArray[np.int64]:
    (folder / "a.file").write_bytes(content)
    return decode_file(folder / "a.file", SIZE, channels, bits).astype(np.int64)


def png(values: NDArray[np.uint16], colour_type: int) -> bytes:
    """Return a PNG of 16 bits; values have shape (H, W, channels)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["png", "tiff", "big"])
def test_bits_say_what_is_white(kind: str, bits: int, tmp_path: Path) -> None:
    white = 2**bits - 1
    values = ramp(white)
    content = {
        "png": encoded(Image.fromarray(values), format="PNG"),
        "tiff": tiff(values.astype("<u2")),
        "big": tiff(values.astype(">u2")),
    }[kind]
    (found,) = decode(content, tmp_path, bits)
    np.testing.assert_array_equal(found, np.rint(ramp(white, float) * (255 / white)))
    assert (found.min(), found.max()) == (0, 255)


def test_the_scale_does_not_depend_on_an_image(tmp_path: Path) -> None:
    dark, bright = ramp(1000), ramp(4000)
    for values in (dark, bright):
        (found,) = decode(encoded(Image.fromarray(values), format="PNG"), tmp_path, bits=12)
        np.testing.assert_array_equal(found, np.rint(values * (255 / 4095)))


@pytest.mark.parametrize("white", [255, 1023, 4095, 16383])
def test_unused_bits_are_asked_for(white: int, tmp_path: Path) -> None:
    bits = white.bit_length()
    expected = rf"largest value {white:,}\).*bits={bits} if white is {white:,}, or bits=16 if"
    for content in (encoded(Image.fromarray(ramp(white)), format="PNG"), tiff(ramp(white))):
        with pytest.raises(DataError, match=rf"cannot use the image .*a\.file: .*{expected}"):
            decode(content, tmp_path)
        assert decode(content, tmp_path, bits=16).max() == round(white / 257)


def test_a_burnt_in_letter_does_not_hide_twelve_bits(tmp_path: Path) -> None:
    values = ramp(4095)
    values[0, :2] = 65535
    with pytest.raises(DataError, match="hardly uses the upper half"):
        decode(encoded(Image.fromarray(values), format="PNG"), tmp_path)
    with pytest.raises(DataError, match="a grey value of 65,535, but bits=12 says that white is 4"):
        decode(encoded(Image.fromarray(values), format="PNG"), tmp_path, bits=12)


@pytest.mark.parametrize("bits", [0, 12])
def test_files_that_state_their_white(bits: int, tmp_path: Path) -> None:
    values = ramp(4095)
    pgm = f"P5 {SIZE} {SIZE} 4095\n".encode() + values.astype(">u2").tobytes()
    (found,) = decode(pgm, tmp_path, bits and 16)
    assert np.abs(found - values * (255 / 4095)).max() <= 1
    (found,) = decode(encoded(Image.fromarray(ramp(255, np.uint8)), format="PNG"), tmp_path, bits)
    np.testing.assert_array_equal(found, ramp(255))


def test_zero_may_be_white(tmp_path: Path) -> None:
    (found,) = decode(tiff(ramp(4095), white_is_zero=True), tmp_path, bits=12)
    np.testing.assert_array_equal(found, np.rint((4095 - ramp(4095, float)) * (255 / 4095)))


REFUSED: dict[str, tuple[bytes, str]] = {
    "signed": (tiff(ramp(2000, np.int16) - np.int16(1000), 2), "signed integers"),
    "signed, big-endian": (tiff(ramp(2000, ">i2"), 2), "signed integers"),
    "signed, 8 bits": (tiff(ramp(100, np.int8), 2), "signed integers"),
    "32 bits": (tiff(ramp(4095, np.uint32)), "32-bit or signed integers"),
    "floats": (tiff(ramp(1, np.float32), 3), "floats"),
    "floats, big-endian": (tiff(ramp(1, ">f4"), 3), "floats"),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("bits", [0, 12])
def test_unknown_ranges_are_refused(content: bytes, said: str, bits: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"cannot use the image .*: its pixels are .*{said}"):
        decode(content, tmp_path, bits)


@pytest.mark.parametrize("colour_type", [2, 4, 6])
def test_colour_of_16_bits(colour_type: int, tmp_path: Path) -> None:
    channels = {2: 3, 4: 2, 6: 4}[colour_type]

    def content(white: int) -> bytes:
        values = np.repeat(ramp(white)[..., None], channels, 2)
        if colour_type > 2:
            values[..., -1] = 65535
        return png(values, colour_type)

    found = decode(content(65535), tmp_path, channels=3)
    assert np.abs(found - ramp(65535, float) / 257).max() <= 1
    with pytest.raises(DataError, match="colour in 16 bits, of which the upper 8 are read"):
        decode(content(4095), tmp_path)
    with pytest.raises(DataError, match="save it with 8 bits per channel"):
        decode(content(65535), tmp_path, bits=12)
    assert decode(content(4095), tmp_path, bits=16).max() <= 16


def test_a_transparent_grey_of_16_bits_is_black(tmp_path: Path) -> None:
    stream = BytesIO()
    Image.fromarray(ramp(65535)).save(stream, "PNG", transparency=65535)
    (found,) = decode(stream.getvalue(), tmp_path)
    assert found[-1, -1] == 0
    assert found[-1, -2] == 254
