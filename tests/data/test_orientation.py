"""A picture is read as a viewer shows it: turned once, and only if there is one picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from splitsec.data.decoding import decode_file
from splitsec.data.stored_image import upright_size
from splitsec.errors import DataError
from support.pictures import LOSSLESS, ORIENTATION, encoded, noise, scene, several, shown

SIZE = 24


def expected(orientation: int, channels: int = 3) -> np.ndarray[Any, Any]:
    image = shown(scene(), orientation).convert("RGB" if channels == 3 else "L")
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).astype(int)
    return pixels.transpose(2, 0, 1) if channels == 3 else pixels[None]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_every_orientation_is_applied_once(suffix: str, orientation: int, tmp_path: Path) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(encoded(scene(), orientation, **LOSSLESS[suffix]))
    for channels in (1, 3):
        found = decode_file(file, SIZE, channels).astype(int)
        assert np.abs(found - expected(orientation, channels)).mean() < 2
    assert upright_size(file) == shown(scene(), orientation).size


@pytest.mark.parametrize("orientation", [None, 0, 9, 1000])
@pytest.mark.parametrize("suffix", [one for one in LOSSLESS if one != "lzw.tif"])  # libtiff refuses
def test_no_valid_orientation(suffix: str, orientation: int | None, tmp_path: Path) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(encoded(scene(), orientation, **LOSSLESS[suffix]))
    assert np.abs(decode_file(file, SIZE, 3).astype(int) - expected(1)).mean() < 2
    assert upright_size(file) == (32, 24)


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_damaged_exif_data_do_not_hide_a_picture(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(encoded(scene(), exif=b"Exif\0\0no TIFF", **LOSSLESS[suffix]))
    assert np.abs(decode_file(file, SIZE, 3).astype(int) - expected(1)).mean() < 2


def test_a_large_jpeg_that_is_decoded_at_a_fraction(tmp_path: Path) -> None:
    large = scene().resize((640, 480), Image.Resampling.BICUBIC)
    (tmp_path / "a.jpg").write_bytes(encoded(large, 6, **LOSSLESS["jpg"]))
    found = decode_file(tmp_path / "a.jpg", SIZE, 3).astype(int)
    assert np.abs(found - expected(6)).mean() < 5


def test_grey_of_16_bits_is_turned(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 32 * 24).reshape(24, 32).astype(np.uint16)
    files = {
        name: encoded(Image.fromarray(ramp), 6, format=name.upper()) for name in ("png", "tiff")
    }
    found = []
    for name, content in files.items():
        (tmp_path / f"a.{name}").write_bytes(content)
        found.append(decode_file(tmp_path / f"a.{name}", SIZE, 1).astype(int))
    assert np.abs(found[0] - found[1]).max() <= 1
    assert found[0][0, 0, -1] < 20, "the stored top left is seen at the top right"
    assert found[0][0, -1, 0] > 235


SEVERAL: dict[str, tuple[str, bytes]] = {
    "an animated GIF": ("gif", several(3, format="GIF")),
    "an animated WebP": ("webp", several(3, format="WEBP")),
    "an animated PNG": ("png", several(3, format="PNG")),
    "an animated PNG with a default image": ("png", several(3, format="PNG", default_image=True)),
    "a TIFF of several pages": ("tif", several(3, format="TIFF")),
    "a compressed TIFF of several pages": (
        "tif",
        several(3, format="TIFF", compression="tiff_deflate"),
    ),
    "a stereo JPEG": ("jpg", several(2, format="MPO")),
}


@pytest.mark.parametrize(("suffix", "content"), SEVERAL.values(), ids=SEVERAL)
def test_several_frames_or_pages_are_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"the image .*a\.{suffix}: it has [23] frames or pages"):
        decode_file(file, SIZE, 3)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_one_frame_is_a_picture(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(encoded(noise(), save_all=True, format=suffix.upper()))
    assert decode_file(file, SIZE, 3).std() > 5


def test_smaller_versions_of_a_picture_do_not_count(tmp_path: Path) -> None:
    thumbnail = scene().resize((8, 6))
    phone = encoded(scene(), 6, format="MPO", save_all=True, append_images=[thumbnail], quality=100)
    (tmp_path / "a.jpg").write_bytes(phone)
    with Image.open(BytesIO(phone)) as image:
        assert image.format == "MPO"
    assert np.abs(decode_file(tmp_path / "a.jpg", SIZE, 3).astype(int) - expected(6)).mean() < 4
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), new=True) as pages:
        for page, info in ((scene(), {}), (thumbnail, {254: 1})):  # 1: a reduced version
            page.save(pages, "TIFF", tiffinfo=info)
            pages.newFrame()
    assert np.abs(decode_file(tmp_path / "a.tif", SIZE, 3).astype(int) - expected(1)).mean() < 1


def test_an_orientation_is_of_the_picture_and_not_of_its_thumbnail(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    exif.get_ifd(0x8769)[0x9003] = "2024:01:01 00:00:00"
    (tmp_path / "a.jpg").write_bytes(encoded(scene(), format="JPEG", quality=100, exif=exif))
    assert np.abs(decode_file(tmp_path / "a.jpg", SIZE, 3).astype(int) - expected(8)).mean() < 4
