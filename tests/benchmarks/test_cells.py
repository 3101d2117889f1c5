"""What a cell costs that has next to nothing to do, and what the grid adds to it.

Attack none, one exchange of two images, the smallest ResNet: what is left is loading data, building
the model, scoring the utility, drawing the curve and writing the record.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from machine import seconds
from tables import report

from splitsec.cells.cell import Cell
from splitsec.cells.evaluation import evaluate_cells
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.progress import Silent
from splitsec.running.executors import Executor, InProcess
from splitsec.running.executors.workers import Workers
from splitsec.running.runs import run_cells

EMPTY = [
    "training.epochs=1",
    "training.batch_size=2",
    "counts.private=2",
    "counts.public=2",
    "counts.validation=2",
    "counts.held_out=2",
    "counts.victims=1",
]
CELLS, ROUNDS = 10, 5


def cells() -> list[Cell]:
    return resolve(
        Request(
            attack="none",
            defense="none",
            target="resnet:depth=18",
            size=16,
            seed=range(CELLS),
            threads=1,
            settings=EMPTY,
        )
    )


def run_each(grid: Sequence[Cell], store: Path) -> None:
    for cell in grid:
        list(evaluate_cells([cell], store, Silent()))


def run_grid(grid: Sequence[Cell], store: Path, executor: Executor) -> None:
    list(run_cells(grid, store, Silent(), executor=executor))


def test_empty_cell_and_grid(benchmark: Any, tmp_path: Path) -> None:
    grid, stores = cells(), (tmp_path / str(number) for number in count())
    each_seconds: list[float] = []
    benchmark.pedantic(
        lambda: run_grid(grid, next(stores), InProcess()),
        setup=lambda: each_seconds.append(seconds(lambda: run_each(grid, next(stores)))),
        rounds=ROUNDS,
        warmup_rounds=1,
    )
    grid_seconds = benchmark.stats.stats.data
    pairs = zip(grid_seconds, each_seconds[-ROUNDS:], strict=True)
    report(
        benchmark,
        "cells",
        {
            "what": "in this process",
            "cells": CELLS,
            "alone, ms per cell": 1e3 * statistics.median(each_seconds) / CELLS,
            "in a grid, ms per cell": 1e3 * statistics.median(grid_seconds) / CELLS,
            "the grid adds, ms per cell": 1e3
            * statistics.median(ours - theirs for ours, theirs in pairs)
            / CELLS,
        },
    )


def test_cells_in_workers(benchmark: Any, tmp_path: Path) -> None:
    grid, stores = cells(), (tmp_path / str(number) for number in count())
    benchmark.pedantic(lambda: run_grid(grid, next(stores), Workers(2)), rounds=1)
    _report_grid(benchmark, "two workers, a process per session", CELLS)


@pytest.mark.parametrize("records", [CELLS, 10 * CELLS])
def test_cells_that_have_records(records: int, benchmark: Any, tmp_path: Path) -> None:
    repeated = records // CELLS
    grid = cells()
    run_grid(grid, tmp_path, InProcess())
    benchmark.pedantic(
        lambda: list(run_cells(grid * repeated, tmp_path, Silent(), rerun="failed")), rounds=ROUNDS
    )
    _report_grid(benchmark, "that have a record", records)


def _report_grid(benchmark: Any, what: str, number: int) -> None:
    per_cell = 1e3 * benchmark.stats.stats.median / number
    report(benchmark, "cells", {"what": what, "cells": number, "in a grid, ms per cell": per_cell})
