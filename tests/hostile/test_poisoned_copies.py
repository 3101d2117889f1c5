"""A stranger's defense that gives attackers another copy of itself than clients have."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitsec.cells.attacker import Attacker
from splitsec.cells.cell import Cell
from splitsec.cells.private_side import PrivateSide
from splitsec.checkpoint import Checkpoints
from splitsec.data.loading import load_data
from splitsec.errors import PluginError
from splitsec.isolation import Isolation
from splitsec.progress import Silent
from splitsec.running.runs import run_cells
from support.cells import tiny_cells

PLUGINS = Path(__file__).parent / "plugins"


def poisoned(*ways: str) -> list[Cell]:
    defenses = ",".join(f"{PLUGINS / 'poisoned.py'}:how={how}" for how in ways)
    return tiny_cells(str(PLUGINS / "copier.py"), defenses, Isolation())


WAYS = {
    "callers": "in the attacker's process it releases something else than as a client's",
    "raises": "in the attacker's process it raises, or releases no tensor",
    "process": "in the attacker's process it releases something else than as a client's",
    "memory": "in the attacker's process it releases something else than as a client's",
    "later": "in the attacker's process it releases something else than as a client's",
}
SLOW = [pytest.param(how, marks=pytest.mark.slow) for how in ("process", "memory", "later")]


@pytest.mark.parametrize("how", ["callers", "raises", *SLOW])
def test_a_poisoned_copy_fails_its_cell(how: str) -> None:
    (cell,) = poisoned(how)
    side = PrivateSide(cell, load_data(cell.data_spec(), Silent()))
    attacker = Attacker(cell)
    attacker.build(side.view(attacker), Checkpoints())
    said = f"the copies of defense 'poisoned' disagree: {WAYS[how]}"
    try:
        with pytest.raises(PluginError, match=said):
            attacker.attack.fit(Silent())
        with pytest.raises(PluginError, match=said):  # whatever the attack makes of it
            attacker.attack.curves()
    finally:
        attacker.close()


@pytest.mark.slow
def test_an_honest_copy_is_the_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITSEC_LPIPS_WEIGHTS", str(tmp_path / "nothing.pth"))
    (record,) = run_cells(poisoned("nothing"), tmp_path, Silent())
    assert record.status == "ok", record.reason
