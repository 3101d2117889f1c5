"""Small files in MedMNIST's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitsec.data.sources import get_source
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.source import Catalogue

COUNTS = {"train": 12, "val": 4, "test": 6}
Arrays = dict[str, NDArray[Any]]


def arrays(pixels: int = 28, channels: int = 1, classes: int = 2) -> Arrays:
    """Return what a file holds: random images, and labels of shape (N, 1) as MedMNIST has them."""
    generator = np.random.default_rng(pixels)
    shape = (pixels, pixels, 3)[: 2 if channels == 1 else 3]
    held: Arrays = {}
    for split, count in COUNTS.items():
        held[f"{split}_images"] = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
        held[f"{split}_labels"] = (np.arange(count) % classes)[:, None].astype(np.uint8)
    return held


def write(file: Path, held: Arrays | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, allow_pickle=True, **(arrays() if held is None else held))
    return file


def catalogue(size: int = 28, **parameters: Any) -> Catalogue:
    listed: Catalogue = get_source("medmnist", parameters).catalogue(spec(size))
    return listed


def spec(size: int = 28) -> DataSpec:
    return DataSpec(name="medmnist", size=size)
