"""Defenses that look for labels, for the server and for the attack, or replace their judge."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile.plugins.cheat import NAMES

from splitsec.cells import score_attack
from splitsec.cells.attacker import Attacker
from splitsec.cells.cell import Cell
from splitsec.cells.private_side import PrivateSide
from splitsec.data.loading import load_data
from splitsec.isolation import Isolation
from splitsec.metrics import image_errors
from splitsec.plugins.grants import given
from splitsec.progress import Silent
from splitsec.records import agreement, store
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from support.cells import tiny_cells

PLUGINS = Path(__file__).parent / "plugins"
LOOKED_UP_IN_PROCESS = {"purpose_of_the_seed", "secret_in_environment"}
"""Tricks that fail in one process, too: there is no such thing to find."""
CHEATS = ("labels_in_frames", "server_in_memory", "attack_on_the_stack")


@pytest.fixture(autouse=True)
def _no_lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITSEC_LPIPS_WEIGHTS", str(tmp_path / "nothing.pth"))


def cells(defense: str, isolation: Isolation | None, *settings: str) -> list[Cell]:
    return tiny_cells("adra:epochs=1,queries=8", defense, isolation, *settings)


def cheat(mark: Path, isolation: Isolation | None, tricks: str) -> Cell:
    (cell,) = cells(
        str(PLUGINS / "cheat.py"),
        isolation,
        f"defense.cheat.tricks={tricks}",
        f"defense.cheat.mark={mark}",
    )
    return cell


def tricks_that_work(mark: Path, isolation: Isolation | None) -> set[str]:
    """Ask the clients about images as an attack does, and return which tricks worked then."""
    cell = cheat(mark, isolation, " ".join(NAMES))
    data = load_data(cell.data_spec(), Silent())
    side = PrivateSide(cell, data)
    try:
        trained = side.honest(Silent())
        attacker = Attacker(cell)
        view = side.view(attacker)
        view.add(given(attacker.threat, "end", side.holdings(clients=trained)))

        def fit() -> torch.Tensor:
            return view.query(data.public.all())

        asked = fit()
        assert torch.isfinite(asked).all()
    finally:
        side.close()
    lines = mark.read_text().split()
    assert "tried" in lines
    return {line for line in lines if line != "tried"}


assert score_attack._REFERENCES is not None, "imported, as in a run"


def test_a_cheat_that_shares_the_process_finds_everything(tmp_path: Path) -> None:
    """Without it, the other tests could not fail."""
    worked = tricks_that_work(tmp_path / "mark", None)
    assert worked == set(NAMES) - LOOKED_UP_IN_PROCESS


def test_a_cheat_in_the_clients_process_finds_nothing(tmp_path: Path) -> None:
    assert tricks_that_work(tmp_path / "mark", Isolation()) == set()


def run(folder: Path, cell: Cell) -> Record:
    (record,) = run_cells([cell], folder, Silent())
    assert record.status == "ok", record.reason
    return record


@pytest.mark.slow
def test_cheats_leak_what_no_defense_leaks(tmp_path: Path) -> None:
    """In one process each of them hides something; in its own it can do nothing but be honest."""
    (undefended,) = cells("none", None)
    due = run(tmp_path / "none", undefended)
    for trick in CHEATS:
        here = run(tmp_path / trick, cheat(tmp_path / "mark", None, trick))
        assert measured(here) != measured(due), trick
    for trick in CHEATS:
        apart = run(tmp_path / f"{trick}, apart", cheat(tmp_path / "mark", Isolation(), trick))
        assert measured(apart) == measured(due), trick


def measured(record: Record) -> dict[str, Any]:
    numbers = record.numbers()
    return {name: numbers[name] for name in ("victims", "leakage", "utility", "access")}


JUDGES = {
    "compare": (agreement, "compare"),
    "write_record": (store, "write_record"),
    "mse": (image_errors, "mse"),
    "numbers": (Record, "numbers"),
}


def test_a_defense_that_replaces_the_judge_is_not_imported_here() -> None:
    before = {name: getattr(holder, of) for name, (holder, of) in JUDGES.items()}
    (cell,) = cells(str(PLUGINS / "judge.py"), Isolation())
    assert cell.defense.plugin.cls.__name__ == "Judge"
    assert {name: getattr(holder, of) for name, (holder, of) in JUDGES.items()} == before
    assert "SPLITSEC_REPLACED" not in os.environ
    assert not [name for name in sys.modules if name.endswith("judge")]


@pytest.mark.slow
def test_a_defense_that_replaces_the_judge_is_judged(tmp_path: Path) -> None:
    (cell,) = cells(str(PLUGINS / "judge.py"), Isolation())
    (undefended,) = cells("none", None)
    record = run(tmp_path / "judge", cell)
    assert record.provenance.isolation == "process"
    assert measured(record) == measured(run(tmp_path / "none", undefended))
    (kept,) = (tmp_path / "judge").glob("*/record.json")
    assert measured(load_record(kept)) == measured(record)
