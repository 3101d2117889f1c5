"""Dark photographs of an eye that differ in their vessels, and copies of photographs."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_DRAWN = 96


def dark_photographs(count: int, size: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """Return different photographs that a coarse grey grid cannot tell apart.

    All have the same dark disc on black; vessels and spots differ.

    Returns:
        Shape (count, 3, size, size).
    """
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:_DRAWN, 0:_DRAWN] / _DRAWN - 0.5
    radius = np.hypot(x, y)
    disc = 1 / (1 + np.exp((radius - 0.46) * 120))
    light = (0.9 - 0.6 * (radius / 0.46) ** 2) * np.array([45, 22, 8])[:, None, None]
    images = np.empty((count, 3, size, size), np.uint8)
    for number in range(count):
        vessels = np.zeros_like(x)
        side = generator.choice([-0.2, 0.2])
        for _ in range(8):
            angle, bend = generator.uniform(0, 2 * np.pi), generator.uniform(-6, 6)
            along = np.linspace(0, 0.6, 60)
            columns = side + along * np.cos(angle + bend * along)
            rows = along * np.sin(angle + bend * along)
            vessels[_place(rows), _place(columns)] = 1
        image = light * (1 - 0.35 * vessels) * (1 + generator.normal(0, 0.05))
        image = image * disc + 2 + generator.normal(0, 1.5, image.shape)
        images[number] = resized(np.clip(image, 0, 255).astype(np.uint8), size)
    return images


def _place(where: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.clip(((where + 0.5) * _DRAWN).astype(np.int64), 0, _DRAWN - 1)


def resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return an image of shape (3, H, W) at another size."""
    picture = Image.fromarray(image.transpose(1, 2, 0))
    small = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small).transpose(2, 0, 1)


def saved_as_jpeg(image: NDArray[np.uint8], quality: int = 90) -> NDArray[np.uint8]:
    """Return what an image of shape (3, H, W) is after it was saved as a JPEG."""
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream)).transpose(2, 0, 1)


def chained_by_a_coarse_grid(images: NDArray[np.uint8], tolerance: float = 3.0) -> int:
    """Return the largest group that 16x16 grey versions within a tolerance chain together."""
    count, _, height, width = images.shape
    blocks = images.mean(1).reshape(count, 16, height // 16, 16, width // 16).mean((2, 4))
    rows = blocks.reshape(count, -1)
    squares = np.square(rows).mean(1)
    near = squares[:, None] + squares - 2 * rows @ rows.T / rows.shape[1] < tolerance**2
    reached, new = np.zeros(count, bool), np.zeros(count, bool)
    new[0] = True
    while new.any():
        reached |= new
        new = near[new].any(0) & ~reached
    return int(reached.sum())
