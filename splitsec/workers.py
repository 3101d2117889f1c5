"""Cells in worker processes, side by side.

A worker gets whole sessions: cells that share one are run together, wherever they run. Cells
travel as their specification, and plug-ins are loaded where they run.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

from splitsec.cell import Cell, load_cell
from splitsec.errors import WorkerError
from splitsec.plugins import Kind
from splitsec.progress import Progress, Silent
from splitsec.record import Record
from splitsec.spec import CellSpec


class Job(NamedTuple):
    """A cell as it travels.

    Attributes:
        spec: its specification.
        plugins: kind to how the plug-in was asked for, such as ``./mine.py:Mine``.
    """

    spec: CellSpec
    plugins: Mapping[Kind, str]


def run_in_workers(
    groups: Sequence[Sequence[Cell]],
    output: Path,
    progress: Progress,
    workers: int,
) -> Iterator[Record]:
    """Run groups of cells that share a session, each group in one of several processes.

    Processes are spawned, so a program that calls this must do so under
    ``if __name__ == "__main__":``.

    Args:
        groups: cells, by session.
        output: folder in which each record's own folder is made.
        progress: told of every cell that ends.
        workers: processes at once.

    Yields:
        Records, in the order in which their groups end.

    Raises:
        WorkerError: a process died; what other processes finish is still written.
        SplitsecError: the data cannot be loaded, or a record cannot be written.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(groups)), spawn) as pool:
        running: dict[Future[list[Record]], Sequence[Cell]] = {}
        for group in groups:
            running[pool.submit(_work, [_job(cell) for cell in group], output)] = group
        try:
            for ended in as_completed(running):
                for cell, record in zip(running[ended], _records(ended), strict=True):
                    with progress.cell(cell.spec.title()):
                        pass
                    yield record
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _job(cell: Cell) -> Job:
    return Job(cell.spec, {one.plugin.kind: one.plugin.spec for one in cell.chosen})


def _records(ended: Future[list[Record]]) -> list[Record]:
    try:
        return ended.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process died, perhaps for want of memory; run the same command again with "
            "fewer --workers"
        ) from error


def _work(jobs: Sequence[Job], output: Path) -> list[Record]:
    """Run cells in this process."""
    from splitsec.evaluate import run_cells  # noqa: PLC0415 - which imports this module

    with redirect_stdout(sys.stderr):  # what a library or a plug-in prints is not a result
        cells = [load_cell(job.spec, job.plugins) for job in jobs]
        return list(run_cells(cells, output, Silent()))
