"""Worker processes: the same records, and faults that cost one cell and are said."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.devices import Device
from splitsec.progress import Silent
from splitsec.records.reading import load_record
from splitsec.running.executors.workers import Workers
from splitsec.running.runs import run_cells
from support.workers import TINY, Telling, gone, grid, run


@pytest.mark.slow
def test_what_workers_have_to_say_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITSEC_LPIPS_WEIGHTS", str(tmp_path / "nothing.pth"))
    cells = resolve(
        Request(
            attack="adra:epochs=1,queries=20",
            defense="none,dcor",
            target="fsha-client",
            cut=1,
            size=16,
            threads=1,
            settings=TINY,
        )
    )
    told = Telling()
    records = list(run_cells(cells, tmp_path / "out", told, executor=Workers(2)))
    assert {record.status for record in records} == {"ok"}
    assert all("lpips-unavailable" in record.flags for record in records)
    assert sum("nothing.pth" in message for message in told.messages) == 2


@pytest.mark.slow
def test_workers_give_the_same_records(tmp_path: Path) -> None:
    cells = resolve(
        Request(
            attack="none,adra:epochs=1,queries=20",
            defense="none,gaussian-noise",
            target="fsha-client",
            cut=1,
            size=16,
            settings=TINY,
            threads=1,
        )
    )
    alone = list(run_cells(cells, tmp_path / "alone", Silent()))
    told = Telling()
    beside = list(run_cells(cells, tmp_path / "beside", told, executor=Workers(2)))
    assert sorted(told.cells) == sorted(cell.spec.title() for cell in cells)
    assert {
        f"none against {defense}, cut 1, seed 0: honest training"
        for defense in ("none", "gaussian-noise")
    } <= {*told.finished}
    assert all(record.status == "ok" for record in alone)
    assert {one.cell_id: one.numbers() for one in alone} == {
        one.cell_id: one.numbers() for one in beside
    }


@pytest.mark.slow
def test_sessions_are_spread_over_devices(tmp_path: Path) -> None:
    """Torch tells these two apart, though both are the processor."""
    cells = grid(tmp_path, "pass")
    alone = list(run_cells(cells, tmp_path / "alone", Silent()))
    devices = [Device("cpu"), Device("cpu:0")]
    spread = list(
        run_cells(cells, tmp_path / "spread", Silent(), executor=Workers(2, devices=devices))
    )
    assert {one.provenance.device for one in spread} == {"cpu", "cpu:0"}
    assert {one.cell_id: one.numbers() for one in alone} == {
        one.cell_id: one.numbers() for one in spread
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os._exit(7)", "its worker process ended with exit code 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL; it may have run out of"),
        ("sys.exit()", "raised SystemExit in release()"),
    ],
)
def test_a_process_that_dies_costs_its_cell_alone(body: str, said: str, tmp_path: Path) -> None:
    told = Telling()
    records = run(grid(tmp_path, body), tmp_path / "out", told=told)
    trained = [name for name in told.finished if name.endswith("honest training")]
    assert trained == ["none against none, cut 1, seed 0: honest training"]
    assert records["none"].status == "ok"
    died = records["under-test"]
    assert died.status == "failed"
    assert said in (died.reason or "")
    kept = [load_record(file) for file in (tmp_path / "out").rglob("record.json")]
    assert sorted(one.status for one in kept) == ["failed", "ok"]


@pytest.mark.slow
def test_the_rest_of_a_group_begins_anew(tmp_path: Path) -> None:
    body = (
        f"mark = {str(tmp_path / 'been')!r}\n"
        "        if not os.path.exists(mark):\n"
        "            open(mark, 'w').close()\n"
        "            os._exit(7)"
    )
    cells = grid(tmp_path, body, "none,adra:epochs=1,queries=20")
    records = list(run_cells(cells, tmp_path / "out", Silent(), executor=Workers(2)))
    under = [one for one in records if one.spec.defense == "under-test"]
    assert [(one.spec.attack, one.status) for one in under] == [("none", "failed"), ("adra", "ok")]


@pytest.mark.slow
def test_a_cell_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    body = (
        "started = subprocess.Popen(['sleep', '600'])\n"
        f"        open({str(child)!r}, 'w').write(str(started.pid))\n"
        "        time.sleep(600)"
    )
    records = run(grid(tmp_path, body), tmp_path / "out", timeout=25)
    assert records["none"].status == "ok"
    assert records["under-test"].status == "timeout"
    assert "it took longer than 25 seconds" in (records["under-test"].reason or "")
    assert gone(int(child.read_text()))


PARENT = """
from pathlib import Path
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.running.executors.workers import Workers
from splitsec.running.runs import run_cells
from splitsec.progress import Silent

if __name__ == "__main__":
    tiny = dict(target="fsha-client", cut=1, size=16, threads=1, settings={settings})
    request = Request(attack="none", defense="none,{defense}", **tiny)
    cells = resolve(request)
    list(run_cells(cells, Path("{output}"), Silent(), executor=Workers(2)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    grid(tmp_path, f"open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    script = tmp_path / "parent.py"
    script.write_text(
        PARENT.format(defense=tmp_path / "under_test.py", settings=TINY, output=tmp_path / "out")
    )
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    for _ in range(600):
        if mark.exists() and mark.read_text():
            break
        time.sleep(0.1)
    parent.send_signal(how)
    parent.wait(30)
    assert gone(int(mark.read_text()))
    if how == signal.SIGINT:
        kept = [load_record(file) for file in (tmp_path / "out").rglob("record.json")]
        assert "cancelled" in {one.status for one in kept}, "it wrote what it was doing"
