"""What tests share: a tiny cell, tiny parts and the place of real data."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from splitsec.data.parts import Part
from support.cells import draw_nothing
from support.parts import make_part

# Processes of pytest-xdist ignore Ctrl-C, and so would all that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Each process of pytest-xdist has a core: two threads each would wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

# numba, which dcor imports, sets the threads of OpenMP and so of torch to its own number.
THREADS = torch.get_num_threads()
os.environ["NUMBA_NUM_THREADS"] = str(THREADS)


CELLS = ("attacks", "cells", "cli", "ground", "records", "running")
"""Rooms whose tests run cells."""


def pytest_collection_finish() -> None:
    """Refuse imports that change torch's threads: processes would then wait for each other."""
    if torch.get_num_threads() != THREADS:
        raise pytest.UsageError(
            f"torch has {torch.get_num_threads()} threads after the tests were imported, and had "
            f"{THREADS} before; keep what they import from changing that"
        )


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests from writing into the user's cache, but share one cache between them.

    Weights that the user already has are still found: they are looked for there too.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "SPLITSEC_CACHE" not in os.environ:
            patch.setenv("SPLITSEC_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(autouse=True)
def _blank_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave panels and curves of cells blank, a fifth of a tiny one, unless a test is of them."""
    if request.path.parent.name in CELLS and not request.node.get_closest_marker("pictures"):
        for name in ("draw_panel", "draw_curves"):
            monkeypatch.setattr(f"splitsec.cells.writing.{name}", draw_nothing)


@pytest.fixture
def bubblewrap() -> None:
    """Bubblewrap may be missing on a person's machine, but not where changes are tested."""
    if shutil.which("bwrap") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("bubblewrap is not installed")
        pytest.skip("bubblewrap is not installed")


@pytest.fixture
def part() -> Part:
    return make_part(20)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def data_root() -> Path:
    """The folder of real data; tests that need them are skipped where there is none."""
    root = os.environ.get("SPLITSEC_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("SPLITSEC_DATA names no folder of real data")
    return Path(root)
