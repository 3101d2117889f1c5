"""Draws frontal chest X-rays with masks of the lungs.

Image ``index`` of a stream depends only on the stream's seed and on ``index``, so a longer stream
begins with the shorter one; every size shows the same person. A film is drawn the way radiographs
form: tissue adds to the shadow along the beam, air reduces it, and a tone curve turns the sum into
grey. Ribs therefore cross each other and show through the heart.

Films have no labels; a mask is drawn from the same borders as the lungs.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from splitsec.data.drawn.chest_organs import (
    Chest,
    Field,
    Lungs,
    Place,
    add_abdomen,
    add_hila,
    add_opacity,
    add_ribs,
    add_shoulders,
    add_spine,
    draw_chest,
    draw_lungs,
    draw_tissue,
)
from splitsec.data.drawn.chest_vessels import Points, draw_vessels

Style = Literal["standard", "shifted"]

_CANVAS = 128  # smaller images are drawn at about this size and averaged down
_FONT = {  # of lead letters and printed labels
    "A": (".##.", "#..#", "####", "#..#", "#..#"),
    "C": (".###", "#...", "#...", "#...", ".###"),
    "E": ("####", "#...", "###.", "#...", "####"),
    "L": ("#...", "#...", "#...", "#...", "####"),
    "P": ("###.", "#..#", "###.", "#...", "#..."),
    "R": ("###.", "#..#", "###.", "#.#.", "#..#"),
    "T": ("####", ".##.", ".##.", ".##.", ".##."),
}


class _Scanner(NamedTuple):
    """How a hospital takes and prints its films; pairs are ranges."""

    zoom: tuple[float, float]
    height: float  # of the film's middle, which places the hila
    stretch: tuple[float, float]  # width over height: films are squeezed to a square
    softness: tuple[float, float]  # of the tone: 1 shows the lungs grey, 0 dark
    exposure: tuple[float, float]
    toe: tuple[float, float]  # the shadow up to which a film is black
    fog: tuple[float, float]  # the light of an empty film
    grain: tuple[float, float]
    cropped: float  # probability of a black border below
    labelled: float  # probability of a printed label
    width: float  # of the mean patient's rib cage


_SCANNERS: dict[Style, _Scanner] = {
    "standard": _Scanner(
        zoom=(1.05, 1.34),
        height=-0.01,
        stretch=(0.88, 1.14),
        softness=(0.4, 1.0),
        exposure=(0.68, 0.86),
        toe=(0.0, 0.06),
        fog=(0.01, 0.14),
        grain=(0.003, 0.01),
        cropped=0.1,
        labelled=0.05,
        width=1.0,
    ),
    "shifted": _Scanner(
        zoom=(0.98, 1.26),
        height=-0.15,
        stretch=(0.98, 1.25),
        softness=(0.0, 0.35),
        exposure=(0.82, 1.05),
        toe=(0.14, 0.24),
        fog=(0.0, 0.02),
        grain=(0.002, 0.007),
        cropped=0.75,
        labelled=0.9,
        width=1.07,
    ),
}


class _Pose(NamedTuple):
    """From the film to the chest and back; a film is [-1, 1] wide and high."""

    shift: tuple[float, float]
    turn: float  # radians
    scale: tuple[float, float]  # of chest to film, across and down
    bend: tuple[float, float]  # of the spine: shift to the side by y and by y**2

    def place(self, side: int) -> Place:
        """Return the chest coordinates of a canvas's pixels."""
        film_x, film_y = _grid(side)
        x, y = (film_x - self.shift[0]) / self.scale[0], (film_y - self.shift[1]) / self.scale[1]
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        down = y * cosine - x * sine
        across = x * cosine + y * sine - down * (self.bend[0] + self.bend[1] * down)
        pixel = 2 / (side * min(self.scale))
        return Place(across, down, np.abs(across), across > 0, pixel)

    def film(self, points: Points) -> Points:
        """Return points in chest coordinates, shape (..., 2), in film coordinates."""
        down = points[..., 1]
        across = points[..., 0] + down * (self.bend[0] + self.bend[1] * down)
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        turned = [across * cosine - down * sine, across * sine + down * cosine]
        return np.stack(turned, axis=-1) * self.scale + self.shift


class _Start(NamedTuple):
    """The part that a film and its mask share; drawn first, so that a mask needs no film."""

    pose: _Pose
    chest: Chest
    place: Place
    lungs: Lungs


def draw_cxr(
    seed: int, index: int, size: int, style: Style = "standard"
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one film of a stream and the mask of its lungs.

    Args:
        seed: seed of the stream.
        index: position in the stream, from 0.
        size: height and width in pixels.
        style: ``"shifted"`` is another hospital: hard contrast, dark lungs, printed labels,
            black borders, wider patients.

    Returns:
        Grey film and mask of the lungs (0 or 1), each of shape (1, size, size). The mask follows
        radiologists' practice: both lung fields without the parts behind heart and diaphragm.
    """
    generator, scanner = _generator(seed, index), _SCANNERS[style]
    factor = _supersampling(size)
    pose, chest, place, lungs = _begin(generator, scanner, size * factor)
    shadow = draw_tissue(generator, chest, place, lungs)
    add_abdomen(generator, chest, place, lungs, shadow)
    add_spine(generator, place, shadow)
    add_ribs(generator, chest, place, lungs, shadow)
    add_shoulders(generator, chest, place, shadow)
    add_hila(generator, place, lungs, shadow)
    shadow += draw_vessels(generator, pose.film, size * factor) * np.clip(lungs.air * 2 - 0.9, 0, 1)
    _add_texture(generator, chest, place, lungs, shadow)
    light = _develop(generator, scanner, shadow)
    _crop(generator, scanner, lungs, light)
    _letter(generator, scanner, light)
    film = _scan(generator, scanner, _averaged(light, factor))
    return film[None], _mask(lungs, factor)


def draw_cxr_mask(seed: int, index: int, size: int, style: Style = "standard") -> NDArray[np.uint8]:
    """Draw only the mask of a film, the same as :func:`draw_cxr` in a fraction of the time."""
    factor = _supersampling(size)
    start = _begin(_generator(seed, index), _SCANNERS[style], size * factor)
    return _mask(start.lungs, factor)


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))


def _supersampling(size: int) -> int:
    return max(1, round(_CANVAS / size))


def _begin(generator: np.random.Generator, scanner: _Scanner, side: int) -> _Start:
    pose, chest = _pose(generator, scanner), draw_chest(generator, scanner.width)
    place = pose.place(side)
    return _Start(pose, chest, place, draw_lungs(generator, chest, place))


def _mask(lungs: Lungs, factor: int) -> NDArray[np.uint8]:
    covered = _averaged((lungs.inside > 0).astype(np.float32), factor)
    return (covered >= 0.5).astype(np.uint8)[None]


@lru_cache(maxsize=4)
def _grid(side: int) -> tuple[Field, Field]:
    axis = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    return np.broadcast_to(axis, (side, side)), np.broadcast_to(axis[:, None], (side, side))


def _averaged(field: Field, factor: int) -> Field:
    """Average blocks, summing in a fixed order, since numpy's order depends on the machine."""
    if factor == 1:
        return field
    rows = field[::factor]
    for offset in range(1, factor):
        rows = rows + field[offset::factor]
    total = rows[:, ::factor]
    for offset in range(1, factor):
        total = total + rows[:, offset::factor]
    return total * (1 / factor**2)


def _pose(generator: np.random.Generator, scanner: _Scanner) -> _Pose:
    uniform, normal = generator.uniform, generator.normal
    zoom, stretch = uniform(*scanner.zoom), math.sqrt(uniform(*scanner.stretch))
    return _Pose(
        shift=(normal(0, 0.05), normal(scanner.height, 0.06)),
        turn=math.radians(normal(0, 2)),
        scale=(zoom * stretch, zoom / stretch),
        bend=(normal(0, 0.025), normal(0, 0.03)),
    )


def _add_texture(
    generator: np.random.Generator, chest: Chest, place: Place, lungs: Lungs, shadow: Field
) -> None:
    """Add the unevenness of tissue, the lungs' fine texture, and on some films an opacity."""
    side = len(shadow)
    coarse, fine = _noise(generator, side, 6), _noise(generator, side, 40)
    shadow += 0.03 * coarse * np.clip(shadow * 4, 0, 1)
    shadow += generator.uniform(0.008, 0.025) * fine * lungs.air
    if generator.uniform(0, 1) < 0.35:
        mottle = np.clip(0.7 + 0.5 * fine + 0.3 * coarse, 0, 2) * lungs.air
        add_opacity(generator, chest, place, mottle, shadow)


def _noise(generator: np.random.Generator, side: int, knots: int) -> Field:
    """Return smooth noise, of unit deviation at ``knots`` equidistant points per axis."""
    grid = generator.standard_normal((knots, knots)).astype(np.float32)
    position = (np.arange(side) + 0.5) / side * (knots - 1)
    low = np.minimum(position.astype(np.int64), knots - 2)
    share = (position - low).astype(np.float32)
    share = share * share * (3 - 2 * share)
    rows = grid[low] + (grid[low + 1] - grid[low]) * share[:, None]
    smooth: Field = rows[:, low] + (rows[:, low + 1] - rows[:, low]) * share
    return smooth


def _develop(generator: np.random.Generator, scanner: _Scanner, shadow: Field) -> Field:
    """Turn shadow into light, from black 0 to white 1."""
    uniform = generator.uniform
    toe, softness = uniform(*scanner.toe), uniform(*scanner.softness)
    light = np.maximum(shadow - toe, 0) * (uniform(*scanner.exposure) / (1 - toe))
    light = light + softness * (np.sqrt(light) - light)
    over = np.maximum(light - 0.8, 0)
    light = np.minimum(light, 0.8) + over / np.sqrt(1 + np.square(over * 5))
    fog = uniform(*scanner.fog)
    fogged: Field = fog + (1 - fog) * light
    return fogged


def _crop(generator: np.random.Generator, scanner: _Scanner, lungs: Lungs, light: Field) -> None:
    """End some films below the lungs: black, with or without a bright edge."""
    uniform, side = generator.uniform, len(light)
    chance, edge, bright = uniform(0, 1), uniform(0.7, 1.0), uniform(0, 1) < 0.5
    lowest = int(np.flatnonzero((lungs.inside > 0).any(axis=1)).max(initial=0))
    if chance < scanner.cropped:
        cut = max(int(edge * side), lowest + side // 32)
        light[cut:] = 0
        if bright:
            light[cut - max(1, side // 96) : cut] = 1.0


def _letter(generator: np.random.Generator, scanner: _Scanner, light: Field) -> None:
    """Add a lead letter on the side that it names, and on some films a printed label."""
    uniform = generator.uniform
    labelled = uniform(0, 1) < scanner.labelled
    right = uniform(0, 1) < 0.5 and not labelled  # a label would hide the letter on the right
    across = uniform(0.74, 0.9) if right else uniform(0.04, 0.18)
    down, cell = uniform(0.03, 0.14), uniform(0.009, 0.014)
    if uniform(0, 1) < 0.75:
        _stamp(light, "L" if right else "R", (across, down), cell, uniform(0.75, 1.0))
    across, down, lines = uniform(0.68, 0.79), uniform(0.01, 0.06), 1 + int(uniform(0, 1) < 0.8)
    if labelled:
        for row, text in enumerate(("PA", "ERECT")[:lines]):
            _label(light, text, (across, down + 0.055 * row))


def _label(light: Field, text: str, at: tuple[float, float]) -> None:
    """Print black letters on a white box."""
    side, cell = len(light), 0.0075
    left, top = int((at[0] - cell) * side), int((at[1] - cell) * side)
    right, bottom = int((at[0] + 5 * cell * len(text)) * side), int((at[1] + 6 * cell) * side)
    light[max(top, 0) : bottom, left:right] = 1.0
    _stamp(light, text, at, cell, 0.0)


def _stamp(light: Field, text: str, at: tuple[float, float], cell: float, value: float) -> None:
    """Write letters; position and size of a font's cell are shares of the film."""
    rows = ["".join(_FONT[letter][row] + "." for letter in text) for row in range(5)]
    bitmap = np.array([[mark == "#" for mark in row] for row in rows])
    axis = (np.arange(len(light)) + 0.5) / len(light)
    down = np.floor((axis - at[1]) / cell).astype(np.int64)
    across = np.floor((axis - at[0]) / cell).astype(np.int64)
    y = np.flatnonzero((down >= 0) & (down < bitmap.shape[0]))
    x = np.flatnonzero((across >= 0) & (across < bitmap.shape[1]))
    window = np.ix_(y, x)
    light[window] = np.where(bitmap[np.ix_(down[y], across[x])], np.float32(value), light[window])


def _scan(generator: np.random.Generator, scanner: _Scanner, light: Field) -> NDArray[np.uint8]:
    """Turn light into pixels: blur, grain, 8 bits."""
    blur = generator.gamma(2.0, 0.0008) * len(light)
    grain = generator.uniform(*scanner.grain)
    if blur > 0.2:
        for axis in (0, 1):
            light = gaussian_filter1d(light, blur, axis=axis, truncate=3.0)
    noise = generator.standard_normal(light.shape, dtype=np.float32)
    return np.clip((light + grain * noise) * 255 + 0.5, 0, 255).astype(np.uint8)
