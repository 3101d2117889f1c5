"""Faults from outside and plug-ins that misbehave: no finished cell is lost, no record is wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import splitsec
import splitsec.files
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import OutputError, WorkerError
from splitsec.progress import Silent
from splitsec.records.index import load_brief_records
from splitsec.records.reading import load_record
from splitsec.records.store import check_writable, load_records
from splitsec.running.executors.workers import Workers
from splitsec.running.runs import run_cells
from support.workers import TINY, gone, grid, run


@pytest.mark.slow
def test_a_plug_in_that_leaks_memory_costs_its_cell_alone(tmp_path: Path) -> None:
    body = (
        "import resource\n"
        "        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "        leak = []\n"
        "        while True:\n"
        "            leak.append(bytearray(256 << 20))"
    )
    records = run(grid(tmp_path, body), tmp_path / "out")
    assert records["none"].status == "ok"
    assert records["under-test"].status == "failed"
    assert "raised MemoryError in release()" in (records["under-test"].reason or "")


@pytest.mark.slow
def test_a_plug_in_that_forks_gives_one_record(tmp_path: Path) -> None:
    child = tmp_path / "child"
    body = (
        f"child = {str(child)!r}\n"
        "        if not os.path.exists(child):\n"
        "            open(child, 'w').close()\n"
        "            pid = os.fork()\n"
        "            if pid:\n"
        "                open(child, 'w').write(str(pid))"
    )
    cells = grid(tmp_path, body, "none,adra:epochs=1,queries=20")
    records = list(run_cells(cells, tmp_path / "out", Silent(), executor=Workers(2)))
    assert sorted(record.status for record in records) == ["ok"] * 4
    assert len({record.cell_id for record in records}) == 4
    assert len(load_records([tmp_path / "out"])) == 4
    assert gone(int(child.read_text()))


PARENT = """
import sys
from pathlib import Path
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.running.executors.workers import Workers
from splitsec.progress import Silent
from splitsec.running.runs import run_cells

if __name__ == "__main__":
    tiny = dict(target="fsha-client", cut=1, size=16, threads=1, settings={settings})
    request = Request(attack="none", seed=range(4), **tiny)
    cells = resolve(request)
    for record in run_cells(cells, Path({store!r}), Silent(), rerun="failed", executor=Workers(2)):
        print(record.cell_id, flush=True)
"""


@pytest.mark.slow
def test_a_grid_whose_parent_was_killed_is_resumed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(settings=TINY, store=str(store)))
    first = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    given = [first.stdout.readline().strip() for _ in range(2)]
    first.send_signal(signal.SIGKILL)
    first.wait()
    time.sleep(1)  # its workers end when they notice
    written = {file: file.stat().st_mtime_ns for file in store.glob("*/record.json")}
    assert {load_record(file).cell_id for file in written} >= set(given)
    second = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=300
    )
    ids = second.stdout.split()
    assert len(ids) == len(set(ids)) == 4
    assert all(file.stat().st_mtime_ns == when for file, when in written.items()), "none ran again"
    assert {record.status for record in load_records([store])} == {"ok"}


class FullDisk:
    """Lets so many files be written, and then none."""

    def __init__(self, room: int) -> None:
        self.room = room

    def fsync(self, handle: int) -> None:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= 1


def test_a_full_disk_is_said_and_loses_no_finished_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = resolve(
        Request(
            attack="none",
            defense="none",
            target="fsha-client",
            cut=1,
            size=16,
            settings=TINY,
            threads=1,
            seed=range(3),
        )
    )
    with monkeypatch.context() as full:
        full.setattr(splitsec.files.os, "fsync", FullDisk(5).fsync)
        given = []
        with pytest.raises(OutputError, match="No space left on device"):
            given.extend(run_cells(cells, tmp_path, Silent(), rerun="failed"))
    assert len(given) == 1
    kept = load_records([tmp_path])
    assert [one.cell_id for one in kept] == [given[0].cell_id]
    assert not [one for one in tmp_path.rglob(".*-*") if one.is_file() and one.suffix != ".lock"]
    again = list(run_cells(cells, tmp_path, Silent(), rerun="failed"))
    assert {one.status for one in again} == {"ok"}
    assert len(load_records([tmp_path])) == 3


@pytest.mark.slow
def test_a_full_disk_in_a_worker_is_said(tmp_path: Path) -> None:
    body = (
        "import errno, splitsec.files\n"
        "        def full(handle): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "        splitsec.files.os.fsync = full"
    )
    cells = grid(tmp_path, body)
    with pytest.raises(WorkerError, match="No space left on device"):
        list(run_cells(cells, tmp_path / "out", Silent(), executor=Workers(1)))


def test_a_store_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (cell,) = resolve(
        Request(attack="none", defense="none", target="fsha-client", cut=1, size=16, settings=TINY)
    )
    (tmp_path / "file").write_text("")
    ran: list[Any] = []
    with pytest.raises(OutputError, match="cannot write"):
        ran += run_cells([cell], tmp_path / "file" / "store", Silent())
    assert not ran


NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write into a folder; root, who may write anywhere, is somebody else meanwhile."""
    user = os.geteuid()
    folder.chmod(0o555)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        if not os.access(splitsec.__file__, os.R_OK, effective_ids=True):
            pytest.skip("root's stand-in may not read this checkout")
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no POSIX users")
def test_a_read_only_store_is_refused_and_still_gives_what_it_has(open_folder: Path) -> None:
    cells = resolve(
        Request(
            attack="none",
            defense="none",
            target="fsha-client",
            cut=1,
            size=16,
            settings=TINY,
            threads=1,
            seed=range(2),
        )
    )
    finished = list(run_cells(cells[:1], open_folder, Silent()))
    given: list[Any] = []
    told: list[str] = []
    with read_only(open_folder):
        with pytest.raises(OutputError, match=r"cannot write .*: Permission denied"):
            check_writable(open_folder)
        with pytest.raises(OutputError, match=r"cannot write .*: Permission denied"):
            given.extend(run_cells(cells, open_folder, Silent(), rerun="failed"))
        briefs = load_brief_records([open_folder], told.append)
    assert given == finished, "what is there is given before the store is needed"
    assert [one.cell_id for one in briefs] == [finished[0].cell_id]
    assert "all records are read" in told[0]
    assert load_records([open_folder]) == finished
