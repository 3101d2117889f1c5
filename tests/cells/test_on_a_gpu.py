"""The same cells on a GPU and on the CPU: a seed means the same, so scores are alike.

These need a GPU and are skipped without one: ``pytest -m gpu``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splitsec.devices import CPU, Device, devices_named
from splitsec.isolation import Isolation
from splitsec.plugins.loading import list_plugins
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from support.cells import SHORT, tiny_cells

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]

CLOSE = 0.02  # of leakage: kernels add in another order, and training amplifies that


def run(folder: Path, attack: str, device: Device, isolation: Isolation | None = None) -> Record:
    (cell,) = tiny_cells(SHORT.get(attack, attack), "gaussian-noise", isolation)
    (record,) = run_cells([replace(cell, device=device)], folder, Silent())
    return record


@pytest.mark.parametrize("attack", [one.name for one in list_plugins("attack")])
def test_a_cell_has_the_same_scores(attack: str, tmp_path: Path) -> None:
    (gpu, *_) = devices_named("cuda")
    there, here = run(tmp_path / "there", attack, gpu), run(tmp_path / "here", attack, CPU)
    assert there.status == here.status == "ok", there.reason
    assert there.cell_id == here.cell_id
    assert there.provenance.device == gpu.description
    if here.leakage is not None and here.leakage.value is not None:
        assert there.leakage is not None
        assert there.leakage.value == pytest.approx(here.leakage.value, abs=CLOSE)


def test_an_isolated_attack_is_there_too(tmp_path: Path) -> None:
    (gpu, *_) = devices_named("cuda")
    alone = run(tmp_path / "alone", "regression", gpu)
    isolated = run(tmp_path / "isolated", "regression", gpu, Isolation(attacks="all"))
    assert isolated.status == "ok", isolated.reason
    assert (isolated.victims, isolated.leakage) == (alone.victims, alone.leakage)
