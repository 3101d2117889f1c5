"""A finished request is known again, unless anything that it depends on was changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from splitsec import recall as recalling
from splitsec.cell import Cell, resolve
from splitsec.cli import Exit, run
from splitsec.progress import Silent
from splitsec.recall import recall, remember
from splitsec.record import Record
from splitsec.runs import run_cells

TINY = [
    "target.resnet.depth=18", "training.epochs=1", "counts.private=16", "counts.public=8",
    "counts.validation=4", "counts.held_out=8", "counts.victims=4",
]  # fmt: skip
REQUEST = {"attack": "none", "seeds": [0]}
DEFENSE = '''
"""A defense for a test."""
from splitsec import Defense

class Mine(Defense):
    pass
'''


def done(store: Path, defense: str = "none") -> tuple[list[Cell], list[Record]]:
    cells = resolve(
        attack="none", defense=defense, target="resnet", size=16, settings=TINY, threads=1
    )
    records = list(run_cells(cells, store, Silent(), rerun="failed"))
    return cells, records


def test_a_finished_request_is_recalled(tmp_path: Path) -> None:
    cells, records = done(tmp_path)
    assert recall(tmp_path, REQUEST) is None
    remember(tmp_path, REQUEST, cells, records)
    assert recall(tmp_path, REQUEST) == records
    assert recall(tmp_path, REQUEST | {"seeds": [1]}) is None
    assert recall(tmp_path / "elsewhere", REQUEST) is None


def test_a_request_with_a_failed_cell_is_not(tmp_path: Path) -> None:
    cells, (record,) = done(tmp_path)
    remember(tmp_path, REQUEST, cells, [record.model_copy(update={"status": "failed"})])
    remember(tmp_path, REQUEST, cells, [])
    assert recall(tmp_path, REQUEST) is None


@pytest.mark.parametrize("change", ["record", "known", "plug-in", "code", "data", "folder"])
def test_a_change_is_noticed(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(DEFENSE)
    store = tmp_path / "store"
    remember(store, REQUEST, *done(store, str(plugin)))
    assert recall(store, REQUEST) is not None
    if change == "record":
        file = next(store.glob("*/record.json"))
        file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    elif change == "known":
        file = next((store / ".requests").iterdir())
        file.write_text(file.read_text()[:-20])
    elif change == "plug-in":
        plugin.write_text(DEFENSE + "# changed\n")
    elif change == "code":
        other = tmp_path / "other"
        other.mkdir()
        (other / "one.py").write_text("1\n")
        monkeypatch.setattr(recalling, "folder_of", lambda kind: other)
    elif change == "data":
        monkeypatch.setattr(recalling, "_fingerprint", lambda spec: "changed")
    else:
        monkeypatch.chdir(tmp_path)
    assert recall(store, REQUEST) is None


def test_the_command_recalls_without_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [part for one in TINY for part in ("--set", one)]
    command = ["eval", "--attack", "none", "--size", "16", "--threads", "1", *settings]
    command += ["--output", str(tmp_path), "--json"]
    assert run(command) == Exit.OK
    first = capsys.readouterr().out
    program = (
        f"import sys; from splitsec.cli import run; code = run({command!r}); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    again = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout == first
    assert "all 1 cells have a record, which is used" in again.stderr
