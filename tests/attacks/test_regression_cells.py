"""The regression attack in small cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import support.vectors
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells

SMALL = [
    "training.epochs=1",
    "counts.private=48",
    "counts.public=48",
    "counts.validation=16",
    "counts.held_out=24",
    "counts.victims=24",
]
VECTORS = str(Path(support.vectors.__file__))

CONSTANT = '''
"""Sends zeros."""
import torch
from splitsec import Defense

class Constant(Defense):
    """Sends zeros."""

    def release(self, images, smashed):
        return 0 * smashed
'''


def run(folder: Path, settings: list[str] | None = None, **asked: Any) -> list[Record]:
    asked = {"defense": "none", "size": 16, "threads": 1, "attack": "regression", **asked}
    cells = resolve(Request(settings=[*SMALL, *(settings or [])], **asked))
    return list(run_cells(cells, folder / "out", Silent()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "cut"), [("fsha-client", 1), ("vit:width=32,depth=2", 1), (VECTORS, 0)]
)
def test_it_inverts_an_undefended_client(target: str, cut: int, tmp_path: Path) -> None:
    (record,) = run(tmp_path, attack="regression:queries=500", target=target, cut=cut)
    assert record.victims is not None, record.reason
    assert (record.victims.held_out.skill.mse or 0) > 0.5
    assert record.victims.held_out.privacy.identification.structure > 0.8
    assert record.access is not None
    assert (record.access.queries, record.access.public_images) == (500, 48)
    assert {"oracle-access", "randomised-defense"} & {*record.flags} == {"oracle-access"}


@pytest.mark.slow
def test_a_constant_release_tells_nothing(tmp_path: Path) -> None:
    defense = tmp_path / "constant.py"
    defense.write_text(CONSTANT)
    (record,) = run(tmp_path, target="fsha-client", cut=1, defense=str(defense))
    assert record.status == "ok", record.reason
    assert record.victims is not None
    assert abs(record.victims.held_out.skill.mse or 0) < 0.1
    assert "no-better-than-trivial" in record.flags


def test_two_public_images(tmp_path: Path) -> None:
    (record,) = run(tmp_path, ["counts.public=2"], target="fsha-client", cut=1)
    assert record.status == "ok", record.reason
    assert record.access is not None
    assert record.access.queries == 42, "each of them and twenty variants"
