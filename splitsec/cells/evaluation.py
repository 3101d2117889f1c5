"""Evaluates one cell: train, attack, score, record. The leaderboard ranks records.

Data flow in this order: the images are partitioned; an honest session gives the utility; the
attack listens to it or gets sessions of its own (:mod:`.mounting`; of an ensemble each member does,
:mod:`.members`); the attack's ``reconstruct`` receives the victims' smashed data; and
:mod:`.score_attack` compares its images with those of blind attackers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from splitsec.cells.cell import Cell
from splitsec.cells.members import mount_members
from splitsec.cells.mounting import mount
from splitsec.cells.provenance import collect
from splitsec.cells.results import CellResult, Stopwatch, raised
from splitsec.cells.shared_session import SharedSession
from splitsec.cells.writing import Ending, make_record, write_cell
from splitsec.checkpoint import CheckpointFolder, Checkpoints
from splitsec.data.loading import load_data
from splitsec.data.parts import Data
from splitsec.errors import (
    OUT_OF_MEMORY,
    DivergedError,
    NotApplicable,
    SplitsecError,
    TimeLimitError,
)
from splitsec.progress import Progress, Silent
from splitsec.records.cell_progress import CellProgress
from splitsec.records.record import PROTOCOL_VERSION, Record, Status


def evaluate_cells(
    cells: Sequence[Cell],
    store: Path,
    progress: CellProgress,
    data: Data | None = None,
    *,
    keep_models: bool = False,
) -> Iterator[Record]:
    """Run cells that share an honest session and write the record of each as it finishes.

    Args:
        cells: resolved cells that differ only in their attack; all their passive attacks listen
            to the same session.
        store: folder in which each record's own folder is made.
        progress: receives progress reports.
        data: their images, if already loaded.
        keep_models: whether trained models are kept beside the records.

    Yields:
        Records, in the order of the cells. An error inside a cell makes its record
        ``"failed"``, or ``"skipped"`` if a plug-in cannot work in it; the record has the
        reason.

    Raises:
        DataError: the data cannot be loaded.
        OutputError: a record cannot be written.
    """
    data = data or load_data(cells[0].data_spec(), progress)
    key = cells[0].session_key()
    kept = CheckpointFolder(store / ".checkpoints" / key[:24])
    depends_on = [key, data.sha256, PROTOCOL_VERSION, cells[0].device.name]
    checkpoints = Checkpoints(kept, depends_on, progress.message)
    shared = SharedSession(cells, data, checkpoints)
    try:
        for cell in cells:
            progress.begin(cell.spec)
            yield _evaluate_cell(cell, shared, store, progress, keep_models)
    finally:
        shared.close()
    kept.clear()


def record_without_result(cell: Cell, store: Path, status: Status, reason: str) -> Record:
    """Write and return the record of a cell whose process ended without one.

    Args:
        cell: the cell.
        store: folder in which the record's own folder is made.
        status: ``"failed"`` or ``"timeout"``.
        reason: what happened, in words.
    """
    data = load_data(cell.data_spec(), Silent())
    return _write_empty(cell, store, data, Ending(status, reason))


def record_without_images(cell: Cell, store: Path, reason: str) -> Record:
    """Write and return the record of a cell that is skipped because its data set does not apply.

    Args:
        cell: the cell.
        store: folder in which the record's own folder is made.
        reason: what the data set said.
    """
    return _write_empty(cell, store, None, Ending("skipped", reason))


def _write_empty(cell: Cell, store: Path, data: Data | None, ending: Ending) -> Record:
    record = make_record(cell, data, ending, collect(cell), CellResult(), {})
    return write_cell(store, record, CellResult(), keep_models=False)


def _evaluate_cell(
    cell: Cell, shared: SharedSession, store: Path, progress: Progress, keep_models: bool
) -> Record:
    result, clock = CellResult(), Stopwatch()
    ending = Ending("ok")
    stop: BaseException | None = None
    threads, process = torch.get_num_threads(), os.getpid()
    torch.set_num_threads(cell.spec.threads)
    try:
        provenance = collect(cell)
        if not cell.members:
            shared.attacker(cell)  # one that cannot be built costs no training
        try:
            shared.run(progress)
        finally:
            result = CellResult(session=shared.result)
            clock = Stopwatch(shared.clock.seconds)
        mounted = mount_members if cell.members else mount
        for reached in mounted(cell, shared, result, clock, progress):
            result = reached
        for plugin in (*cell.plugins, *cell.attack.members):
            plugin.check_inputs()
    except SplitsecError as error:
        ending = Ending(_status(error), str(error))
        result = replace(
            result, flags=result.flags + raised(non_finite=isinstance(error, DivergedError))
        )
    except KeyboardInterrupt as interruption:
        ending, stop = Ending("cancelled", "interrupted"), interruption
    except torch.OutOfMemoryError:
        ending = Ending("failed", f"the cell {OUT_OF_MEMORY}")
    except Exception as error:  # a defect: recorded first, raised afterwards
        ending, stop = Ending("failed", f"defect: {type(error).__name__}: {error}"), error
    finally:
        _leave_if_forked(process)
        shared.release(cell)
        torch.set_num_threads(threads)
    record = make_record(cell, shared.data, ending, provenance, result, clock.seconds)
    record = write_cell(store, record, result, keep_models)
    if stop is not None:
        raise stop
    return record


def _leave_if_forked(process: int) -> None:
    """End this process if a plug-in forked it, so that each cell has only one record."""
    if os.getpid() != process:
        os._exit(1)


def _status(error: SplitsecError) -> Status:
    if isinstance(error, NotApplicable):
        return "skipped"
    return "timeout" if isinstance(error, TimeLimitError) else "failed"
