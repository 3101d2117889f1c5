"""Cells whose smashed data are tokens or vectors: ADRA inverts them, and the rest keeps up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import support.vectors
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells

SMALL = [
    "training.epochs=2",
    "counts.private=64",
    "counts.public=160",
    "counts.validation=16",
    "counts.held_out=24",
    "counts.victims=24",
]
VECTORS = str(Path(support.vectors.__file__))
VIT = "vit:width=32,depth=2"

MISLED = '''
"""ADRA, with each victim's smashed data taken for its neighbour's."""
from splitsec.attacks.adra import Adra

class Misled(Adra):
    """Decodes the neighbour's smashed data."""

    def reconstruct(self, smashed):
        return super().reconstruct(smashed.roll(1, 0))
'''


def run(folder: Path, **asked: Any) -> list[Record]:
    asked = {"defense": "none", "size": 16, "threads": 1, "settings": SMALL, **asked}
    return list(run_cells(resolve(Request(**asked)), folder / "out", Silent()))


@pytest.mark.slow
@pytest.mark.parametrize(("target", "cut"), [(VIT, "0"), (VIT, "2"), (VECTORS, "0")])
def test_adra_recovers_each_victim_from_its_own_smashed_data(
    target: str, cut: str, tmp_path: Path
) -> None:
    misled = tmp_path / "misled.py"
    misled.write_text(MISLED)
    attack = f"adra:epochs=40,{misled}:epochs=40"
    own, neighbour = run(tmp_path, attack=attack, target=target, cut=cut)
    assert own.status == neighbour.status == "ok", (own.reason, neighbour.reason)
    assert own.victims is not None
    assert neighbour.victims is not None
    assert own.victims.training is not None
    for scores in (own.victims.training, own.victims.held_out):
        assert (scores.skill.mse or 0) > 0.4
        assert (scores.skill.ssim or 0) > 0.2
        assert scores.privacy.identification.structure > 0.8
    if "lpips-unavailable" not in own.flags:
        assert own.leakage is not None
        assert (own.leakage.value or 0) > 0.3
    held_out = neighbour.victims.held_out
    assert (held_out.skill.mse or 0) < 0, "the decoder draws no average image"
    assert held_out.privacy.identification.structure < 0.2


@pytest.mark.parametrize("target", [VIT, VECTORS], ids=["tokens", "vectors"])
@pytest.mark.parametrize("defense", ["none", "dcor", "proxy-adversary", "gaussian-noise"])
def test_defenses_run_and_attacks_on_maps_are_skipped(
    target: str, defense: str, tmp_path: Path
) -> None:
    attack = "adra:epochs=1,decoder=report,fsha:iterations=2,pseudo-client:epochs=1,afterwards=1"
    adra, fsha, pseudo = run(tmp_path, attack=attack, target=target, defense=defense)
    assert (adra.status, adra.reason) == ("ok", None)
    sent = "17 tokens of 32 values" if target == VIT else "a vector of 128 values"
    for record in (fsha, pseudo):
        assert record.status == "skipped"
        assert f"{record.spec.attack!r} needs smashed data that are a map" in (record.reason or "")
        assert (record.reason or "").endswith(sent)


def test_tokens_are_shown_as_maps(tmp_path: Path) -> None:
    (record,) = run(tmp_path, attack="none", target=VIT, cut=1)
    assert record.status == "ok", record.reason
    folder = next((tmp_path / "out").glob("*/record.json")).parent
    with np.load(folder / record.artifacts["pictures"]) as kept:
        shown = {name: kept[name].shape for name in kept if name.startswith("layer")}
    assert shown == {"layer 0": (8, 4, 4), "layer 1": (8, 4, 4)}
