"""How fast images are drawn or decoded into the cache, and read from it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import report

from splitsec.data.cache import cached_images
from splitsec.data.loading import load_data
from splitsec.plugins.data_spec import DataSpec
from splitsec.progress import Silent

ROUNDS = 3
BYTES = 100_000_000


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let decoded images be kept in a new folder."""
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", ["phantom-fundus", "phantom-cxr"])
def test_build(name: str, size: int, benchmark: Any, empty_cache: Path) -> None:
    spec = DataSpec(name=name, size=size, private=40, public=40, validation=10, held_out=10)

    def forget() -> None:
        shutil.rmtree(empty_cache, ignore_errors=True)

    benchmark.pedantic(load_data, (spec, Silent()), setup=forget, rounds=ROUNDS)
    built = spec.total / benchmark.stats.stats.median
    _report(benchmark, f"{name}, drawn", size, built)


@pytest.mark.parametrize("size", [32, 64])
def test_read(size: int, benchmark: Any, empty_cache: Path) -> None:
    spec = DataSpec(size=size, private=400, public=400, validation=100, held_out=100)
    load_data(spec, Silent())
    benchmark.pedantic(load_data, (spec, Silent()), rounds=ROUNDS)
    _report(
        benchmark,
        "phantom-fundus, from the cache, with its hash and partition",
        size,
        spec.total / benchmark.stats.stats.median,
    )


@pytest.mark.parametrize("there", [False, True], ids=["write", "read"])
def test_file(there: bool, benchmark: Any, empty_cache: Path) -> None:
    images = np.zeros((BYTES // (3 * 224 * 224), 3, 224, 224), np.uint8)

    def forget() -> None:
        shutil.rmtree(empty_cache, ignore_errors=True)

    def whole() -> int:
        return int(cached_images({"name": "benchmark"}, lambda: images, Silent()).max())

    whole()
    benchmark.pedantic(whole, setup=None if there else forget, rounds=ROUNDS)
    seconds = benchmark.stats.stats.median
    what = "read and checked" if there else "written"
    _report(benchmark, f"array, {what}", 224, len(images) / seconds)


def _report(benchmark: Any, what: str, size: int, images_per_second: float) -> None:
    report(
        benchmark,
        "data-cache",
        {
            "images": what,
            "size": f"{size} px",
            "images per second": images_per_second,
            "MB per second": images_per_second * 3 * size * size / 1e6,
        },
    )
