"""Cells whose defense does harm, run in worker processes; and what a run tells.

Their target is the FSHA paper's: the residual network imports torchvision, which takes each new
process longer than the cell does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.progress import Silent, Stage
from splitsec.records.record import Record
from splitsec.records.spec import CellSpec
from splitsec.running.executors.workers import Workers
from splitsec.running.runs import run_cells

TINY = [
    "training.epochs=1",
    "counts.private=32",
    "counts.public=32",
    "counts.validation=8",
    "counts.held_out=12",
    "counts.victims=12",
]


DEFENSE = '''
"""A defense for a test."""
import os, signal, subprocess, sys, time
from splitsec import Defense

class Under(Defense):
    def release(self, images, smashed):
        {body}
        return smashed
'''


def grid(folder: Path, body: str, attack: str = "none") -> list[Cell]:
    """Return an undefended cell and one whose defense does something on the client."""
    (folder / "under_test.py").write_text(DEFENSE.format(body=body))
    return resolve(
        Request(
            attack=attack,
            defense=f"none,{folder / 'under_test.py'}",
            target="fsha-client",
            cut=1,
            size=16,
            settings=TINY,
            threads=1,
        )
    )


def run(
    cells: list[Cell], output: Path, timeout: float | None = None, told: Silent | None = None
) -> dict[str, Record]:
    records = run_cells(cells, output, told or Silent(), executor=Workers(2, timeout))
    return {record.spec.defense: record for record in records}


def gone(pid: int) -> bool:
    """Return whether a process has ended, waiting a while for it."""
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        try:
            os.kill(pid, 0)
            if stat.exists() and stat.read_bytes().rsplit(b")", 1)[1].split()[0] == b"Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.1)
    return False


class Telling(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.cells: list[str] = []
        self.messages: list[str] = []
        self.finished: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        with super().stage(name, total) as stage:
            yield stage
        self.finished.append(name)

    def begin(self, spec: CellSpec) -> None:
        self.cells.append(spec.title())

    def message(self, text: str) -> None:
        self.messages.append(text)
