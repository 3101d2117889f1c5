"""Executors: they run sessions in this process, in worker processes, or on a cluster.

An executor takes a session from the queue whenever it has room, runs its cells, and yields their
records as they finish. The caller decides which cells run and where records are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from splitsec.cells.cell import Cell
from splitsec.records.cell_progress import CellProgress
from splitsec.records.record import Record
from splitsec.running.session_queue import Queue


class Executor(Protocol):
    """Runs sessions."""

    def run(
        self, queue: Queue, store: Path, progress: CellProgress
    ) -> Iterator[tuple[Cell, Record]]:
        """Run sessions until the queue is empty.

        Args:
            queue: gives sessions, and takes back cells whose process died.
            store: folder in which each record's own folder is made.
            progress: receives progress reports.

        Yields:
            Cells with their records, as they finish.
        """


class InProcess:
    """Runs one session after the other in this process.

    Args:
        keep_models: whether trained models are kept beside the records.
    """

    def __init__(self, keep_models: bool = False) -> None:
        self._keep_models = keep_models

    def run(
        self, queue: Queue, store: Path, progress: CellProgress
    ) -> Iterator[tuple[Cell, Record]]:
        """Run sessions; see :class:`Executor`."""
        from splitsec.cells.evaluation import evaluate_cells

        while (cells := queue.take()) is not None:
            records = evaluate_cells(cells, store, progress, keep_models=self._keep_models)
            yield from zip(cells, records, strict=True)
