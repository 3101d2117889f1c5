"""The same cells on a GPU and on the CPU: a seed means the same, so scores are alike.

These need a GPU and are skipped without one: ``pytest -m gpu``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.devices import CPU, Device, devices_named
from splitsec.isolation import Isolation
from splitsec.plugins.loading import list_plugins
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]

CLOSE = 0.02  # of leakage: kernels add in another order, and training amplifies that

SETTINGS = {
    "fsha": ["attack.fsha.iterations=20", "attack.fsha.image_steps=5"],
    "adra": ["attack.adra.epochs=3"],
}


def run(folder: Path, attack: str, device: Device, isolation: Isolation | None = None) -> Record:
    (cell,) = resolve(
        Request(
            attack=attack,
            defense="gaussian-noise",
            target="fsha-client",
            cut=1,
            size=16,
            threads=1,
            settings=[
                "training.epochs=1",
                "counts.private=64",
                "counts.public=64",
                "counts.validation=16",
                "counts.held_out=24",
                "counts.victims=16",
                *SETTINGS.get(attack, []),
            ],
        ),
        isolation,
    )
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
    assert isolated.numbers() == alone.numbers()
