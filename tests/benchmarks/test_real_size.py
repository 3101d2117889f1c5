"""How fast photographs are catalogued, decoded to 224 px and partitioned, and in how much memory.

A folder of the layout of diabetic-retinopathy lists 35,000 photographs, of which the parts need
3,000. Those that are decoded have about 1 MB each; the others are links to one file, and must not
be read. Pillow alone decodes the same files, in as many processes as there are cores, in turn.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from machine import THREADS, seconds
from numpy.typing import NDArray
from PIL import Image
from tables import report

from splitsec.data.partition import SPARES, candidates
from splitsec.datasets.diabetic_retinopathy import (
    DiabeticRetinopathy,
    DiabeticRetinopathyParameters,
)
from splitsec.plugins.data_spec import DataSpec

LISTED, NEEDED = 35_000, {"private": 1400, "public": 1200, "validation": 200, "held_out": 200}
SIDE, QUALITY, SHOWN, ROUNDS = 1700, 92, 224, 3
LEAST_SHARE, MOST_BYTES = 0.9, 2e9

LOADED = """
import json, resource, sys, time
from splitsec.data.loading import load_data
from splitsec.plugins.data_spec import DataSpec
from splitsec.progress import Silent
start = time.perf_counter()
data = load_data(DataSpec.model_validate_json(sys.argv[1]), Silent())
spent = time.perf_counter() - start
print(json.dumps([spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


class Photographs(NamedTuple):
    """A data set on disk, and the files that its parts need."""

    spec: DataSpec
    needed: list[Path]


def photograph(number: int, file: Path) -> None:
    """Write a photograph of about 1 MB: shades of its own, and a sensor's noise."""
    generator = np.random.default_rng(number)
    coarse = generator.integers(40, 216, (12, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    noise = generator.integers(-12, 13, (SIDE, SIDE, 1), dtype=np.int16)
    pixels = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file, quality=QUALITY)


def by_pillow(file: Path) -> NDArray[np.uint8]:
    """Decode and resize a file as splitsec does, by Pillow alone."""
    with Image.open(file) as image:
        image.draft("RGB", (2 * SHOWN, 2 * SHOWN))
        small = image.convert("RGB").resize((SHOWN, SHOWN), Image.Resampling.BILINEAR)
        return np.asarray(small)


@pytest.fixture(scope="module")
def pool() -> ProcessPoolExecutor:
    """As many processes as there are cores."""
    return ProcessPoolExecutor(THREADS, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, pool: ProcessPoolExecutor) -> Photographs:
    """A data set of Kaggle's layout; only the photographs that are needed have a file each."""
    root = tmp_path_factory.mktemp("photographs")
    folder = root / "resized_train_cropped" / "resized_train_cropped"
    folder.mkdir(parents=True)
    files = [folder / f"{number}_left.jpeg" for number in range(LISTED)]
    (root / "none.jpeg").write_bytes(b"no photograph")
    for file in files:
        os.link(root / "none.jpeg", file)
    table = {"image": [file.stem for file in files], "level": np.arange(LISTED) % 2}
    pd.DataFrame(table).to_csv(root / "trainLabels.csv", index=False)
    parameters = {"path": str(root)}
    spec = DataSpec(name="diabetic-retinopathy", parameters=parameters, size=SHOWN, **NEEDED)
    source = DiabeticRetinopathy(DiabeticRetinopathyParameters(**parameters))
    needed = [files[row] for row in candidates(source.catalogue(spec), spec, SPARES[0])]
    for file in needed:
        file.unlink()
    list(pool.map(photograph, range(len(needed)), needed, chunksize=50))
    return Photographs(spec, needed)


def load(photographs: Photographs, cache: Path) -> tuple[float, float]:
    """Load the data set in a process of its own; return its seconds and its most bytes."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, photographs.spec.model_dump_json()],
        env=os.environ | {"SPLITSEC_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    spent, memory = json.loads(ran.stdout)
    return spent, memory


def test_photographs(
    photographs: Photographs, pool: ProcessPoolExecutor, benchmark: Any, tmp_path: Path
) -> None:
    needed, ours, theirs, memory = photographs.needed, [], [], []

    def alone() -> None:
        for _ in pool.map(by_pillow, needed, chunksize=50):
            pass

    for number in range(ROUNDS):
        theirs.append(seconds(alone))
        spent, most = load(photographs, tmp_path / str(number))
        ours.append(spent)
        memory.append(most)
    kept, _ = load(photographs, tmp_path / "0")
    benchmark.pedantic(lambda: None)
    share = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
    size = sum(file.stat().st_size for file in needed) / len(needed) / 1e6
    report(
        benchmark,
        "real-size",
        {
            "listed": LISTED,
            "decoded": len(needed),
            "MB each": size,
            "first load, s": statistics.median(ours),
            "Pillow alone, s": statistics.median(theirs),
            "share of Pillow's rate": share,
            "most memory, GB": max(memory) / 1e9,
            "again, from the cache, s": kept,
        },
    )
    assert max(memory) < MOST_BYTES
    assert share >= LEAST_SHARE
