"""Image files of every kind become 8 bits per channel, or one sentence that names the file."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from splitsec.data.decoding import decode_file
from splitsec.errors import DataError
from support.pictures import encoded

SIZE = 16


def decoded(path: Path, channels: int = 1) -> NDArray[np.int64]:
    """Read a file of 16x16 pixels at its own size, so that resizing changes nothing."""
    return decode_file(path, SIZE, channels).astype(np.int64)


def ramp(white: int) -> NDArray[np.uint16]:
    return np.linspace(0, white, SIZE * SIZE).round().astype(np.uint16).reshape(SIZE, SIZE)


def png(header: bytes, *data: bytes) -> bytes:
    """Return a PNG with a given header chunk."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    body = b"".join(chunk(b"IDAT", piece) for piece in data)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_of_16_bits_is_scaled_not_clipped(name: str, channels: int, tmp_path: Path) -> None:
    Image.fromarray(ramp(65535)).save(tmp_path / name)
    expected = np.rint(ramp(65535) / 257).astype(int)
    assert expected.max() == 255
    for plane in decoded(tmp_path / name, channels):
        np.testing.assert_array_equal(plane, expected)


def test_big_endian_tiff_of_16_bits(tmp_path: Path) -> None:
    image = Image.frombytes("I;16B", (SIZE, SIZE), ramp(65535).astype(">u2").tobytes())
    image.save(tmp_path / "a.tif")
    expected = np.rint(ramp(65535) / 257).astype(int)
    np.testing.assert_array_equal(decoded(tmp_path / "a.tif")[0], expected)


def test_tiff_of_16_bits_in_which_zero_is_white(tmp_path: Path) -> None:
    Image.fromarray(ramp(65535)).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    black_is_zero = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert content.count(black_is_zero) == 1
    white_is_zero = struct.pack("<HHIHH", 262, 3, 1, 0, 0)
    (tmp_path / "a.tif").write_bytes(content.replace(black_is_zero, white_is_zero))
    expected = 255 - np.rint(ramp(65535) / 257).astype(int)
    np.testing.assert_array_equal(decoded(tmp_path / "a.tif")[0], expected)


def test_tiff_of_12_bits(tmp_path: Path) -> None:
    pairs = ramp(4095).reshape(-1, 2).astype(int)
    first, second = pairs[:, 0], pairs[:, 1]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
    tags = {256: SIZE, 257: SIZE, 258: 12, 259: 1, 262: 1, 277: 1, 278: SIZE}
    tags[279] = packed.size
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    offset = 8 + 2 + 12 * (len(entries) + 1) + 4
    entries.insert(5, struct.pack("<HHII", 273, 4, 1, offset))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    content = b"II*\0" + struct.pack("<I", 8) + directory + packed.astype(np.uint8).tobytes()
    (tmp_path / "a.tif").write_bytes(content)
    expected = np.rint(ramp(4095) * (255 / 4095)).astype(int)
    np.testing.assert_array_equal(decoded(tmp_path / "a.tif")[0], expected)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [(np.float32, "pixels are floats"), (np.int32, "pixels are 32-bit or signed integers")],
)
def test_unknown_ranges_are_refused(dtype: type, said: str, tmp_path: Path) -> None:
    Image.fromarray(ramp(255).astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"cannot use the image .*a\.tif: its {said}"):
        decoded(tmp_path / "a.tif")


def test_transparent_images_are_laid_over_black(tmp_path: Path) -> None:
    grey = np.full((SIZE, SIZE), 200, np.uint8)
    alpha = np.full((SIZE, SIZE), 255, np.uint8)
    alpha[:, :4] = 0
    expected = np.where(alpha, 200, 0)
    Image.fromarray(np.stack([grey, alpha], 2), "LA").save(tmp_path / "la.png")
    Image.fromarray(np.stack([grey, grey, grey, alpha], 2), "RGBA").save(tmp_path / "rgba.png")
    palette = Image.fromarray((alpha == 0).astype(np.uint8), "P")
    palette.putpalette([200, 200, 200, 99, 99, 99])
    palette.save(tmp_path / "p.png", transparency=1)
    for name in ("la.png", "rgba.png", "p.png"):
        for channels in (1, 3):
            for plane in decoded(tmp_path / name, channels):
                np.testing.assert_array_equal(plane, expected)


def test_palette_cmyk_and_two_levels(tmp_path: Path) -> None:
    stripes = np.zeros((SIZE, SIZE), np.uint8)
    stripes[:, 8:] = 1
    palette = Image.fromarray(stripes, "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "p.png")
    red, green, blue = decoded(tmp_path / "p.png", 3)
    np.testing.assert_array_equal(red, 255 * (1 - stripes.astype(int)))
    np.testing.assert_array_equal(blue, 255 * stripes.astype(int))
    assert not green.any()
    Image.new("CMYK", (SIZE, SIZE), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    Image.new("CMYK", (SIZE, SIZE), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    for name in ("a.tif", "a.jpg"):
        colour = decoded(tmp_path / name, 3).mean((1, 2))
        np.testing.assert_allclose(colour, [255, 0, 0], atol=3)
    Image.fromarray(stripes.astype(bool)).save(tmp_path / "1.png")
    np.testing.assert_array_equal(decoded(tmp_path / "1.png")[0], 255 * stripes.astype(int))


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (10, 20, 30)).save(tmp_path / "a.png")
    assert decoded(tmp_path / "a.png", 3).reshape(3, -1).T.tolist() == [[10, 20, 30]] * SIZE**2


HOSTILE = {
    "empty": b"",
    "a program in PostScript": encoded(Image.new("L", (9, 9)), format="EPS"),
    "an icon, which does not show its end": encoded(Image.new("L", (16, 16)), format="ICO"),
    "text": b"not an image",
    "more pixels than memory": png(struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)),
    "no pixels": png(struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)),
    "no width": png(struct.pack(">IIBBBBB", 0, 16, 8, 2, 0, 0, 0), zlib.compress(b"")),
    "a short header": png(b"\0\0"),
    "not deflated": png(struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0), b"\x78\x9c garbage"),
    "a TIFF without directory": b"II*\0\x08\0\0\0",
    "a GIF without a frame": b"GIF89a\x10\0\x10\0\0\0\0;",
    "a BMP of nothing": b"BM" + bytes(60),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read the image .*a\.png: .") as raised:
        decoded(tmp_path / "a.png")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "bmp", "webp", "gif"])
def test_a_file_cut_short_is_named(extension: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{extension}"
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    content = file.read_bytes()
    decoded(file)
    for kept in (0.9, 0.5, 0.1):
        file.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(DataError, match=rf"cannot read the image .*a\.{extension}"):
            decoded(file)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the image .*: Is a directory|Permission"):
        decoded(tmp_path)
    with pytest.raises(DataError, match="No such file"):
        decoded(tmp_path / "none.png")


def test_jpegs_of_four_channels(tmp_path: Path) -> None:
    """Adobe's CMYK and YCCK show the same colours, of which all are inverted in the file."""
    colours = np.zeros((SIZE, SIZE, 3), np.uint8)
    colours[:8], colours[8:, :8], colours[8:, 8:] = (200, 40, 40), (30, 160, 60), (90, 90, 90)
    black = np.full((SIZE, SIZE), 255, np.uint8)  # none: the file holds inverted values
    ink = Image.fromarray(np.dstack([255 - colours, 255 - black]), "CMYK")
    ink.save(tmp_path / "cmyk.jpg", quality=95)
    luma = np.asarray(Image.fromarray(255 - colours).convert("YCbCr"))
    ycck = Image.fromarray(255 - np.dstack([luma, black]), "CMYK")  # Pillow inverts once more
    ycck.save(tmp_path / "ycck.jpg", quality=95)
    content = (tmp_path / "ycck.jpg").read_bytes()
    adobe = content.index(b"Adobe")
    assert content[adobe + 11] == 0
    (tmp_path / "ycck.jpg").write_bytes(content[: adobe + 11] + b"\2" + content[adobe + 12 :])
    for name in ("cmyk.jpg", "ycck.jpg"):
        found = decoded(tmp_path / name, 3).transpose(1, 2, 0)
        assert np.abs(found - colours).mean() < 5, name
