"""Reads masks: which pixels of an image belong to what a model segments.

A mask with exactly two values is clear: the brighter one counts. Any other mask needs a person who
says which values count, because a third value may be a rim to ignore, a second organ, a burnt-in
letter or the smooth edge that resizing leaves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BeforeValidator

from splitsec.data.decoding import in_threads, over_black
from splitsec.data.grey_levels import shown_values
from splitsec.data.stored_image import read_stored, turned, upright_size
from splitsec.errors import DataError
from splitsec.progress import Progress

_LISTED = 6  # values that an error lists
_KEPT = 1000  # values of a mask that are compared with those of others
_NUMBER = r"\d+(?:\.\d+)?"
_SPAN = re.compile(rf"({_NUMBER})(?:\s*-\s*({_NUMBER}))?")
_COLOUR = re.compile(r"#([0-9a-fA-F]{6})")
_WHITE = {"1", "255", "65535", "#ffffff"}  # what tools write for the same "yes"


class Pair(NamedTuple):
    """An image and its mask."""

    image: Path
    mask: Path


def _checked(given: object) -> object:
    text = str(given) if isinstance(given, int | float) else given
    if isinstance(text, str) and text and not any(_spans(text)):
        raise ValueError("no value is named; write 1, or leave it empty if masks have two values")
    return text


MaskValues = Annotated[str, BeforeValidator(_checked)]
"""Which values of a mask count, as text: ``1``, ``1+2``, ``128-255`` or ``#ff0000+#00ff00``. An
empty text says that masks have two values, of which the brighter one counts."""


def decode_masks(
    pairs: Sequence[Pair], size: int, values: str, progress: Progress
) -> NDArray[np.uint8]:
    """Read masks in a few threads, see :func:`decode_mask`.

    Returns:
        Masks in the order of the pairs, 0 or 1, shape (n, 1, size, size).

    Raises:
        DataError: a mask cannot be used, or masks with two values do not have the same two.
    """
    masks = np.empty((len(pairs), 1, size, size), np.uint8)
    found: list[_Values] = []
    read = partial(_decode, size=size, values=values)
    for row, (mask, present) in enumerate(in_threads("reading masks", pairs, read, progress)):
        masks[row] = mask
        found.append(present)
    paths = [pair.mask for pair in pairs]
    if values:
        _refuse_another_white(paths, found, values)
    else:
        _refuse_contradictions(paths, found)
    return masks


def decode_mask(path: Path, image: Path, size: int, values: str = "") -> NDArray[np.uint8]:
    """Read one mask as a viewer shows it, average it down, and cut it at one half.

    Args:
        path: the mask, of any format and mode that images may have.
        image: the image of the mask; upright, both must have the same size.
        size: height and width of the result, pixels.
        values: which values count, see :data:`MaskValues`.

    Returns:
        Shape (1, size, size), 1 where the mask has a value that counts and 0 elsewhere.

    Raises:
        DataError: either file is unreadable, they differ in size, or it is unclear which values
            count.
    """
    return _decode(Pair(image, path), size, values).mask


class _Values(NamedTuple):
    """The values of a mask, as a person writes them."""

    inside: list[str]
    outside: list[str]


class _Decoded(NamedTuple):
    mask: NDArray[np.uint8]
    values: _Values


def _decode(pair: Pair, size: int, values: str) -> _Decoded:
    pixels = _pixels(pair.mask)
    _refuse_another_size(pair, pixels)
    inside = _counting(pixels, values) if values else _brighter(pixels, pair.mask)
    present = [pixels.distinct(where)[0] for where in (inside, ~inside)]
    names = [[pixels.name(value) for value in some[:_KEPT].tolist()] for some in present]
    large = Image.fromarray(inside.astype(np.uint8) * 255)
    small = np.asarray(large.resize((size, size), Image.Resampling.BILINEAR))
    return _Decoded((small >= 128).astype(np.uint8)[None], _Values(*names))


class _Pixels(NamedTuple):
    """The values of a mask, upright.

    Attributes:
        values: shape (H, W), grey values, or colours as 0xRRGGBB.
        in_colour: whether they are colours.
        of_one_bit: whether 1 is all that the file can hold for white.
    """

    values: NDArray[Any]
    in_colour: bool
    of_one_bit: bool = False

    def name(self, value: float) -> str:
        """Return a value as a person writes it in ``mask_values``."""
        return f"#{int(value):06x}" if self.in_colour else f"{value:.6g}"

    def distinct(self, where: NDArray[np.bool_] | None = None) -> _Distinct:
        """Return the values that occur, in ascending order, with their numbers of pixels."""
        some = self.values.ravel() if where is None else self.values[where]
        if some.dtype.kind == "i" and some.size and 0 <= some.min() <= some.max() < 1 << 16:
            counts = np.bincount(some)  # much faster than sorting
            (present,) = np.nonzero(counts)
            return _Distinct(present, counts[present])
        return _Distinct(*np.unique(some, return_counts=True))


class _Distinct(NamedTuple):
    values: NDArray[Any]
    counts: NDArray[np.int64]


def _pixels(path: Path) -> _Pixels:
    stored = read_stored(path, "mask")
    image = stored.image
    grey = shown_values(image)
    if grey is not None:
        if not np.isfinite(grey).all():
            raise DataError(f"the mask {path} has values that are not finite")
        upright = np.asarray(turned(Image.fromarray(grey), stored.turn))
        return _Pixels(upright, False, image.mode == "1")
    try:
        colour = over_black(image).convert("RGB")
    except ValueError as error:
        raise DataError(f"cannot use the mask {path}: {error}") from error
    red, green, blue = np.moveaxis(np.asarray(turned(colour, stored.turn)).astype(np.int32), 2, 0)
    if (red == green).all() and (green == blue).all():
        return _Pixels(red, False)
    return _Pixels(red << 16 | green << 8 | blue, True)


def _refuse_another_size(pair: Pair, pixels: _Pixels) -> None:
    height, width = pixels.values.shape
    expected = upright_size(pair.image)
    if (width, height) == expected:
        return
    advice = "save the mask with one pixel for each pixel of its image"
    if (height, width) == expected:
        advice = (
            "its sides are swapped: one of the two was saved with an EXIF orientation that the "
            "other was drawn without; save both upright"
        )
    raise DataError(
        f"the mask {pair.mask} has {width}x{height} pixels, but its image {pair.image.name} has "
        f"{expected[0]}x{expected[1]}; {advice}"
    )


def _spans(text: str) -> tuple[list[tuple[float, float]], list[int]]:
    """Return the ranges of grey values, both ends included, and the colours of ``mask_values``.

    Raises:
        ValueError: a piece is neither.
    """
    spans, colours = list[tuple[float, float]](), list[int]()
    for piece in filter(None, re.split(r"[+,;\s]+", re.sub(r"\s*-\s*", "-", text))):
        span, colour = _SPAN.fullmatch(piece), _COLOUR.fullmatch(piece)
        if colour:
            colours.append(int(colour[1], 16))
        elif span:
            low, high = float(span[1]), float(span[2] or span[1])
            if low > high:
                raise ValueError(f"the range {piece} is empty; write the lower value first")
            spans.append((low, high))
        else:
            raise ValueError(
                f"{piece!r} is no value of a mask; write 1, several as 1+2, a range as 128-255, "
                "a colour as #ff0000"
            )
    return spans, colours


def _counting(pixels: _Pixels, text: str) -> NDArray[np.bool_]:
    """Return where a mask has one of the values that count."""
    spans, colours = _spans(text)
    if pixels.in_colour:
        # A grey value is the colour with three such channels, since files of one set may differ.
        values = pixels.values
        grey = np.where(values % 0x10101 == 0, values // 0x10101, -1)
        inside = np.isin(values, colours)
    else:
        grey = pixels.values
        inside = np.isin(grey, [one // 0x10101 for one in colours if one % 0x10101 == 0])
    for low, high in spans:
        inside |= (grey >= low) & (grey <= high)
        if pixels.of_one_bit and low <= 255 <= high:  # other files of the set write 255 for it
            inside |= grey == 1
    return inside


def _brighter(pixels: _Pixels, path: Path) -> NDArray[np.bool_]:
    """Return where a mask of two values has the brighter one.

    Raises:
        DataError: it has another number of values, or two colours of which neither is darker.
    """
    values, counts = pixels.distinct()
    if len(values) != 2:
        raise DataError(_unclear(pixels, values, counts, path))
    dark, bright = values.tolist()
    if pixels.in_colour:
        channels = [[value >> shift & 255 for shift in (16, 8, 0)] for value in (dark, bright)]
        if sum(channels[0]) > sum(channels[1]):
            dark, bright = bright, dark
            channels.reverse()
        if any(low > high for low, high in zip(*channels, strict=True)):
            raise DataError(
                f"the mask {path} has the colours {pixels.name(dark)} and {pixels.name(bright)}, "
                f"and neither is darker; say which one counts: mask_values={pixels.name(bright)}"
            )
    brighter: NDArray[np.bool_] = pixels.values == bright
    return brighter


def _unclear(pixels: _Pixels, values: NDArray[Any], counts: NDArray[np.int64], path: Path) -> str:
    """Return the sentence that lists a mask's values with their shares, and says what to do."""
    order = np.argsort(-counts, kind="stable")[:_LISTED]
    shares = counts / counts.sum()
    listed = ", ".join(f"{pixels.name(values[n])} ({shares[n]:.3%})" for n in sorted(order))
    if len(values) == 1:
        return (
            f"the mask {path} has a single value, {listed}, so it is unclear whether everything "
            f"or nothing counts; say which values count, such as mask_values={_example(pixels)}"
        )
    if len(values) > _LISTED:
        rest = len(values) - _LISTED
        listed += f" and {rest} other{'s' * (rest > 1)} ({1 - shares[order].sum():.3%})"
    said = f"the mask {path} has {len(values)} values, of which two are expected: {listed}; "
    several = pixels.name(values[1]), pixels.name(values[-1])
    if len(values) <= _LISTED:
        return said + (
            f"say which count, such as mask_values={several[0]} or "
            f"mask_values={several[0]}+{several[1]}"
        )
    if pixels.in_colour:
        return said + "save it without smoothing or JPEG, and say which colours count: mask_values"
    top = values[-1]
    half = math.ceil(top / 2) if top > 1 else top / 2
    return said + (
        "say which count; where resizing or JPEG has smoothed the edges, the upper half does: "
        f"mask_values={half:g}-{pixels.name(top)}"
    )


def _example(pixels: _Pixels) -> str:
    value = pixels.values.flat[0]
    return pixels.name(value) if value else "255"


def _refuse_contradictions(paths: Sequence[Path], found: Sequence[_Values]) -> None:
    """Raise a DataError if masks with two values do not have the same two.

    A set of {0, 1} and {0, 2} has three values, and which of them count is as unclear as in one
    mask. Tools write 1 or the largest value for the same thing, so these count as one.
    """
    inside = _first(paths, [values.inside for values in found])
    outside = _first(paths, [values.outside for values in found])
    both = [value for value in inside if value in outside]
    if both:
        value = both[0]
        raise DataError(
            f"the value {value} is the brighter one of the mask {inside[value]} and the darker "
            f"one of {outside[value]}; say which values count, such as mask_values={value}"
        )
    meanings = {"white" if value in _WHITE else value: value for value in inside}
    if len(meanings) > 1:
        first, second = list(meanings.values())[:2]
        raise DataError(
            f"masks have different values: {first} in {inside[first]} and {second} in "
            f"{inside[second]}; say which count, such as mask_values={first}+{second}"
        )


def _refuse_another_white(paths: Sequence[Path], found: Sequence[_Values], text: str) -> None:
    """Raise a DataError if 255 counts, and a mask has 1 instead, or the other way round.

    It is right to leave out such a value only if some mask has both.
    """
    counting = _WHITE & {name for values in found for name in values.inside}
    beside = {name for values in found if values.inside for name in values.outside}
    for path, values in zip(paths, found, strict=True):
        others = _WHITE & set(values.outside) - beside
        if counting and others and not values.inside and len(values.outside) == 2:
            other = min(others)
            raise DataError(
                f"the mask {path} has {other} where others have {min(counting)}, and only "
                f"mask_values={text} count; if both count, say mask_values={text}+{other}"
            )


def _first(paths: Sequence[Path], names: Sequence[Sequence[str]]) -> dict[str, Path]:
    """Return the first mask that has each value."""
    found: dict[str, Path] = {}
    for path, some in zip(paths, names, strict=True):
        for name in some:
            found.setdefault(name, path)
    return found
