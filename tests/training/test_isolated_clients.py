"""Clients in a process of their own: the same numbers, and an end with a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from splitsec.cells.cell import Cell
from splitsec.cells.private_side import PrivateSide
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cells.score_utility import validation_scores
from splitsec.checkpoint import CheckpointFolder, Checkpoints
from splitsec.data.loading import load_data
from splitsec.errors import PluginError, TimeLimitError
from splitsec.isolation import Isolation
from splitsec.isolation.protocol import Channel
from splitsec.progress import Silent
from splitsec.training.isolated_clients import IsolatedClient
from support.interruption import Killed

APART = Isolation(attacks="all")
DETECTOR = '''"""Ends a session by the gradients that come back, and counts what it releases."""

import torch
from splitsec import Defense, Parameters
from splitsec.errors import SessionEnded

class Detector(Defense[Parameters]):
    randomised = True

    def begin(self, image, smashed, generator):
        self.generator, self.released = generator, 0

    def release(self, images, smashed):
        self.released += 1
        noise = torch.randn(smashed.shape, generator=self.generator) + torch.randn(smashed.shape)
        return smashed + 0.1 * self.released * noise

    def receive(self, gradient, step, labels):
        if step == 5:
            raise SessionEnded(f"gradients add up to {gradient.sum():.6f}")
        return 2 * gradient
'''
FAULTS = '''"""Fails as it is told."""

import os
import time
from splitsec import Defense, Parameters

class FaultParameters(Parameters):
    how: str = "raise"

class Fault(Defense[FaultParameters]):
    Parameters = FaultParameters

    def release(self, images, smashed):
        if self.parameters.how == "exit":
            os._exit(3)
        if self.parameters.how == "hang":
            time.sleep(60)
        raise ValueError("it is told to")
'''


def cell_of(apart: Isolation | None, **request: Any) -> Cell:
    settings = [
        "training.epochs=2",
        "training.batch_size=8",
        "counts.private=24",
        "counts.public=4",
        "counts.validation=8",
        "counts.held_out=8",
        "counts.victims=6",
        *request.pop("settings", []),
    ]
    usual = {"attack": "none", "data": "phantom-fundus", "size": "16", "seed": "11", "threads": 1}
    (cell,) = resolve(Request(**usual | request, settings=settings))
    return replace(cell, apart=apart)


def course(cell: Cell, checkpoints: Checkpoints | None = None) -> dict[str, Any]:
    """Return everything that a session gives."""
    data = load_data(cell.data_spec(), Silent())
    side = PrivateSide(cell, data, checkpoints)
    try:
        trained = side.honest(Silent(), (), lambda running: validation_scores(running, data))
        sent, outputs = trained.predict(data.held_out.all(), "held-out")
        return {
            "session": (trained.session.exchanges, trained.session.ended, trained.losses),
            "epochs": trained.epochs,
            "weights": [part.state_dict() for part in trained.model if part is not None],
            "traffic": (trained.traffic.sent, trained.traffic.labels),
            "held-out": (sent, outputs, trained.release(data.held_out.all(), "held-out")),
            "queries": trained.answers()(data.public.all(), 3),
            "pairs": trained.pairs(),
        }
    finally:
        side.close()


def same(one: Any, other: Any) -> bool:
    """Return whether two courses are the same to the last bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


SESSIONS: dict[str, dict[str, Any]] = {
    "several clients and noise": {
        "target": "fsha-client",
        "cut": "1",
        "defense": "gaussian-noise",
        "clients": 3,
        "settings": ["training.turn=batch", "training.decay=cosine"],
    },
    "U-shaped": {"target": "unet", "data": "phantom-cxr", "defense": "dcor"},
    "a trained defense and the best epoch": {
        "target": "resnet",
        "defense": "proxy-adversary",
        "settings": ["training.keep=best"],
    },
}
FAST = "several clients and noise"


@pytest.mark.parametrize(
    "name", [FAST, *(pytest.param(one, marks=pytest.mark.slow) for one in SESSIONS if one != FAST)]
)
def test_clients_in_another_process_give_the_same_numbers(name: str) -> None:
    here, apart = (course(cell_of(how, **SESSIONS[name])) for how in (None, APART))
    assert same(here, apart), [part for part in here if not same(here[part], apart[part])]


def test_a_killed_session_goes_on_and_a_detector_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it draws and counts goes on where it was, and its sentence is the same."""
    file = tmp_path / "detector.py"
    file.write_text(DETECTOR)
    request = {"target": "fsha-client", "cut": "1", "defense": str(file)}
    due = course(cell_of(None, **request))
    assert due["session"][1].startswith("at exchange 5: gradients add up to")
    step = IsolatedClient.step

    def dying(self: IsolatedClient, rows: Tensor, wire: Any, number: int) -> float | None:
        if number == 3:
            raise Killed
        return step(self, rows, wire, number)

    monkeypatch.setattr(IsolatedClient, "step", dying)
    messages: list[str] = []
    kept = Checkpoints(CheckpointFolder(tmp_path / "kept"), None, messages.append, 0.0)
    cell = cell_of(APART, **request)
    with pytest.raises(Killed):
        course(cell, kept)
    monkeypatch.setattr(IsolatedClient, "step", step)
    assert same(course(cell, kept), due)
    assert messages == ["honest training goes on from its checkpoint at step 3"]


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("raise", PluginError, "defense 'fault' raised ValueError in release.*it is told to"),
        pytest.param("exit", PluginError, "is gone in step.*exit code 3", marks=pytest.mark.slow),
        pytest.param("hang", TimeLimitError, "is out of time in step", marks=pytest.mark.slow),
    ],
)
def test_clients_that_fail_end_the_cell_with_a_sentence(
    how: str, error: type[PluginError], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "fault.py"
    file.write_text(FAULTS)
    request = {"target": "fsha-client", "cut": "1", "defense": f"{file}:how={how}"}
    limits = APART.model_copy(update={"seconds": 30.0 if how == "hang" else 300.0})
    with pytest.raises(error, match=said):
        course(cell_of(limits, **request))


def test_a_call_does_not_tell_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []
    send = Channel.send

    def watched(self: Channel, kind: str, content: Any = None, *rest: Any) -> None:
        if kind == "call":
            calls.append((content["method"], content["seed"]))
        send(self, kind, content, *rest)

    monkeypatch.setattr(Channel, "send", watched)
    course(cell_of(APART, target="fsha-client"))
    assert {"open", "send", "step"} <= {method for method, _ in calls}
    assert {seed for method, seed in calls if method != "step"} == {0}
