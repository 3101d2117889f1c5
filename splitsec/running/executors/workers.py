"""Runs sessions in parallel worker processes; a process that dies or hangs costs only its cell.

A worker runs a whole session, because its cells share the training. It receives the specifications
of cells, loads their plug-ins, and sends records as JSON. Each worker leads a process group of its
own, so that every process that a plug-in started ends with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from splitsec.cells.cell import Cell
from splitsec.cells.transport import CellMessage, load_cell
from splitsec.devices import Device
from splitsec.errors import OutputError, WorkerError
from splitsec.interruption import interrupt_on_signals
from splitsec.progress import Relay, Stage
from splitsec.records.cell_progress import CellProgress
from splitsec.records.record import Record
from splitsec.records.spec import CellSpec
from splitsec.records.store import record_folder
from splitsec.running.session_queue import Queue

_GRACE_SECONDS = 10.0  # for an interrupted worker to write its record


@dataclass
class _Worker:
    """A process and its cells without a record; the first of them is running.

    If several workers report progress, each stage names its cell.
    """

    process: BaseProcess
    replies: Connection
    lifeline: Connection
    cells: list[Cell]
    progress: CellProgress
    beside_others: bool
    since: float = field(default_factory=time.monotonic)
    stages: ExitStack = field(default_factory=ExitStack)
    stage: Stage | None = None

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
        self.process.kill()  # it may not have had a group yet
        self.process.join()

    def finish(self) -> None:
        """Let the process end after its last record, with all that it started."""
        self._give_up_stage()
        self.lifeline.close()
        self.process.join(_GRACE_SECONDS)
        self.kill()
        self.replies.close()

    def tell(self, kind: str, *content: Any) -> None:
        """Pass on a progress report of the process."""
        if kind == "message":
            self.progress.message(*content)
        elif kind == "begin":
            self._give_up_stage()
            self.progress.begin(*content)
        elif kind == "stage":
            self._give_up_stage()
            name, total = content
            shown = f"{self.cells[0].spec.brief()}: {name}" if self.beside_others else name
            self.stage = self.stages.enter_context(self.progress.stage(shown, total))
        elif kind == "advance" and self.stage is not None:
            self.stage.advance(*content)
        elif kind == "staged":
            self.stages.close()
            self.stage = None

    def _give_up_stage(self) -> None:
        """Stop showing a stage that failed or whose process ended; it was not finished."""
        with suppress(WorkerError), self.stages:
            raise WorkerError("the stage was given up")
        self.stage = None

    def died(self) -> str:
        """Return in words how the process ended."""
        self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"its worker process ended with exit code {code}"
        name = signal.Signals(-code).name
        hint = "; it may have run out of memory" if name == "SIGKILL" else ""
        return f"its worker process was ended by {name}{hint}"


class Workers:
    """Runs sessions in processes of their own, several at once.

    Processes are spawned, never forked, so a program that uses this must do so under
    ``if __name__ == "__main__":``. A cell whose process dies is recorded as failed, one that
    takes too long as timed out; the rest of its session starts again in another process.

    Args:
        count: number of processes at once.
        timeout: seconds that a cell may take, or None; the first cell of a session includes its
            training.
        keep_models: whether trained models are kept beside the records.
        devices: sessions are spread over these; by default each cell has its own.
    """

    def __init__(
        self,
        count: int,
        timeout: float | None = None,
        keep_models: bool = False,
        devices: Sequence[Device] = (),
    ) -> None:
        self._count = count
        self._timeout = timeout
        self._keep_models = keep_models
        self._devices = devices

    def run(
        self, queue: Queue, store: Path, progress: CellProgress
    ) -> Iterator[tuple[Cell, Record]]:
        """Run sessions; see :class:`splitsec.running.executors.Executor`.

        Raises:
            WorkerError: a worker could not run its cells for a reason outside them, such as a
                full disk or a defect.
        """
        running: list[_Worker] = []
        try:
            while True:
                while len(running) < self._count and (cells := queue.take()) is not None:
                    placed = self._placed(cells, running)
                    running.append(self._start(placed, store, progress))
                if not running:
                    return
                for worker in _ready(running, self._timeout):
                    record = _next(worker, store, self._timeout)
                    if record is None:
                        continue
                    cell = worker.cells.pop(0)
                    if worker.process.exitcode is not None or not worker.cells:
                        running.remove(worker)
                        worker.finish()
                        if worker.cells:
                            queue.put_back(worker.cells)
                    yield cell, record
        finally:
            _stop(running)

    def _placed(self, cells: list[Cell], running: Sequence[_Worker]) -> list[Cell]:
        """Return cells on the device that the fewest sessions use."""
        if not self._devices:
            return cells
        used = Counter(worker.cells[0].device for worker in running)
        free = min(self._devices, key=lambda one: used[one])
        return [replace(cell, device=free) for cell in cells]

    def _start(self, cells: list[Cell], store: Path, progress: CellProgress) -> _Worker:
        spawn = multiprocessing.get_context("spawn")
        replies, replying = spawn.Pipe(duplex=False)
        holding, lifeline = spawn.Pipe(duplex=False)
        sent = [CellMessage.of(cell) for cell in cells]
        process = spawn.Process(
            target=_work, args=(sent, store, self._keep_models, replying, holding)
        )
        process.start()
        replying.close()
        holding.close()
        beside_others = self._count > 1
        return _Worker(process, replies, lifeline, cells, progress, beside_others)


def _ready(running: Sequence[_Worker], timeout: float | None) -> list[_Worker]:
    """Wait for workers that have sent something, have died, or are late, and return them."""
    until = None
    if timeout is not None:
        until = max(0.0, min(one.since for one in running) + timeout - time.monotonic())
    said = wait([one.replies for one in running], until)
    return [
        one
        for one in running
        if one.replies in said or (timeout is not None and time.monotonic() - one.since >= timeout)
    ]


def _next(worker: _Worker, store: Path, timeout: float | None) -> Record | None:
    """Return the record that a worker just finished or failed to make; None for other messages."""
    from splitsec.cells.evaluation import record_without_result

    cell = worker.cells[0]
    if not worker.replies.poll():
        worker.kill()
        said = f"it took longer than {timeout:g} seconds; its process was ended"
        return record_without_result(cell, store, "timeout", said)
    try:
        kind, *content = worker.replies.recv()
    except EOFError:
        return record_without_result(cell, store, "failed", worker.died())
    if kind == "error":
        raise WorkerError(*content)
    if kind == "record":
        worker.since = time.monotonic()
        record = Record.model_validate_json(content[0])
        return record.found_in(record_folder(store, record))
    worker.tell(kind, *content)
    return None


def _stop(running: Sequence[_Worker]) -> None:
    """Interrupt workers, let them write their records, and end them."""
    for worker in running:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGINT)
    until = time.monotonic() + _GRACE_SECONDS
    for worker in running:
        worker.process.join(max(0.0, until - time.monotonic()))
        worker.kill()


def _work(
    sent: Sequence[CellMessage],
    store: Path,
    keep_models: bool,
    replies: Connection,
    lifeline: Connection,
) -> None:
    """Run cells in this process, and send each one's record."""
    os.setpgid(0, 0)
    interrupt_on_signals()
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()
    from splitsec.cells.evaluation import evaluate_cells

    try:
        with redirect_stdout(sys.stderr):  # stdout is for results only
            cells = [load_cell(one) for one in sent]
            telling = _ParentProgress(lambda kind, *content: replies.send((kind, *content)))
            for record in evaluate_cells(cells, store, telling, keep_models=keep_models):
                replies.send(("record", record.to_json()))
    except KeyboardInterrupt:
        return
    except OutputError as error:
        replies.send(("error", f"a worker {error}"))
    except Exception as error:
        replies.send(("error", f"a worker failed: {type(error).__name__}: {error}"))


class _ParentProgress(Relay):
    """Progress that the parent process shows; records are sent separately."""

    def begin(self, spec: CellSpec) -> None:
        """Pass on that a cell begins."""
        self._say("begin", spec)


def _die_with_parent(lifeline: Connection) -> None:
    """End this process group when the parent's end of the lifeline closes."""
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os.killpg(0, signal.SIGKILL)
