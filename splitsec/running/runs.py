"""Running grids: which cells have a record, which are run, and by whom."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitsec.cells.requests import Request, make_request
from splitsec.data.loading import ImageHashes
from splitsec.errors import UsageError, unknown_name
from splitsec.isolation import isolation_for
from splitsec.progress import Silent
from splitsec.records.cell_progress import CellProgress
from splitsec.records.record import Record
from splitsec.records.store import Rerun, stored
from splitsec.running.executors import Executor, InProcess
from splitsec.running.session_queue import Queue

if TYPE_CHECKING:
    from splitsec.cells.cell import Cell

_LOOK_AGAIN_SECONDS = 1.0  # whether another run has finished a session


def evaluate(
    attack: str,
    defense: str = "none",
    *,
    parameters: Mapping[str, Any] | None = None,
    isolate: bool | None = None,
    sandbox: bool = False,
    output: str | Path = "results",
    keep_models: bool = False,
    progress: CellProgress | None = None,
    **axes: Any,
) -> Record:
    """Evaluate one attack against one defense; the Python form of ``splitsec eval``.

    Args:
        attack: name or path of the attack, such as ``"fsha"`` or ``"./mine.py:Mine"``.
        defense: name or path of the defense.
        parameters: such as ``{"attack.fsha.iterations": 500, "training.epochs": 5}``.
        isolate: whether the attack lives in a process of its own; by default it does unless it
            is built in.
        sandbox: whether bubblewrap keeps that process from network and files.
        output: folder in which the record's own folder is made.
        keep_models: whether trained models are kept beside the record; see
            :func:`splitsec.load_model`.
        progress: told of every stage; silent by default.
        **axes: any other field of :class:`splitsec.cells.requests.Request`, with one value:
            ``target``, ``data``, ``cut``, ``size``, ``channels``, ``clients``, ``profile``,
            ``seed``, ``public_from`` or ``threads``.

    Returns:
        The record; its status is ``"failed"`` where the attack or training failed.

    Raises:
        SplitsecError: the request is wrong, or the data cannot be loaded.
    """
    from splitsec.cells.resolve import resolve

    request = _request({"attack": attack, "defense": defense, **axes}, parameters)
    cells = resolve(request, isolation_for(isolate, sandbox=sandbox, hidden=(str(output),)))
    if len(cells) != 1:
        raise UsageError(f"evaluate() runs one cell, but this asks for {len(cells)}")
    executor = InProcess(keep_models)
    (record,) = run_cells(cells, Path(output), progress or Silent(), executor=executor)
    return record


def _request(axes: Mapping[str, Any], parameters: Mapping[str, Any] | None) -> Request:
    """Make a request from what :func:`evaluate` was given.

    Raises:
        UsageError: a keyword is unknown, or a value is out of range.
    """
    known = {*Request.model_fields, *inspect.signature(evaluate).parameters} - {"axes"}
    for name in axes:
        if name not in Request.model_fields:
            raise UsageError(unknown_name("keyword of evaluate():", name, known))
    if parameters is None:
        return make_request(axes)
    if "settings" in axes:
        raise UsageError("evaluate() takes parameters or settings, not both")
    return make_request({**axes, "settings": parameters})


def run_cells(
    cells: Sequence[Cell],
    store: Path,
    progress: CellProgress,
    *,
    rerun: Rerun = "all",
    executor: Executor | None = None,
) -> Iterator[Record]:
    """Run cells, and write each one's record and pictures when it is done.

    Cells that differ in their attack alone share one honest session, to which their passive
    attacks listen side by side. Several runs may work in one store at once: a session that
    another run has begun is left to it, and its records are used.

    Args:
        cells: resolved cells; one that is there twice is run once.
        store: folder in which each record's own folder is made.
        progress: told of every cell and stage.
        rerun: which cells are run although the store has their records.
        executor: where sessions run; in this process by default.

    Yields:
        Records, those that were there first. What goes wrong inside a cell makes its record
        ``"failed"``, or ``"skipped"`` where the attack cannot work on the target, with the
        reason.

    Raises:
        DataError: the data of some cell cannot be loaded; no cell has begun.
        OutputError: a record cannot be written.
        WorkerError: a worker could not run its cells for a reason outside of them.
    """
    executor = executor or InProcess()
    cells = distinct(cells)
    look_up = _looking_up(cells, store, progress, rerun)
    sessions: dict[str, list[Cell]] = {}
    done = []
    for cell in cells:
        record = look_up(cell)
        if record is None:
            sessions.setdefault(cell.session_key(), []).append(cell)
        else:
            done.append(record)
    if done:
        progress.message(f"{len(done)} of {len(cells)} cells have a record, which is used")
    queue = Queue(sessions.values(), store, look_up)
    try:
        for record in chain(done, _run(queue, executor, store, progress)):
            progress.end(record)
            yield record
    finally:
        queue.close()


def distinct(cells: Sequence[Cell]) -> list[Cell]:
    """Return cells without those that are there already, such as of two grids that overlap."""
    return list({cell.spec.model_dump_json(): cell for cell in cells}.values())


def take_shard(cells: Sequence[Cell], number: int, parts: int) -> list[Cell]:
    """Return the cells of one of several parts that a request's sessions are dealt out to.

    A session's part is decided by its place in the request, whether it has records or not: shards
    are disjoint, together they are the request, and each is the same when it is resumed.

    Args:
        cells: resolved cells, all of the request.
        number: which shard, from 1 to ``parts``.
        parts: how many shards there are.
    """
    places: dict[str, int] = {}
    taken = []
    for cell in cells:
        place = places.setdefault(cell.session_key(), len(places))
        if place % parts == number - 1:
            taken.append(cell)
    return taken


def with_records(
    cells: Sequence[Cell], store: Path, progress: CellProgress, rerun: Rerun
) -> list[tuple[Cell, Record | None]]:
    """Return each cell with its record, or None where it is to be run.

    Args:
        cells: resolved cells.
        store: folder of records.
        progress: told of records that cannot be believed.
        rerun: which cells are run although they have a record.

    Raises:
        DataError: the data cannot be loaded.
    """
    look_up = _looking_up(cells, store, progress, rerun)
    return [(cell, look_up(cell)) for cell in cells]


def _run(queue: Queue, executor: Executor, store: Path, progress: CellProgress) -> Iterator[Record]:
    waiting = False
    while queue:
        for cell, record in executor.run(queue, store, progress):
            queue.done(cell)
            yield record
            yield from queue.take_found()
        yield from queue.take_found()
        if queue:
            if not waiting:
                progress.message("all sessions that are left are being run by another run")
            waiting = True
            time.sleep(_LOOK_AGAIN_SECONDS)


def _looking_up(
    cells: Sequence[Cell], store: Path, progress: CellProgress, rerun: Rerun
) -> Callable[[Cell], Record | None]:
    """Return what gives a cell's record where there is one that is to be used."""
    images = ImageHashes(progress)
    for cell in cells:  # what is wrong with any of them is said before the first one runs
        images.of(cell.data_spec())

    def look_up(cell: Cell) -> Record | None:
        cell_id = cell.cell_id(images.of(cell.data_spec()))
        return stored(store, cell.spec, cell_id, rerun, progress.message)

    return look_up
