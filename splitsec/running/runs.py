"""Runs grids: reuses the records of finished cells and gives the other sessions to an executor.

:mod:`splitsec.cells.evaluation` runs the cells of one session.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitsec.cells.requests import Request, make_request
from splitsec.data.loading import ImageHashes
from splitsec.devices import devices_named
from splitsec.errors import DataError, NotApplicable, UsageError, unknown_name
from splitsec.isolation import isolation_for
from splitsec.progress import Silent
from splitsec.records.cell_progress import CellProgress
from splitsec.records.per_image import load_per_image
from splitsec.records.record import Record
from splitsec.records.store import Rerun, stored, stored_for_spec
from splitsec.running.executors import Executor, InProcess
from splitsec.running.session_queue import Queue

if TYPE_CHECKING:
    from splitsec.cells.cell import Cell

_LOOK_AGAIN_SECONDS = 1.0  # between looks for sessions that another run finished


def evaluate(  # noqa: PLR0913 - a keyword per option of the command
    attack: str = "strongest",
    defense: str = "none",
    *,
    parameters: Mapping[str, Any] | None = None,
    isolate: bool | None = None,
    sandbox: bool = False,
    device: str = "auto",
    output: str | Path = "results",
    keep_models: bool = False,
    progress: CellProgress | None = None,
    **axes: Any,
) -> Record:
    """Evaluate one attack against one defense; the Python form of ``splitsec eval``.

    Args:
        attack: name or path of the attack, such as ``"fsha"`` or ``"./mine.py:Mine"``; by default
            the ensemble of all attacks that query the client.
        defense: name or path of the defense.
        parameters: such as ``{"attack.fsha.iterations": 500, "training.epochs": 5}``.
        isolate: whether the attack runs in a process of its own; by default only built-in
            attacks run in this process.
        sandbox: whether bubblewrap denies that process the network and files.
        device: where models and batches live, see :func:`splitsec.devices.devices_named`.
        output: folder in which the record's own folder is made.
        keep_models: whether trained models are kept beside the record; see
            :func:`splitsec.load_model`.
        progress: receives progress reports; silent by default.
        **axes: any other field of :class:`splitsec.cells.requests.Request`, with one value:
            ``target``, ``data``, ``cut``, ``size``, ``channels``, ``clients``, ``profile``,
            ``seed``, ``public_from`` or ``threads``.

    Returns:
        The record; its status is ``"failed"`` if the attack or the training failed.

    Raises:
        SplitsecError: the request is wrong, or the data cannot be loaded.
    """
    from splitsec.cells.resolve import resolve

    request = _request({"attack": attack, "defense": defense, **axes}, parameters)
    cells = resolve(request, isolation_for(isolate, sandbox=sandbox, hidden=(str(output),)))
    if len(cells) != 1:
        raise UsageError(f"evaluate() runs one cell, but this asks for {len(cells)}")
    cells = [replace(cells[0], device=devices_named(device)[0])]
    executor = InProcess(keep_models)
    (record,) = run_cells(cells, Path(output), progress or Silent(), executor=executor)
    return record


def _request(axes: Mapping[str, Any], parameters: Mapping[str, Any] | None) -> Request:
    """Make a request from the arguments of :func:`evaluate`.

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
    """Run cells and write the record and pictures of each as it finishes.

    Cells that differ only in their attack share one honest session, and all their passive attacks
    listen to it. Several runs may use one store at once: if another run has begun a session, this
    run leaves it alone and uses its records.

    Args:
        cells: resolved cells; duplicates run once.
        store: folder in which each record's own folder is made.
        progress: receives progress reports.
        rerun: which cells run again although the store has their records.
        executor: runs the sessions; in this process by default.

    Yields:
        Records, existing ones first. An error inside a cell makes its record ``"failed"``, or
        ``"skipped"`` if a plug-in cannot work in it; the record has the reason.

    Raises:
        DataError: the data of a cell cannot be loaded; no cell has run.
        OutputError: a record cannot be written.
        WorkerError: a worker could not run its cells for a reason outside them.
    """
    executor = executor or InProcess()
    cells = distinct(cells)
    images = ImageHashes(progress)
    refused = _without_images(cells, images)
    look_up = _looking_up(images, store, progress, rerun)
    sessions: dict[str, list[Cell]] = {}
    done = []
    for cell in cells:
        if id(cell) in refused:
            continue
        record = look_up(cell)
        if record is None:
            sessions.setdefault(cell.session_key(), []).append(cell)
        else:
            done.append(record)
    if done:
        progress.message(f"{len(done)} of {len(cells)} cells have a record, which is used")
    queue = Queue(sessions.values(), store, look_up)
    try:
        skipped = _skip(cells, refused, store, progress)
        for record in chain(done, skipped, _run(queue, executor, store, progress)):
            progress.end(record)
            yield record
    finally:
        queue.close()


def distinct(cells: Sequence[Cell]) -> list[Cell]:
    """Return cells without duplicates, which two overlapping grids have."""
    return list({cell.spec.model_dump_json(): cell for cell in cells}.values())


def take_shard(cells: Sequence[Cell], number: int, parts: int) -> list[Cell]:
    """Return the cells of one shard; the sessions of a request are dealt out to all shards.

    Only a session's position in the request decides its shard, not whether it has records. Shards
    are therefore disjoint, together they are the request, and each is the same when resumed.

    Args:
        cells: all resolved cells of the request.
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
    """Return each cell with its record, or with None if it must run.

    No image is read: a record counts if everything else is as it was when it was made.

    Args:
        cells: resolved cells.
        store: folder of records.
        progress: receives messages about invalid records.
        rerun: which cells run again although they have a record.
    """
    return [
        (cell, stored_for_spec(store, cell.spec, cell.cell_id, rerun, progress.message))
        for cell in cells
    ]


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
                progress.message("another run is working on all sessions that are left")
            waiting = True
            time.sleep(_LOOK_AGAIN_SECONDS)


def _without_images(cells: Sequence[Cell], images: ImageHashes) -> dict[int, str]:
    """Return the cells whose data sets do not apply, by identity, and what these said.

    Raises:
        DataError: other data cannot be loaded. No cell has run then.
    """
    refused = {}
    for cell in cells:
        try:
            images.of(cell.data_spec())
        except NotApplicable as error:
            refused[id(cell)] = str(error)
    return refused


def _skip(
    cells: Sequence[Cell], refused: Mapping[int, str], store: Path, progress: CellProgress
) -> Iterator[Record]:
    """Write the records of cells whose data sets do not apply."""
    for cell in cells:
        if id(cell) in refused:
            from splitsec.cells.evaluation import record_without_images

            progress.begin(cell.spec)
            yield record_without_images(cell, store, refused[id(cell)])


def _looking_up(
    images: ImageHashes, store: Path, progress: CellProgress, rerun: Rerun
) -> Callable[[Cell], Record | None]:
    """Return a function that gives a cell's usable record, or None."""

    def look_up(cell: Cell) -> Record | None:
        cell_id = cell.cell_id(images.of(cell.data_spec()))
        record = stored(store, cell.spec, cell_id, rerun, progress.message)
        if record is not None:
            _say_missing_values(record, progress)
        return record

    return look_up


def _say_missing_values(record: Record, progress: CellProgress) -> None:
    """Tell a person that the values per image of a record that is used are missing or damaged."""
    try:
        load_per_image(record)
    except DataError as error:
        progress.message(f"the scores of {record.spec.title()} are used, but {error}")
