"""Draws fundus photographs: a stylised eye, seen through a camera.

Image ``index`` of a stream depends only on the stream's seed and on ``index``, so a longer stream
begins with the shorter one; every size shows the same eye. An eye has an optic disc, a macula, a
tree of vessels, a pigmented background and, if it is diseased, lesions; a photograph has a pose, an
illumination, a colour, a mask, blur and noise. Blood is drawn as optical density (Beer-Lambert), so
crossings are darker than either vessel.

Half of the images, one of each pair of neighbours, show diabetic retinopathy. Only lesions depend
on the label; nothing else in eye or camera does.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from splitsec.data.drawn.fundus_vessels import NODES, Floats, Vessels, grow_vessels

Camera = Literal["screening", "shifted"]
Image = NDArray[np.float32]

CLASSES = ("healthy", "diabetic retinopathy")

_CANVAS = 96  # smaller images are drawn at up to this size and averaged down
_BLOOD = np.array([0.42, 1.15, 0.95])  # optical density of blood in red, green and blue
_SKINS = np.array(  # pigment under the light of a camera: brown, orange, pink, olive
    [[0.47, 0.28, 0.12], [0.86, 0.42, 0.16], [0.90, 0.52, 0.43], [0.55, 0.45, 0.23]]
)
_EXUDATE = np.array([1.0, 0.90, 0.48])
_COTTON = np.array([0.98, 0.92, 0.78])


class _CameraModel(NamedTuple):
    skins: tuple[float, float, float, float]  # weight of each row of _SKINS
    gaze: tuple[float, float]  # range of the optical axis between fovea (0) and disc (1)
    zoom: tuple[float, float]
    gain: tuple[float, float]
    haze: float  # probability of a bright rim


_CAMERAS: dict[str, _CameraModel] = {
    "screening": _CameraModel((1.0, 1.0, 0.9, 0.5), (-0.1, 0.95), (0.88, 1.18), (0.72, 1.3), 0.45),
    "shifted": _CameraModel((1.2, 0.3, 0.2, 1.4), (0.4, 1.25), (1.05, 1.4), (0.6, 1.0), 0.75),
}


class _View(NamedTuple):
    """From retinal coordinates to the image, whose field of view has about radius 1."""

    centre: Floats  # (2,), the point of the retina on the optical axis
    turn: Floats  # (2, 2), rotation, mirror and zoom

    def project(self, points: Floats) -> Floats:
        moved = points - self.centre
        x = moved[..., 0] * self.turn[0, 0] + moved[..., 1] * self.turn[0, 1]
        y = moved[..., 0] * self.turn[1, 0] + moved[..., 1] * self.turn[1, 1]
        return np.stack([x, y], axis=-1)


class _Dots(NamedTuple):
    """Gaussian spots in image coordinates."""

    at: Floats  # (dots, 2)
    sigma: Floats  # (dots,)
    peak: Floats  # (dots,)


class _Lesions(NamedTuple):
    blood: _Dots
    exudates: _Dots
    cotton: _Dots


def phantom_label(seed: int, index: int) -> int:
    """Return the class of a phantom: 0 healthy, 1 diabetic retinopathy.

    Of the images ``2k`` and ``2k + 1`` one is healthy and one is not, in random order.
    """
    first = int(_generator(seed, 1, index // 2).integers(2))
    return first ^ (index & 1)


def draw_fundus(
    seed: int, index: int, size: int, camera: Camera = "screening"
) -> NDArray[np.uint8]:
    """Draw one photograph of a stream.

    Args:
        seed: seed of the stream.
        index: position in the stream, from 0.
        size: height and width in pixels.
        camera: ``"shifted"`` is another camera and population: darker, closer, disc-centred.

    Returns:
        RGB image of shape (3, size, size).
    """
    generator = _generator(seed, 0, index)
    model = _CAMERAS[camera]
    factor = max(1, _CANVAS // size)
    side = size * factor
    disc = np.array([0.62, -0.05]) + generator.normal(0, 0.02, 2)
    view = _pose(generator, model, disc)
    vessels = grow_vessels(generator, disc)
    x, y = _grid(side)
    colour = np.array(model.skins) * generator.dirichlet(np.full(4, 0.45))
    skin = (colour / colour.sum()) @ _SKINS * np.exp(generator.normal(0, 0.08, 3))

    scene = _background(generator, side, skin)
    _paint_disc(generator, scene, view, disc, x, y)
    blood = _vessel_density(vessels, view, side)
    lesions = _lesions(generator, view, phantom_label(seed, index))
    blood += 1.5 * (1.0 - np.exp(-_splat(lesions.blood, side)))
    _blend(scene, _splat(lesions.cotton, side), _COTTON, skin)
    _blend(scene, _splat(lesions.exudates, side), _EXUDATE, skin)
    _shade_macula(generator, blood, view, x, y)
    scene *= np.exp(-_BLOOD[:, None, None].astype(np.float32) * blood)

    scene *= _illumination(generator, model, x, y)
    _add_haze(generator, model, scene, x, y)
    scene *= _mask(generator, x, y, side)
    photograph = scene.reshape(3, size, factor, size, factor).mean(axis=(2, 4))
    return _expose(generator, photograph, size)


def _generator(seed: int, stream: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream, index])))


@lru_cache(maxsize=4)
def _grid(side: int) -> tuple[Image, Image]:
    axis = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    return np.broadcast_to(axis, (side, side)), np.broadcast_to(axis[:, None], (side, side))


@lru_cache(maxsize=16)
def _interpolation(side: int, knots: int) -> Image:
    """Weights (side, knots) of smooth interpolation between equidistant knots."""
    position = (np.arange(side) + 0.5) / side * (knots - 1)
    distance = np.abs(position[:, None] - np.arange(knots))
    weights = np.exp(-((distance / 0.6) ** 2))
    drawn: Image = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return drawn


def _clouds(generator: np.random.Generator, side: int, knots: int, fields: int) -> Image:
    """Return smooth random fields of about unit deviation, shape (fields, side, side)."""
    grid = generator.normal(size=(fields, knots, knots)).astype(np.float32)
    weights = _interpolation(side, knots)
    # einsum without a BLAS gives the same sums for any number of threads
    rows = np.einsum("yk,fkl->fyl", weights, grid)
    drawn: Image = np.einsum("fyl,xl->fyx", rows, weights)
    return drawn


def _pose(generator: np.random.Generator, model: _CameraModel, disc: Floats) -> _View:
    along = generator.uniform(*model.gaze)
    centre = disc * along + generator.normal(0, [0.05, 0.1])
    angle = np.radians(generator.normal(0, 7))
    zoom = generator.uniform(*model.zoom)
    mirror = 1.0 if generator.random() < 0.5 else -1.0
    cosine, sine = np.cos(angle) * zoom, np.sin(angle) * zoom
    return _View(centre, np.array([[mirror * cosine, -sine], [mirror * sine, cosine]]))


def _background(generator: np.random.Generator, side: int, skin: Floats) -> Image:
    """Paint pigment: coarse and fine clouds, and in some eyes the choroid showing through."""
    coarse, pigment = _clouds(generator, side, 4, 2)
    fine = _clouds(generator, side, 13, 1)[0]
    tessellation = max(0.0, generator.normal(0.0, 0.12))
    ridges = np.abs(_clouds(generator, side, 19, 1)[0]) - 0.5
    light = 0.10 * coarse + 0.035 * fine - tessellation * ridges
    spread = np.array([0.5, 1.0, 1.15], dtype=np.float32)[:, None, None]
    tint = np.array([0.03, -0.02, -0.06], dtype=np.float32)[:, None, None]
    exponent = spread * light + tint * pigment
    drawn: Image = np.exp(exponent) * skin.astype(np.float32)[:, None, None]
    return drawn


def _paint_disc(
    generator: np.random.Generator, scene: Image, view: _View, disc: Floats, x: Image, y: Image
) -> None:
    at = view.project(disc)
    zoom = float(np.hypot(*view.turn[0]))
    high = 0.125 * zoom * generator.uniform(0.88, 1.15)
    wide = high * generator.uniform(0.82, 0.98)
    distance = np.sqrt(((x - at[0]) / wide) ** 2 + ((y - at[1]) / high) ** 2)
    glow = np.exp(-0.5 * (distance / 2.3) ** 2) * generator.uniform(0.05, 0.3)
    scene *= 1 + np.array([0.6, 1.0, 0.8], dtype=np.float32)[:, None, None] * glow
    if generator.random() < 0.35:  # a crescent of atrophy or pigment on one side
        shift = generator.normal(0, 0.25, 2)
        crescent = np.sqrt(
            ((x - at[0]) / wide - shift[0]) ** 2 + ((y - at[1]) / high - shift[1]) ** 2
        )
        rim = 1 / (1 + np.exp(np.minimum((crescent - 1.2) / 0.08, 60)))
        scene *= 1 + generator.choice([-0.3, 0.22]) * rim
    skin = scene.mean(axis=(1, 2))
    bright = generator.uniform(0.75, 1.05)
    pale = np.maximum(np.array([0.98, 0.80, 0.50]) * bright, skin * [1.05, 1.35, 1.3])
    cup = np.maximum(np.array([1.06, 0.98, 0.76]) * bright, pale * 1.1)
    cover = 1 / (1 + np.exp(np.minimum((distance - 1) / 0.09, 60)))
    depth = 1 / (1 + np.exp(np.minimum((distance - generator.uniform(0.3, 0.6)) / 0.1, 60)))
    for channel in range(3):
        face = pale[channel] + (cup[channel] - pale[channel]) * depth
        scene[channel] += (face - scene[channel]) * (0.92 * cover)


def _vessel_density(vessels: Vessels, view: _View, side: int) -> Image:
    """Optical density of all vessels in green light, shape (side, side)."""
    scale = side / 2
    zoom = float(np.hypot(*view.turn[0]))
    spacing = 0.5 + 0.004 * scale  # pixels, under one deviation of the thinnest line drawn
    reach = float(vessels.lengths.max())
    nodes = view.project(vessels.nodes)
    density = np.zeros((side, side), dtype=np.float32)
    # vessels of similar length share one number of points, so that each batch is one array
    edges = (0.0, 0.12, 0.3, 0.7, reach + 1)
    for low, high in pairwise(edges):
        chosen = (vessels.lengths >= low) & (vessels.lengths < high)
        if not chosen.any():
            continue
        longest = float(vessels.lengths[chosen].max())
        points = max(NODES, int(np.ceil(longest * zoom * scale / spacing)))
        at = _resample(nodes[chosen], points)
        sigma = _resample(vessels.widths[chosen][..., None], points)[..., 0] * zoom
        peak = _resample(vessels.densities[chosen][..., None], points)[..., 0]
        step = (vessels.lengths[chosen] * zoom / points)[:, None]
        drawn = np.maximum(sigma, _thinnest(side))
        # points summed along a line: their integral is the profile's peak
        peak = peak * (sigma / drawn) * step / (np.sqrt(2 * np.pi) * drawn)
        density += _splat(_Dots(at.reshape(-1, 2), drawn.ravel(), peak.ravel()), side)
    return density


def _resample(values: Floats, points: int) -> Floats:
    """Interpolate (vessels, NODES, k) linearly to (vessels, points, k)."""
    position = np.linspace(0, NODES - 1, points)
    left = np.minimum(position.astype(np.int64), NODES - 2)
    weight = (position - left)[None, :, None]
    return values[:, left] * (1 - weight) + values[:, left + 1] * weight


def _thinnest(side: int) -> float:
    """Deviation, in image coordinates, of the thinnest spot that a canvas can hold."""
    return 0.55 * 2 / side


def _splat(dots: _Dots, side: int) -> Image:
    """Sum Gaussian spots on a canvas of shape (side, side)."""
    inside = (np.abs(dots.at) < 1.2).all(axis=1)
    at, peak = dots.at[inside], dots.peak[inside]
    if not len(at):
        return np.zeros((side, side), dtype=np.float32)
    sigma = dots.sigma[inside]
    drawn = np.maximum(sigma, _thinnest(side)) * side / 2
    peak = peak * np.minimum(1.0, sigma * side / 2 / drawn) ** 2
    window = int(np.ceil(2.4 * drawn.max()))
    pixels = (at + 1) * side / 2 - 0.5
    corner = np.floor(pixels + 0.5).astype(np.int64)
    offsets = np.arange(-window, window + 1)
    fraction = (pixels - corner).astype(np.float32)
    spread = (-0.5 / drawn**2).astype(np.float32)[:, None]
    across = np.exp((offsets.astype(np.float32) - fraction[:, :1]) ** 2 * spread)
    down = np.exp((offsets.astype(np.float32) - fraction[:, 1:]) ** 2 * spread)
    weights = (down * peak.astype(np.float32)[:, None])[:, :, None] * across[:, None, :]
    padded = side + 2 * window + 2
    columns = np.clip(corner[:, 0], -1, side) + window + 1
    rows = np.clip(corner[:, 1], -1, side) + window + 1
    first = rows * padded + columns
    cells = first[:, None, None] + (offsets[:, None] * padded + offsets)[None]
    total = np.bincount(cells.ravel(), weights.ravel(), minlength=padded * (padded + 1))
    canvas = total[: padded * padded].reshape(padded, padded)
    edge = window + 1
    return canvas[edge : edge + side, edge : edge + side].astype(np.float32)


def _shade_macula(
    generator: np.random.Generator, blood: Image, view: _View, x: Image, y: Image
) -> None:
    """Darken macula and fovea, and keep vessels out of the avascular zone."""
    at = view.project(np.zeros(2))
    zoom = float(np.hypot(*view.turn[0]))
    distance = ((x - at[0]) ** 2 + (y - at[1]) ** 2) / zoom**2
    blood += generator.uniform(0.25, 0.5) * np.exp(distance * (-0.5 / 0.14**2))
    blood += generator.uniform(0.1, 0.35) * np.exp(distance * (-0.5 / 0.045**2))


def _lesions(generator: np.random.Generator, view: _View, label: int) -> _Lesions:
    """Draw the lesions of an eye; a healthy one has none.

    The grade (1 to 4) decides how many microaneurysms, haemorrhages, hard exudates and
    cotton-wool spots there are.
    """
    if not label:
        nothing = _Dots(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
        return _Lesions(nothing, nothing, nothing)
    grade = 1 + int(generator.choice(4, p=[0.2, 0.4, 0.25, 0.15]))
    few, many = [(2, 5), (4, 9), (8, 16), (10, 20)][grade - 1]
    blood = [
        _clusters(generator, int(generator.integers(6, 15)), 1, 0.0, (0.011, 0.016), 1.4),
        _clusters(generator, int(generator.integers(few, many)), 6, 0.024, (0.016, 0.026), 0.9),
    ]
    if grade >= 3 and generator.random() < 0.6:
        blood.append(_clusters(generator, 1, 14, 0.075, (0.03, 0.05), 0.9))
    patches = generator.integers(*[(0, 2), (1, 4), (2, 5), (2, 6)][grade - 1])
    exudates = _clusters(generator, int(patches), 14, 0.055, (0.009, 0.018), 1.2, spread=0.32)
    spots = generator.integers(*[(0, 1), (0, 2), (1, 4), (1, 4)][grade - 1])
    cotton = _clusters(generator, int(spots), 5, 0.03, (0.028, 0.045), 0.35)
    zoom = float(np.hypot(*view.turn[0]))

    def seen(dots: _Dots, around: Floats) -> _Dots:
        return _Dots(view.project(dots.at + around), dots.sigma * zoom, dots.peak)

    joined = _Dots(*(np.concatenate(parts) for parts in zip(*blood, strict=True)))
    fovea = np.zeros(2)
    return _Lesions(seen(joined, view.centre), seen(exudates, fovea), seen(cotton, view.centre))


def _clusters(
    generator: np.random.Generator,
    count: int,
    dots: int,
    radius: float,
    sigma: tuple[float, float],
    peak: float,
    spread: float = 0.85,
) -> _Dots:
    """Scatter ``count`` clusters of ``dots`` spots over a circle of radius ``spread``."""
    angle = generator.uniform(0, 2 * np.pi, count)
    away = spread * np.sqrt(generator.uniform(0.03, 1.0, count))
    centres = np.stack([away * np.cos(angle), away * np.sin(angle)], axis=1)
    size = generator.uniform(0.6, 1.3, (count, 1, 1))
    stretch = generator.uniform(0.5, 1.3, (count, 1, 2))
    at = centres[:, None] + generator.normal(0, radius, (count, dots, 2)) * size * stretch
    sigmas = generator.uniform(*sigma, (count, dots)) * np.sqrt(size[..., 0])
    peaks = peak * generator.uniform(0.7, 1.2, (count, dots))
    return _Dots(at.reshape(-1, 2), sigmas.ravel(), peaks.ravel())


def _blend(scene: Image, amount: Image, colour: Floats, skin: Floats) -> None:
    """Cover the scene with a bright lesion, of opacity ``amount``."""
    if not amount.any():
        return
    cover = 0.9 * (1 - np.exp(-amount))
    bright = colour * max(0.75, 1.25 * float(skin.max()))
    for channel in range(3):
        scene[channel] += (bright[channel] - scene[channel]) * cover


def _illumination(generator: np.random.Generator, model: _CameraModel, x: Image, y: Image) -> Image:
    """Return the light of the flash: hot spot, fall-off, and often a shadow on one side."""
    spot = generator.normal(0, 0.22, 2)
    squared = (x - spot[0]) ** 2 + (y - spot[1]) ** 2
    light = np.exp(squared * -generator.uniform(0.1, 0.75))
    if generator.random() < 0.55:
        angle = generator.uniform(0, 2 * np.pi)
        depth = x * np.cos(angle) + y * np.sin(angle) - generator.uniform(0.0, 0.6)
        light = light * np.exp(np.maximum(depth, 0) ** 2 * -generator.uniform(0.3, 4.0))
    drawn: Image = (light * generator.uniform(*model.gain)).astype(np.float32)
    return drawn


def _add_haze(
    generator: np.random.Generator, model: _CameraModel, scene: Image, x: Image, y: Image
) -> None:
    """Add the bright crescent that stray light leaves along the rim of many photographs."""
    likely, angle = generator.random() < model.haze, generator.uniform(0, 2 * np.pi)
    strength, veil = generator.uniform(0.05, 0.5), generator.exponential(0.02)
    colour = np.array([0.75, 0.85, 0.62]) * np.exp(generator.normal(0, 0.2, 3))
    scene += np.float32(veil)
    if not likely:
        return
    radius = np.sqrt(x**2 + y**2)
    facing = np.maximum(0.0, 0.4 + (x * np.cos(angle) + y * np.sin(angle)))
    crescent = strength * facing * np.exp((radius - 1) * generator.uniform(9, 22))
    scene += colour.astype(np.float32)[:, None, None] * crescent.astype(np.float32)


def _mask(generator: np.random.Generator, x: Image, y: Image, side: int) -> Image:
    """Return the camera's mask: a circle, in some cameras cut above and below or notched."""
    radius = generator.uniform(0.9, 0.99)
    shift = generator.normal(0, 0.012, 2)
    kind = generator.random()
    notch, cut = generator.uniform(-0.8, 0.8), generator.uniform(0.78, 0.92)
    if kind < 0.22:
        radius = generator.uniform(0.98, 1.12)
    edge = side / 2 * 0.8
    x, y = x - shift[0], y - shift[1]
    inside = np.clip((radius - np.sqrt(x**2 + y**2)) * edge + 0.5, 0, 1)
    if kind < 0.22:
        inside = inside * np.clip((cut - np.abs(y)) * edge + 0.5, 0, 1)
    elif kind < 0.38:
        angle = notch
        along = x * np.cos(angle) + y * np.sin(angle)
        across = np.abs(y * np.cos(angle) - x * np.sin(angle))
        bump = np.minimum(radius + 0.06 - along, 0.06 - across)
        inside = np.maximum(inside, np.clip(bump * edge + 0.5, 0, 1) * (along > 0))
    drawn: Image = inside.astype(np.float32)
    return drawn


def _expose(generator: np.random.Generator, photograph: Image, size: int) -> NDArray[np.uint8]:
    """Turn light into pixels: blur, sensor noise, tone curve, 8 bits."""
    blur = generator.gamma(2.0, 0.0028) * size
    if blur > 0.25:
        for axis in (1, 2):
            photograph = gaussian_filter1d(photograph, blur, axis=axis, truncate=3.0)
    noise = generator.standard_normal(photograph.shape, dtype=np.float32)
    grain = np.float32(generator.uniform(0.004, 0.016))
    gamma = generator.uniform(0.85, 1.15)
    photograph = np.maximum(photograph, 0)
    light = np.where(photograph > 0.7, 0.7 + 0.3 * np.tanh((photograph - 0.7) / 0.3), photograph)
    tone = light**gamma + grain * noise * np.sqrt(light + 0.02)
    return np.clip(tone * 255 + 0.5, 0, 255).astype(np.uint8)
