"""Three passive attacks, three defenses and two seeds: in one command, or cell by cell.

In one command the attacks of a session listen to one honest training, and share the scores of
attackers that see nothing. With T for a training and A for what its three attacks take together,
the ratio is about (3 T + A) / (T + A): 3 at most, and 2 only where a training takes as long as its
attacks together. Here about seven tenths of the time one by one is training; the row says how much.
A default pseudo-client takes longer than a training: here it has four updates.

Both ways run in this process and on one thread. What a process costs to start is not counted,
though one command per cell would pay it 18 times. The records must be the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from machine import seconds
from tables import report

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells

ATTACKS = "adra:epochs=10,adra:epochs=20,pseudo-client:afterwards=4,epochs=10"
DEFENSES = "none,dcor,gaussian-noise"
SMALL = [
    "training.epochs=24",
    "counts.private=128",
    "counts.public=64",
    "counts.validation=8",
    "counts.held_out=16",
    "counts.victims=16",
]
LEAST_RATIO = 2.0


def test_work_is_done_once(benchmark: Any, tmp_path: Path) -> None:
    cells = resolve(
        Request(
            attack=ATTACKS,
            defense=DEFENSES,
            target="resnet:depth=18",
            size=16,
            seed=range(2),
            settings=SMALL,
            threads=1,
        )
    )
    list(run_cells(cells[:1], tmp_path / "warm", Silent()))  # LPIPS is loaded, images are drawn
    together: list[Record] = []
    alone: list[Record] = []

    def run_together() -> None:
        together.extend(run_cells(cells, tmp_path / "together", Silent()))

    def run_alone() -> None:
        for cell in cells:
            alone.extend(run_cells([cell], tmp_path / "alone", Silent()))

    alone_seconds = seconds(run_alone)
    benchmark.pedantic(run_together, rounds=1)
    together_seconds = benchmark.stats.stats.median
    assert {one.cell_id: one.numbers() for one in together} == {
        one.cell_id: one.numbers() for one in alone
    }
    assert {one.status for one in together} == {"ok"}
    trained = sum(one.timings["honest training"] for one in alone)
    report(
        benchmark,
        "work-done-once",
        {
            "cells": len(cells),
            "one by one, s": alone_seconds,
            "of which honest training, %": 100 * trained / alone_seconds,
            "in one command, s": together_seconds,
            "ratio": alone_seconds / together_seconds,
        },
    )
    assert alone_seconds / together_seconds >= LEAST_RATIO
