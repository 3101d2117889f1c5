"""Cells in worker processes, side by side; a process that dies or hangs costs its cell alone.

A worker gets a whole session: cells that share one are run together, wherever they run. Cells
travel as their specification and records come back as JSON; plug-ins are loaded where they run.
Each worker leads a process group of its own, so that whatever a plug-in started ends with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from splitsec.cell import Cell, load_cell
from splitsec.errors import WorkerError
from splitsec.plugins import Kind
from splitsec.progress import Progress, Silent
from splitsec.record import Record, Status
from splitsec.spec import CellSpec

_GRACE_SECONDS = 10.0  # in which an interrupted worker writes what it was doing


class Job(NamedTuple):
    """A cell as it travels.

    Attributes:
        spec: its specification.
        plugins: kind to how the plug-in was asked for, such as ``./mine.py:Mine``.
    """

    spec: CellSpec
    plugins: Mapping[Kind, str]


@dataclass
class _Worker:
    """A process and the cells that it has not given yet; the first is under way."""

    process: BaseProcess
    replies: Connection
    lifeline: Connection
    cells: list[Cell]
    since: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        """Id of the process, and of its group."""
        pid = self.process.pid
        assert pid is not None, "it has been started"
        return pid

    def kill(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.kill()  # it may have died before it had a group
        self.process.join()

    def died(self) -> str:
        """Return in words how the process ended."""
        self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"its worker process ended with exit code {code}"
        name = signal.Signals(-code).name
        hint = "; it may have run out of memory" if name == "SIGKILL" else ""
        return f"its worker process was ended by {name}{hint}"


def run_in_workers(
    groups: Sequence[Sequence[Cell]],
    output: Path,
    progress: Progress,
    workers: int,
    timeout: float | None = None,
) -> Iterator[Record]:
    """Run groups of cells that share a session, each group in one of several processes.

    Processes are spawned, never forked, so a program that calls this must do so under
    ``if __name__ == "__main__":``. A cell whose process dies is recorded as failed, one that
    takes too long as timed out; the rest of its group begins anew in another process.

    Args:
        groups: cells, by session.
        output: folder in which each record's own folder is made.
        progress: told of every cell that ends, and what workers have to say.
        workers: processes at once.
        timeout: seconds that a cell may take, or None; the first cell of a group trains for all.

    Yields:
        Records, in the order in which cells end.

    Raises:
        WorkerError: a worker could not run its cells for a reason outside of them, such as a
            full disk or a defect.
    """
    waiting = [list(group) for group in groups]
    running: list[_Worker] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_start(waiting.pop(0), output))
            for worker in _ready(running, timeout):
                record = _next(worker, output, progress, timeout)
                if record is None:
                    continue
                with progress.cell(worker.cells.pop(0).spec.title()):
                    pass
                if worker.process.exitcode is not None or not worker.cells:
                    running.remove(worker)
                    _finish(worker)
                    if worker.cells:
                        waiting.insert(0, worker.cells)
                yield record
    finally:
        _stop(running)


def _start(cells: list[Cell], output: Path) -> _Worker:
    spawn = multiprocessing.get_context("spawn")
    replies, replying = spawn.Pipe(duplex=False)
    holding, lifeline = spawn.Pipe(duplex=False)
    jobs = [Job(cell.spec, {one.plugin.kind: one.plugin.spec for one in cell.chosen})
            for cell in cells]  # fmt: skip
    process = spawn.Process(target=_work, args=(jobs, output, replying, holding))
    process.start()
    replying.close()
    holding.close()
    return _Worker(process, replies, lifeline, cells)


def _ready(running: Sequence[_Worker], timeout: float | None) -> list[_Worker]:
    """Wait until a worker has something to say, has died, or is late; return these."""
    until = None
    if timeout is not None:
        until = max(0.0, min(one.since for one in running) + timeout - time.monotonic())
    said = wait([one.replies for one in running], until)
    return [
        one
        for one in running
        if one.replies in said or (timeout is not None and time.monotonic() - one.since >= timeout)
    ]


def _next(
    worker: _Worker, output: Path, progress: Progress, timeout: float | None
) -> Record | None:
    """Return the record that the worker has just given, or failed to; None if it only spoke."""
    if not worker.replies.poll():
        worker.kill()
        said = f"it took longer than {timeout:g} seconds; its process was ended"
        return _give_up(worker.cells[0], output, "timeout", said)
    try:
        kind, text = worker.replies.recv()
    except EOFError:
        return _give_up(worker.cells[0], output, "failed", worker.died())
    if kind == "message":
        progress.message(text)
        return None
    if kind == "error":
        raise WorkerError(text)
    worker.since = time.monotonic()
    return Record.model_validate_json(text)


def _give_up(cell: Cell, output: Path, status: Status, reason: str) -> Record:
    """Write the record of a cell whose process is gone."""
    from splitsec.evaluate import record_without_result  # noqa: PLC0415 - it imports this module

    return record_without_result(cell, output, status, reason)


def _finish(worker: _Worker) -> None:
    """Let a process that has given its last record end, with all that it started."""
    worker.lifeline.close()
    worker.process.join(_GRACE_SECONDS)
    worker.kill()
    worker.replies.close()


def _stop(running: Sequence[_Worker]) -> None:
    """Interrupt workers, let them write what they were doing, and end them."""
    for worker in running:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGINT)
    until = time.monotonic() + _GRACE_SECONDS
    for worker in running:
        worker.process.join(max(0.0, until - time.monotonic()))
        worker.kill()


def _work(jobs: Sequence[Job], output: Path, replies: Connection, lifeline: Connection) -> None:
    """Run cells in this process, and send each one's record."""
    os.setpgid(0, 0)
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()
    from splitsec.evaluate import run_cells  # noqa: PLC0415 - it imports this module

    try:
        with redirect_stdout(sys.stderr):  # what a library or a plug-in prints is no result
            cells = [load_cell(job.spec, job.plugins) for job in jobs]
            for record in run_cells(cells, output, _Telling(replies)):
                replies.send(("record", record.to_json()))
    except KeyboardInterrupt:
        return
    except Exception as error:
        replies.send(("error", f"a worker failed: {type(error).__name__}: {error}"))


class _Telling(Silent):
    """Passes on what the person should know, and no more."""

    def __init__(self, replies: Connection) -> None:
        self._replies = replies

    def message(self, text: str) -> None:
        self._replies.send(("message", text))


def _die_with_parent(lifeline: Connection) -> None:
    """End this process group when the parent's end of the lifeline is gone."""
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os.killpg(0, signal.SIGKILL)
