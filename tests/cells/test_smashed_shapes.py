"""Cells whose smashed data are tokens or vectors: ADRA inverts them, and the rest keeps up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import splitsec.checkpoint
import support.vectors
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.plugins.toolbox import inversion
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from support.interruption import Killed, killed_at

SMALL = [
    "training.epochs=2",
    "counts.private=64",
    "counts.public=160",
    "counts.validation=16",
    "counts.held_out=24",
    "counts.victims=24",
]
SMALLER = [
    "training.epochs=2",
    "training.batch_size=8",
    "counts.private=24",
    "counts.public=24",
    "counts.validation=8",
    "counts.held_out=8",
    "counts.victims=8",
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
    asked = {"defense": "none", "size": 16, "threads": 1, "settings": SMALLER, **asked}
    return list(run_cells(resolve(Request(**asked)), folder / "out", Silent()))


@pytest.mark.slow
@pytest.mark.parametrize(("target", "cut"), [(VIT, "0"), (VIT, "2"), (VECTORS, "0")])
def test_adra_recovers_each_victim_from_its_own_smashed_data(
    target: str, cut: str, tmp_path: Path
) -> None:
    misled = tmp_path / "misled.py"
    misled.write_text(MISLED)
    attack = f"adra:epochs=6,{misled}:epochs=6"
    own, neighbour = run(tmp_path, attack=attack, target=target, cut=cut, settings=SMALL)
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


@pytest.mark.parametrize(
    ("target", "defense"),
    [
        pytest.param(VIT, "none", marks=pytest.mark.slow),
        (VIT, "dcor"),
        pytest.param(VIT, "proxy-adversary", marks=pytest.mark.slow),
        (VIT, "gaussian-noise"),
        (VECTORS, "none"),
        pytest.param(VECTORS, "dcor", marks=pytest.mark.slow),
        (VECTORS, "proxy-adversary"),
        pytest.param(VECTORS, "gaussian-noise", marks=pytest.mark.slow),
    ],
)
def test_defenses_run_and_attacks_on_maps_are_skipped(
    target: str, defense: str, tmp_path: Path
) -> None:
    adra = "adra:epochs=1,queries=20,decoder=report"
    attack = f"{adra},fsha:iterations=2,image_steps=5,pseudo-client:epochs=1,afterwards=1"
    inverted, fsha, pseudo = run(tmp_path, attack=attack, target=target, defense=defense)
    assert (inverted.status, inverted.reason) == ("ok", None)
    sent = "17 tokens of 32 values" if target == VIT else "a vector of 128 values"
    for record in (fsha, pseudo):
        assert record.status == "skipped"
        assert f"{record.spec.attack!r} needs smashed data that are a map" in (record.reason or "")
        assert (record.reason or "").endswith(sent)


@pytest.mark.slow
@pytest.mark.parametrize("target", [VIT, VECTORS], ids=["tokens", "vectors"])
def test_a_run_that_was_killed_twice_goes_on(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once while the clients train behind a defense with a network, once in the attack's fit."""
    monkeypatch.setattr(splitsec.checkpoint, "EVERY_SECONDS", 0.0)
    asked: dict[str, Any] = {
        "attack": "adra:epochs=4",
        "defense": "proxy-adversary",
        "target": target,
    }
    asked |= {"size": 16, "threads": 1, "settings": SMALLER}
    (whole,) = run_cells(resolve(Request(**asked)), tmp_path / "whole", Silent())
    parts = tmp_path / "parts"
    killed_at(monkeypatch, 3)
    with pytest.raises(Killed):
        list(run_cells(resolve(Request(**asked)), parts, Silent(), rerun="failed"))
    with monkeypatch.context() as patched:
        patched.setattr(inversion, "_epoch", _killed_after(inversion._epoch, 2))
        with pytest.raises(Killed):
            list(run_cells(resolve(Request(**asked)), parts, Silent(), rerun="failed"))
    told: list[str] = []
    telling = Silent()
    telling.message = told.append  # type: ignore[method-assign]
    (again,) = run_cells(resolve(Request(**asked)), parts, telling, rerun="failed")
    assert any("adra's decoder goes on from its checkpoint" in text for text in told), told
    assert again.numbers() == whole.numbers()


def _killed_after(step: Callable[..., float], count: int) -> Callable[..., float]:
    steps = iter([step] * count)

    def counting(*given: Any) -> float:
        for one in steps:
            return one(*given)
        raise Killed

    return counting


def test_tokens_are_shown_as_maps(tmp_path: Path) -> None:
    (record,) = run(tmp_path, attack="none", target=VIT, cut=1)
    assert record.status == "ok", record.reason
    folder = next((tmp_path / "out").glob("*/record.json")).parent
    with np.load(folder / record.artifacts["pictures"]) as kept:
        shown = {name: kept[name].shape for name in kept if name.startswith("layer")}
    assert shown == {"layer 0": (8, 4, 4), "layer 1": (8, 4, 4)}
