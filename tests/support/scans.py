"""Folders of small scans with a CSV of their labels and patients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from splitsec.data.loading import load_data
from splitsec.data.parts import Data
from splitsec.plugins.data_spec import DataSpec
from splitsec.progress import Silent
from support.parts import source_parameters

COUNTS = {"private": 20, "public": 20, "validation": 8, "held_out": 12}


def alternate(number: int) -> str:
    return ("healthy", "disease")[number % 2]


def write_scans(
    folder: Path,
    count: int = 80,
    *,
    label: Callable[[int], str] = alternate,
    patient: Callable[[int], str] = "p{}".format,
    picture: Callable[[int], int] = lambda number: number,
) -> Path:
    """Write ``count`` images and ``labels.csv``.

    Args:
        folder: where to write.
        count: number of images.
        label: from an image's number to its label.
        patient: from an image's number to its patient.
        picture: from an image's number to the number of the picture that it shows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["image,label,patient"]
    for number in range(count):
        generator = np.random.default_rng(picture(number))
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
        rows.append(f"{number:04d}.png,{label(number)},{patient(number)}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def load_scans(path: Path | str, progress: Any = None, **given: Any) -> Data:
    """Load a folder; ``given`` are counts, fields of the specification, or parameters."""
    fields = {name: given.pop(name) for name in list(given) if name in DataSpec.model_fields}
    parameters = source_parameters("folder", {"path": str(path), **given})
    spec = DataSpec(name="folder", parameters=parameters, **{"size": 16, **COUNTS, **fields})
    return load_data(spec, progress or Silent())


def numbers(data: Data) -> dict[str, int]:
    """Return the number of images of each part."""
    return {name: len(part) for name, part in data.parts().items()}


def owners(data: Data, group: Callable[[int], object]) -> dict[object, set[str]]:
    """Return the parts in which images of each group are."""
    found: dict[object, set[str]] = {}
    for name, part in data.parts().items():
        for key in part.indices.tolist():
            found.setdefault(group(key), set()).add(name)
    return found
