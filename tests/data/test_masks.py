"""Masks: two values are clear, of others a person says which count or is told what there is."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import TypeAdapter, ValidationError

from splitsec.data.decoding import decode_file
from splitsec.data.masks import MaskValues, Pair, decode_mask, decode_masks
from splitsec.errors import DataError
from splitsec.progress import Silent
from support.pictures import encoded, scene, several, shown, tiff

SIZE = 32
Y, X = np.mgrid[0:SIZE, 0:SIZE]
LEFT = (X >= 4) & (X < 14) & (Y >= 6) & (Y < 26)
RIGHT = (X >= 18) & (X < 28) & (Y >= 6) & (Y < 26)
LUNGS = LEFT | RIGHT
RIM = (X >= 2) & (X < 16) & (Y >= 4) & (Y < 28) & ~LEFT


@pytest.fixture
def image(tmp_path: Path) -> Path:
    scene(SIZE, SIZE).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def read(given: Image.Image | bytes | NDArray[Any], image: Path, values: str = "") -> Any:
    """Return the mask of a file, at its own size and as booleans, shape (32, 32)."""
    if isinstance(given, np.ndarray):
        given = Image.fromarray(given)
    content = given if isinstance(given, bytes) else encoded(given, format="PNG")
    (image.parent / "mask.file").write_bytes(content)
    return decode_mask(image.parent / "mask.file", image, SIZE, values)[0] > 0


def levels(*shares: tuple[NDArray[np.bool_], int], ground: int = 0) -> NDArray[np.uint8]:
    values = np.full((SIZE, SIZE), ground, np.uint8)
    for where, value in shares:
        values[where] = value
    return values


def colours(*shares: tuple[NDArray[np.bool_], tuple[int, int, int]]) -> NDArray[np.uint8]:
    values = np.zeros((SIZE, SIZE, 3), np.uint8)
    for where, value in shares:
        values[where] = value
    return values


def palette(indices: NDArray[np.uint8], *entries: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(indices, "P")
    image.putpalette([channel for entry in entries for channel in entry])
    return image


# Two values


WHITE = levels((LUNGS, 255))
TWO_VALUES: dict[str, bytes | Image.Image | NDArray[Any]] = {
    "0 and 255": WHITE,
    "0 and 1": levels((LUNGS, 1)),
    "20 and 255": levels((LUNGS, 255), ground=20),
    "0 and 20": levels((LUNGS, 20)),
    "one bit": LUNGS,
    "palette": palette(LUNGS.astype(np.uint8), (0, 0, 0), (128, 0, 0)),
    "palette, white first": palette((~LUNGS).astype(np.uint8), (255, 255, 255), (0, 0, 0)),
    "transparent palette": encoded(
        palette(LUNGS.astype(np.uint8), (9, 9, 9), (128, 0, 0)), format="PNG", transparency=0
    ),
    "RGB": colours((LUNGS, (255, 255, 255))),
    "red on black": colours((LUNGS, (255, 0, 0))),
    "RGBA": Image.fromarray(WHITE).convert("RGBA"),
    "white, cut out": Image.merge(
        "LA", [Image.new("L", (SIZE, SIZE), 255), Image.fromarray(WHITE)]
    ),
    "16 bits": WHITE.astype(np.uint16) * 257,
    "1 in 16 bits": LUNGS.astype(np.uint16),
    "GIF": encoded(Image.fromarray(WHITE), format="GIF"),
    "GIF of one bit": encoded(Image.fromarray(LUNGS), format="GIF"),
    "GIF in colour": encoded(Image.fromarray(colours((LUNGS, (0, 0, 200)))), format="GIF"),
    "TIFF": encoded(Image.fromarray(WHITE), format="TIFF"),
    "TIFF of one bit, for fax": encoded(
        Image.fromarray(LUNGS), format="TIFF", compression="group4"
    ),
    "TIFF in which 0 is white": tiff(255 - WHITE, white_is_zero=True),
    "TIFF of 16 bits in which 0 is white": tiff(
        (~LUNGS).astype(np.uint16) * np.uint16(65535), white_is_zero=True
    ),
    "TIFF of floats": tiff(LUNGS.astype(np.float32), 3),
    "TIFF of 32 bits": tiff(LUNGS.astype(np.uint32)),
    "TIFF, signed": tiff(LUNGS.astype(np.int16), 2),
    "TIFF, big-endian": tiff(LUNGS.astype(">u2")),
    "BMP": encoded(Image.fromarray(WHITE), format="BMP"),
    "BMP of one bit": encoded(Image.fromarray(LUNGS), format="BMP"),
    "WebP": encoded(Image.fromarray(WHITE), format="WEBP", lossless=True),
}


@pytest.mark.parametrize("given", TWO_VALUES.values(), ids=TWO_VALUES)
def test_the_brighter_of_two_values_counts(given: Any, image: Path) -> None:
    np.testing.assert_array_equal(read(given, image), LUNGS)


@pytest.mark.parametrize("content", [several(2, format="TIFF"), several(2, format="GIF")])
def test_several_pages_are_refused(content: bytes, image: Path) -> None:
    with pytest.raises(DataError, match=r"the mask .*mask\.file: it has 2 frames or pages"):
        read(content, image)


def test_a_truncated_mask(image: Path) -> None:
    content = encoded(Image.fromarray(WHITE), format="PNG")
    with pytest.raises(DataError, match=r"cannot read the mask .*mask\.file: it is truncated"):
        read(content[:-20], image)


# Other masks


SEVERAL: dict[str, tuple[Any, str, str]] = {
    "a rim": (
        levels((LUNGS, 1), (RIM, 255)),
        r"of which two are expected: 0 \(47\.656%\), 1 \(39\.062%\), 255 \(13\.281%\)",
        "1",
    ),
    "a hot pixel": (
        levels((LUNGS, 1), ((X == 0) & (Y == 0), 255)),
        r"0 \(60\.840%\), 1 \(39\.062%\), 255 \(0\.098%\)",
        "1",
    ),
    "a value for each lung": (
        levels((LEFT, 20), (RIGHT, 255)),
        r"such as mask_values=20 or mask_values=20\+255",
        "20+255",
    ),
    "a colour for each lung": (
        colours((LEFT, (255, 255, 255)), (RIGHT, (0, 0, 200))),
        r"#000000 \(60\.938%\), #0000c8 \(19\.531%\), #ffffff \(19\.531%\)",
        "#ffffff+#0000c8",
    ),
    "grey and a colour": (
        colours((LEFT, (1, 1, 1)), (RIGHT, (0, 0, 200))),
        r"#000000 .*#0000c8 .*#010101",
        "1+#0000C8",
    ),
    "red and blue": (
        palette(levels((LEFT, 1), (RIGHT, 2)), (0, 0, 0), (255, 0, 0), (0, 0, 255)),
        r"#0000ff .*#ff0000",
        "#ff0000+#0000ff",
    ),
    "floats": (tiff(levels((LEFT, 1), (RIGHT, 2)) / np.float32(2), 3), r"0\.5 .*, 1 ", "0.5-1"),
}


@pytest.mark.parametrize(("given", "said", "values"), SEVERAL.values(), ids=SEVERAL)
def test_more_values_are_listed_with_their_shares(
    given: Any, said: str, values: str, image: Path
) -> None:
    with pytest.raises(DataError, match=rf"the mask .*mask\.file has 3 values.*{said}") as raised:
        read(given, image)
    assert "mask_values=" in str(raised.value)
    np.testing.assert_array_equal(read(given, image, values), LUNGS)


def test_two_colours_of_which_neither_is_darker(image: Path) -> None:
    given = np.where(LUNGS[..., None], np.uint8([255, 0, 0]), np.uint8([0, 0, 255]))
    with pytest.raises(DataError, match=r"colours #0000ff and #ff0000, and neither is darker"):
        read(given, image)
    np.testing.assert_array_equal(read(given, image, "#ff0000"), LUNGS)
    np.testing.assert_array_equal(read(given, image, "#0000ff"), ~LUNGS)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_single_value_means_all_or_nothing(value: int, image: Path) -> None:
    flat = levels(ground=value)
    with pytest.raises(DataError, match=rf"a single value, {value} \(100\.000%\), so it is uncl"):
        read(flat, image)
    assert read(flat, image, str(value)).all()
    assert not read(flat, image, "7").any()


def test_an_inverted_mask(image: Path) -> None:
    np.testing.assert_array_equal(read(255 - WHITE, image, "0"), LUNGS)


def smooth(**options: Any) -> bytes:
    """Return a mask whose edges are grey."""
    drawn = Image.new("L", (SIZE * 4, SIZE * 4))
    ImageDraw.Draw(drawn).ellipse((20, 30, 100, 90), fill=255)
    return encoded(drawn.resize((SIZE, SIZE), Image.Resampling.BICUBIC), **options)


@pytest.mark.parametrize("options", [{"format": "PNG"}, {"format": "JPEG", "quality": 75}])
def test_smooth_edges_are_cut_where_a_person_says(options: dict[str, Any], image: Path) -> None:
    content = smooth(**options)
    with pytest.raises(DataError, match=r"and \d+ others \(.*upper half does: mask_values=1.*-25"):
        read(content, image)
    found = read(content, image, "128-255")
    with Image.open(BytesIO(content)) as grey:
        np.testing.assert_array_equal(found, np.asarray(grey) >= 128)
    assert 0.2 < found.mean() < 0.5


def test_a_jpeg_in_colour_is_not_cut(image: Path) -> None:
    content = encoded(Image.fromarray(colours((LUNGS, (255, 0, 0)))), format="JPEG", quality=60)
    with pytest.raises(DataError, match="save it without smoothing or JPEG"):
        read(content, image)


def test_values_that_are_no_numbers(image: Path) -> None:
    values = np.where(LUNGS, np.float32(1), np.float32("nan"))
    with pytest.raises(DataError, match="has values that are not finite"):
        read(tiff(values, 3), image)


def test_masks_are_averaged_and_cut_at_one_half(tmp_path: Path) -> None:
    film, mask = tmp_path / "film.png", tmp_path / "mask.png"
    Image.new("L", (64, 64)).save(film)
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, :30] = 255
    Image.fromarray(pixels).save(mask)
    decoded = decode_mask(mask, film, 8)
    assert decoded.shape == (1, 8, 8)
    assert (decoded == (np.arange(8) < 4)).all()


# How values are written


@pytest.mark.parametrize(
    ("text", "counting"),
    [
        ("1", [1]),
        (1, [1]),
        ("1+3", [1, 3]),
        ("1,3", [1, 3]),
        (" 1 + 3 ", [1, 3]),
        ("2-4", [2, 3, 4]),
        ("2 - 4", [2, 3, 4]),
        ("0+4", [0, 4]),
        ("1.0", [1]),
        ("#010101", [1]),
        ("0-255", [0, 1, 2, 3, 4]),
    ],
)
def test_values_as_people_write_them(text: Any, counting: list[int], image: Path) -> None:
    given = (X % 5).astype(np.uint8)
    values = TypeAdapter(MaskValues).validate_python(text)
    np.testing.assert_array_equal(read(given, image, values), np.isin(given, counting))


@pytest.mark.parametrize("text", ["white", "#ff", "-1", "1:2", "4-2", "+", "1..2"])
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(ValidationError, match=r"is no value of a mask|is empty|no value is named"):
        TypeAdapter(MaskValues).validate_python(text)


# A set of masks


def pairs(folder: Path, *masks: NDArray[np.uint8]) -> list[Pair]:
    found = []
    for number, mask in enumerate(masks):
        scene(SIZE, SIZE).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"mask{number}.png")
        found.append(Pair(folder / f"{number}.png", folder / f"mask{number}.png"))
    return found


def test_one_and_the_largest_value_say_the_same(tmp_path: Path) -> None:
    given = pairs(tmp_path, WHITE, levels((LUNGS, 1)), LUNGS, WHITE.astype(np.uint16) * 257)
    masks = decode_masks(given, SIZE, "", Silent())
    assert masks.shape == (4, 1, SIZE, SIZE)
    assert (masks == LUNGS).all()


def test_masks_of_other_two_values_are_not_guessed(tmp_path: Path) -> None:
    given = pairs(tmp_path, levels((LEFT, 1)), levels((RIGHT, 2)))
    with pytest.raises(DataError, match=r"1 in .*mask0\.png and 2 in .*mask1\.png; say which coun"):
        decode_masks(given, SIZE, "", Silent())
    first, second = decode_masks(given, SIZE, "2", Silent())[:, 0] > 0
    assert not first.any()
    np.testing.assert_array_equal(second, RIGHT)


def test_a_value_that_is_inside_here_and_outside_there(tmp_path: Path) -> None:
    given = pairs(tmp_path, levels((LUNGS, 1)), levels((LUNGS, 255), ground=1))
    with pytest.raises(DataError, match=r"value 1 is the brighter one of .*mask0.*darker.*mask1"):
        decode_masks(given, SIZE, "", Silent())


@pytest.mark.parametrize(("named", "other"), [(255, 1), (1, 255)])
def test_one_of_two_whites_does_not_empty_the_masks_of_the_other(
    named: int, other: int, tmp_path: Path
) -> None:
    both = pairs(tmp_path, levels((LUNGS, named)), levels((LUNGS, other)))
    with pytest.raises(DataError, match=rf"mask1\.png has {other} where others have {named}, and"):
        decode_masks(both, SIZE, str(named), Silent())
    assert (decode_masks(both, SIZE, f"{named}+{other}", Silent()) == LUNGS).all()
    rim = pairs(tmp_path, levels((LUNGS, named), (RIM, other)), levels((RIM, other)))
    first, second = decode_masks(rim, SIZE, str(named), Silent())[:, 0] > 0
    np.testing.assert_array_equal(first, LUNGS)
    assert not second.any(), "a mask of a rim alone is empty, as other masks show what it is"


def test_the_white_of_one_bit_is_1_and_255(tmp_path: Path) -> None:
    given = pairs(tmp_path, WHITE, LUNGS)
    assert (decode_masks(given, SIZE, "128-255", Silent()) == LUNGS).all()
    assert (decode_masks(given[1:], SIZE, "1", Silent()) == LUNGS).all()


# An image and its mask


def turned_pair(folder: Path, image: int | None, mask: int | None) -> tuple[Path, Path]:
    """Write an image and its mask, each stored so that a viewer shows the same scene."""
    upright = scene(40, 24)
    bright = Image.fromarray((np.asarray(upright)[..., 2] > 100).astype(np.uint8) * 255)
    undo = {6: 8, 8: 6}
    for name, picture, turn in (("image", upright, image), ("mask", bright, mask)):
        stored = picture if turn is None else shown(picture, undo.get(turn, turn))
        (folder / f"{name}.png").write_bytes(encoded(stored, turn, format="PNG"))
    return folder / "image.png", folder / "mask.png"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("which", ["image", "mask", "both"])
def test_an_orientation_in_one_of_them_keeps_them_aligned(
    which: str, orientation: int, tmp_path: Path
) -> None:
    image, mask = turned_pair(
        tmp_path,
        orientation if which != "mask" else None,
        orientation if which != "image" else None,
    )
    plain = tmp_path / "plain"
    plain.mkdir()
    expected = [decode_file(turned_pair(plain, None, None)[0], 24, 3)[2]]
    expected.append(decode_mask(plain / "mask.png", plain / "image.png", 24)[0])
    np.testing.assert_array_equal(decode_file(image, 24, 3)[2], expected[0])
    np.testing.assert_array_equal(decode_mask(mask, image, 24)[0], expected[1])


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_of_stored_pixels_is_not_taken_for_one_of_shown_pixels(
    orientation: int, tmp_path: Path
) -> None:
    image, mask = turned_pair(tmp_path, None, None)
    image.write_bytes(encoded(scene(40, 24), orientation, format="PNG"))
    with pytest.raises(DataError, match=r"has 40x24 pixels, but .*has 24x40; its sides are swapp"):
        decode_mask(mask, image, 24)


@pytest.mark.parametrize("size", [(64, 64), (16, 16), (31, 32)])
def test_a_mask_of_another_size(size: tuple[int, int], image: Path) -> None:
    with pytest.raises(DataError, match=rf"has {size[0]}x{size[1]} pixels, but its image image\.p"):
        read(Image.fromarray(WHITE).resize(size), image)
