"""Image files that were cut short, or whose end was never written, are called truncated."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from splitsec.data.decoding import decode_file
from splitsec.errors import DataError
from support.pictures import encoded, noise, scene, several

FILES: dict[str, bytes] = {
    "jpg": encoded(noise(), format="JPEG"),
    "progressive.jpg": encoded(noise(), format="JPEG", progressive=True),
    "thumbnail.jpg": encoded(
        noise(), format="JPEG", comment=encoded(scene(), format="JPEG"), restart_marker_blocks=2
    ),
    "png": encoded(noise(), format="PNG"),
    "webp": encoded(noise(), format="WEBP"),
    "lossless.webp": encoded(noise(), format="WEBP", lossless=True),
    "gif": encoded(noise(), format="GIF"),
    "bmp": encoded(noise(), format="BMP"),
    "tif": encoded(noise(), format="TIFF"),
    "lzw.tif": encoded(noise(), format="TIFF", compression="tiff_lzw"),
    "mpo.jpg": encoded(
        noise(), format="MPO", save_all=True, append_images=[scene().resize((8, 8))]
    ),
}
CUT_TAILS = [name for name in FILES if name != "mpo.jpg"]
ZEROED = ("jpg", "progressive.jpg", "thumbnail.jpg", "png", "webp", "lzw.tif")


def decode(content: bytes, suffix: str, folder: Path) -> Any:
    file = folder / f"a.{suffix}"
    file.write_bytes(content)
    return decode_file(file, 16, 3)


@pytest.mark.parametrize("suffix", FILES)
def test_a_whole_file_is_read(suffix: str, tmp_path: Path) -> None:
    assert decode(FILES[suffix], suffix, tmp_path).std() > 3
    if "jp" in suffix or suffix == "gif":
        decode(FILES[suffix] + bytes(500), suffix, tmp_path)  # cameras pad their files


@pytest.mark.parametrize("share", [0.99, 0.9, 0.5, 0.2])
@pytest.mark.parametrize("suffix", CUT_TAILS)
def test_a_file_cut_short_is_called_truncated(suffix: str, share: float, tmp_path: Path) -> None:
    content = FILES[suffix]
    with pytest.raises(DataError, match=rf"the image .*a\.{suffix}: it is truncated: .") as raised:
        decode(content[: int(share * len(content))], suffix, tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", ["jpg", "progressive.jpg", "png", "webp", "gif"])
def test_a_missing_end_marker(suffix: str, tmp_path: Path) -> None:
    """All pixels are there, but nothing says so: a picture may have ended earlier."""
    last = {"png": 12}.get(suffix, 1 if suffix == "gif" else 2)
    with pytest.raises(DataError, match=r"it is truncated: "):
        decode(FILES[suffix][:-last], suffix, tmp_path)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
@pytest.mark.parametrize("suffix", ZEROED)
def test_a_tail_of_zeros_is_called_truncated(suffix: str, share: float, tmp_path: Path) -> None:
    content = FILES[suffix]
    kept = int(share * len(content))
    with pytest.raises(DataError, match=rf"the image .*a\.{suffix}: it is truncated: .*zero"):
        decode(content[:kept] + bytes(len(content) - kept), suffix, tmp_path)


@pytest.mark.parametrize("size", [(500, 400), (3000, 2000)])
def test_a_smooth_photograph_with_a_tail_of_zeros(size: tuple[int, int], tmp_path: Path) -> None:
    """Decoders fill such a picture with grey and say nothing."""
    content = encoded(scene().resize(size, Image.Resampling.BICUBIC), format="JPEG")
    kept = len(content) // 2
    with pytest.raises(DataError, match=r"it is truncated: after .* only zeros follow"):
        decode(content[:kept] + bytes(len(content) - kept), "jpg", tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "lzw.tif"])
@pytest.mark.parametrize("grey", [0, 99, 255])
def test_a_flat_picture_is_whole(suffix: str, grey: int, tmp_path: Path) -> None:
    flat = Image.new("RGB", (2500, 2000), (grey,) * 3)
    options = {"lzw.tif": {"format": "TIFF", "compression": "tiff_lzw"}}
    names = {"jpg": "JPEG"}
    given = options.get(suffix, {"format": names.get(suffix, suffix.upper())})
    found = decode(encoded(flat, **given), suffix, tmp_path)
    assert np.abs(found.astype(int) - grey).max() <= 2


def test_a_dark_lower_half_is_no_missing_tail(tmp_path: Path) -> None:
    picture = noise(512, 512)
    picture.paste((0, 0, 0), (0, 256, 512, 512))
    for suffix, name in {"jpg": "JPEG", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF"}.items():
        decode(encoded(picture, format=name), suffix, tmp_path)


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG"])
def test_an_animation_cut_after_its_first_frame(name: str, tmp_path: Path) -> None:
    content = several(3, format=name)
    with pytest.raises(DataError, match=r"it is truncated|frames or pages"):
        decode(content[: len(content) // 2], name.lower(), tmp_path)


def test_damage_inside_a_png_is_found(tmp_path: Path) -> None:
    content = bytearray(FILES["png"])
    content[len(content) // 2] ^= 1
    with pytest.raises(DataError, match="it is damaged: the checksum of its chunk IDAT is wrong"):
        decode(bytes(content), "png", tmp_path)
    end = FILES["png"].index(b"IEND") - 4
    with pytest.raises(DataError, match=r"it is damaged: after .* no chunk follows"):
        decode(FILES["png"][:end] + b"\1\2\3\4\5\6\7\x08" + b"x" * 50, "png", tmp_path)


def test_a_lost_block_inside_a_png(tmp_path: Path) -> None:
    content = FILES["png"]
    third = len(content) // 3
    zeros = content[:third] + bytes(third) + content[2 * third :]
    with pytest.raises(DataError, match="checksum of its chunk IDAT is wrong"):
        decode(zeros, "png", tmp_path)


@pytest.mark.parametrize("grey", [False, True])
def test_a_lost_block_inside_a_jpeg(grey: bool, tmp_path: Path) -> None:
    picture = noise(256, 256).convert("L" if grey else "RGB")
    content = encoded(picture, format="JPEG")
    middle = len(content) // 2
    zeros = content[:middle] + bytes(2048) + content[middle + 2048 :]
    with pytest.raises(DataError, match=rf"it is damaged: at byte {middle:,} a block of zeros"):
        decode(zeros, "jpg", tmp_path)
    tail = content[:middle] + bytes(len(content) - middle - 2) + content[-2:]
    with pytest.raises(DataError, match=r"a block of zeros begins"):
        decode(tail, "jpg", tmp_path)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
def test_a_large_dark_jpeg_has_zeros_of_its_own(options: dict[str, Any], tmp_path: Path) -> None:
    picture = Image.new("RGB", (4000, 4000))
    picture.paste(noise(), (100, 100))
    decode(encoded(picture, format="JPEG", **options), "jpg", tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_files_that_hold_nothing(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"a\.{suffix}: it is empty"):
        decode(b"", suffix, tmp_path)
    with pytest.raises(DataError, match=r"it is truncated: all its 4,096 bytes are zero"):
        decode(bytes(4096), suffix, tmp_path)
    with pytest.raises(DataError, match="it is of no known format"):
        decode(b"<html>404 not found</html>", suffix, tmp_path)


def test_a_picture_of_too_many_pixels(tmp_path: Path) -> None:
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, *[0] * 6)
    with pytest.raises(DataError, match="it has too many pixels; at most 178,956,970 are read"):
        decode(head, "bmp", tmp_path)
