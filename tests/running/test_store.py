"""Several runs in one store: no cell is run twice, and no record is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import DataError
from splitsec.progress import Progress, Silent
from splitsec.records.artifacts import artifact, check_artifact
from splitsec.records.record import Record
from splitsec.records.store import keep_record, load_records, record_folder
from splitsec.running.executors import InProcess
from splitsec.running.runs import run_cells
from splitsec.running.session_queue import Queue
from support.cells import COUNTS


def cells(seeds: int = 2, attack: str = "none") -> list[Cell]:
    return resolve(
        Request(
            attack=attack,
            defense="none",
            target="fsha-client",
            cut=1,
            size=16,
            seed=range(seeds),
            settings=COUNTS,
            threads=1,
        )
    )


class Counting(InProcess):
    """Runs sessions, and keeps which cells it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []

    def run(self, queue: Queue, store: Path, progress: Progress) -> Iterator[tuple[Cell, Record]]:
        for cell, record in super().run(queue, store, progress):
            self.ran.append(record.cell_id)
            yield cell, record


def sessions(grid: list[Cell], store: Path) -> Queue:
    return Queue([[cell] for cell in grid], store, lambda cell: None)


def test_a_session_is_claimed_by_one_run_at_a_time(tmp_path: Path) -> None:
    grid = cells()
    one, other = sessions(grid, tmp_path), sessions(grid, tmp_path)
    assert one.take() == [grid[0]]
    assert other.take() == [grid[1]]
    assert one.take() is None
    assert one, "what another run has is still to come"
    other.done(grid[1])
    assert one.take() == [grid[1]]
    assert not one
    one.close()
    assert other.take() == [grid[0]]


def test_cells_that_are_put_back_stay_claimed(tmp_path: Path) -> None:
    grid = cells(1, "none,adra:epochs=1")
    one = Queue([grid], tmp_path, lambda cell: None)
    other = Queue([grid], tmp_path, lambda cell: None)
    assert one.take() == grid
    one.put_back(grid[1:])
    one.done(grid[0])
    assert other.take() is None
    assert one.take() == grid[1:]
    one.done(grid[1])
    assert other.take() == grid


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    grid = cells(1)
    program = (
        "import sys, time; from pathlib import Path; from filelock import FileLock; "
        f"lock = FileLock({str(tmp_path / '.locks' / (grid[0].session_key()[:24] + '.lock'))!r}); "
        "lock.acquire(); print('held', flush=True); time.sleep(600)"
    )
    (tmp_path / ".locks").mkdir()
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        queue = sessions(grid, tmp_path)
        assert queue.take() is None
    finally:
        holder.kill()
        holder.wait()
    assert queue.take() == grid


def test_two_runs_in_one_store_share_the_work(tmp_path: Path) -> None:
    grid = cells(4)
    executors = Counting(), Counting()
    given: dict[int, list[Record]] = {}

    def run(index: int) -> None:
        records = run_cells(grid, tmp_path, Silent(), rerun="failed", executor=executors[index])
        given[index] = list(records)

    # A lock is of an open file, so that two threads exclude each other as two processes do.
    runs = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    ran = executors[0].ran + executors[1].ran
    assert sorted(ran) == sorted(set(ran)), "no cell is run twice"
    for records in given.values():
        assert {record.cell_id for record in records} == set(ran)
        assert {record.status for record in records} == {"ok"}
    assert len(load_records([tmp_path])) == 4


def test_a_run_waits_for_what_another_one_runs(tmp_path: Path) -> None:
    (cell,) = cells(1)
    elsewhere = sessions([cell], tmp_path)
    assert elsewhere.take() == [cell]
    given: list[Record] = []
    waiting = threading.Thread(
        target=lambda: given.extend(run_cells([cell], tmp_path, Silent(), rerun="failed"))
    )
    waiting.start()
    time.sleep(0.5)
    assert not given
    elsewhere.close()
    waiting.join()
    assert [record.status for record in given] == ["ok"]


def test_an_artifact_is_called_by_its_content(tmp_path: Path) -> None:
    (record,) = run_cells(cells(1), tmp_path, Silent())
    folder = record_folder(tmp_path, record)
    file = artifact(folder, record, "curves")
    check_artifact(file)
    assert file.parent == tmp_path / "artifacts"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="damaged"):
        check_artifact(file)
    (again,) = run_cells(cells(1), tmp_path, Silent())
    assert again.artifacts == record.artifacts, "the same content, so the same name"
    check_artifact(file)
    assert json.loads((folder / "record.json").read_text())["artifacts"] == record.artifacts


def test_a_record_of_another_store_is_kept_with_its_artifacts_or_not_at_all(tmp_path: Path) -> None:
    (record,) = run_cells(cells(1), tmp_path / "there", Silent())
    folder, here = record_folder(tmp_path / "there", record), tmp_path / "here"
    files = {name: artifact(folder, record, name).read_bytes() for name in record.artifacts}
    with pytest.raises(DataError, match=r"curves of none against none .* did not arrive whole"):
        keep_record(here, record, files | {"curves": files["curves"][:-1]})
    assert not list(here.rglob("record.json"))
    assert keep_record(here, record, files) == record
    assert load_records([here]) == [record]
    for name in record.artifacts:
        check_artifact(artifact(record_folder(here, record), record, name))


def test_a_cell_that_is_asked_for_twice_is_run_once(tmp_path: Path) -> None:
    (record,) = run_cells(cells(1) + cells(1), tmp_path, Silent())
    assert record.status == "ok"
