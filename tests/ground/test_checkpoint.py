"""Checkpoints: a stage that was killed goes on, and gives what it would have given."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import splitsec.checkpoint
from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.checkpoint import CheckpointFolder, Checkpoints
from splitsec.errors import SplitsecError
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from splitsec.state import UnfitError, put_back, take
from support.interruption import Killed, killed_at

TINY = [
    "training.epochs=2",
    "training.batch_size=8",
    "counts.private=24",
    "counts.public=16",
    "counts.validation=8",
    "counts.held_out=8",
    "counts.victims=8",
]


class Learner:
    """What an attack may be: networks, an optimizer, a generator, curves, a function."""

    def __init__(self) -> None:
        self.network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
        self.average = torch.zeros(3, requires_grad=True)
        self.optimizer = torch.optim.Adam([*self.network.parameters(), self.average])
        self.generator = torch.Generator().manual_seed(1)
        self.losses: list[float] = []
        self.seen: dict[tuple[int, int], torch.Tensor] = {}
        self.function: Callable[..., Any] = nn.functional.mse_loss

    def step(self) -> None:
        images = torch.rand(4, 3, generator=self.generator)
        loss = self.function(self.network(images) + self.average, images)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.losses.append(loss.item())
        self.seen[0, len(self.losses)] = images


def learn(learner: Learner, folder: Path, steps: int, stop: int | None = None) -> list[float]:
    """Train, saving every step; ``stop`` ends it as a kill would, after so many steps."""
    torch.manual_seed(3)
    saved = Checkpoints(CheckpointFolder(folder)).stage("learning", learner=learner)
    for step in range(saved.position, steps):
        if step == stop:
            return learner.losses
        learner.step()
        saved.reached(step + 1)
    return learner.losses


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitsec.checkpoint, "EVERY_SECONDS", 0.0)


def built() -> Learner:
    torch.manual_seed(0)
    return Learner()


@pytest.mark.usefixtures("often")
def test_a_stage_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = learn(built(), tmp_path / "whole", 6)
    learn(built(), tmp_path / "parts", 6, stop=3)
    other = built()
    assert learn(other, tmp_path / "parts", 6) == whole
    assert sorted(other.seen) == [(0, step) for step in range(1, 7)]
    assert other.optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_it_is_saved_only_now_and_then(tmp_path: Path) -> None:
    learn(built(), tmp_path, 6)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("often")
def test_what_numbers_depend_on_tells_checkpoints_apart(tmp_path: Path) -> None:
    Checkpoints(CheckpointFolder(tmp_path), "one").stage("a", state=[1]).reached(5)
    assert Checkpoints(CheckpointFolder(tmp_path), "one").stage("a", state=[0]).position == 5
    assert Checkpoints(CheckpointFolder(tmp_path), "other").stage("a", state=[0]).position == 0
    assert Checkpoints(CheckpointFolder(tmp_path), "one").stage("b", state=[0]).position == 0
    assert (
        Checkpoints(CheckpointFolder(tmp_path), "one").within("more").stage("a", state=[0]).position
        == 0
    )
    CheckpointFolder(tmp_path).clear()
    assert not tmp_path.exists()


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("damage", ["cut", "empty", "other network", "other parts"])
def test_what_does_not_fit_begins_anew(damage: str, tmp_path: Path) -> None:
    learn(built(), tmp_path, 6, stop=3)
    (file,) = tmp_path.iterdir()
    told: list[str] = []
    learner: object = built()
    parts = {"learner": learner}
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "other network":
        parts["learner"].network = nn.Sequential(nn.Linear(4, 3))  # type: ignore[attr-defined]
    else:
        parts = {"another": learner}
    before = take(learner, "learner")
    saved = Checkpoints(CheckpointFolder(tmp_path), announce=told.append).stage("learning", **parts)
    assert saved.position == 0
    assert "starts again" in told[0]
    assert str(take(learner, "learner")) == str(before), "nothing was put back"
    assert not file.exists()


@pytest.mark.usefixtures("often")
def test_what_cannot_be_saved_is_said_once(tmp_path: Path) -> None:
    told: list[str] = []
    saved = Checkpoints(CheckpointFolder(tmp_path), announce=told.append).stage("a", state=[{1, 2}])
    saved.reached(1)
    saved.reached(2)
    assert told == [
        "a cannot be saved; if killed, it starts again: state[0] is a set, which cannot be saved"
    ]
    assert not list(tmp_path.glob("*"))


class Late:
    """Builds a network on its way."""

    def __init__(self) -> None:
        self.network: nn.Module | None = None


class Rebuilt(Late):
    """Knows how to build it again."""

    def rebuild(self, state: dict[str, Any]) -> None:
        if state["network"] is not None:
            self.network = nn.Linear(2, 2)


class Wrong(Late):
    """Builds another one."""

    def rebuild(self, state: dict[str, Any]) -> None:
        self.network = nn.Linear(3, 3)


@pytest.mark.usefixtures("often")
def test_an_object_builds_again_what_it_built_on_its_way(tmp_path: Path) -> None:
    late = Rebuilt()
    late.network = nn.Linear(2, 2)
    Checkpoints(CheckpointFolder(tmp_path)).stage("a", state=late).reached(1)
    other = Rebuilt()
    assert Checkpoints(CheckpointFolder(tmp_path)).stage("a", state=other).position == 1
    assert other.network is not None
    assert torch.equal(other.network.weight, late.network.weight)  # type: ignore[arg-type]
    with pytest.raises(UnfitError, match="built on the way"):
        put_back(Late(), {**take(late, "it"), "class": "Late"})


@pytest.mark.usefixtures("often")
def test_what_fails_halfway_fails_the_cell(tmp_path: Path) -> None:
    late = Wrong()
    late.network = nn.Linear(2, 2)
    Checkpoints(CheckpointFolder(tmp_path)).stage("a", state=late).reached(1)
    with pytest.raises(SplitsecError, match="was removed; run the cell again"):
        Checkpoints(CheckpointFolder(tmp_path)).stage("a", state=Wrong())
    assert Checkpoints(CheckpointFolder(tmp_path)).stage("a", state=Wrong()).position == 0


def cells(attack: str, defense: str, *settings: str, **options: Any) -> list[Cell]:
    return resolve(
        Request(
            attack=attack,
            defense=defense,
            settings=[*TINY, *settings],
            threads=1,
            **{"target": "fsha-client", "cut": 1, "size": 16, **options},
        )
    )


def _slow(*values: Any) -> Any:
    """Return a case that takes more than ten seconds."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    ("attack", "defense", "exchange", "options"),
    [
        _slow(
            "none,average:queries=60,transport:rounds=2,pseudo-client:epochs=1,afterwards=2,"
            "sdar:every=2,afterwards=2,fora:epochs=1,afterwards=2,width=8,refine:images=60,steps=2",
            "proxy-adversary",
            7,
            {"settings": ["training.epochs=4"]},
        ),
        _slow("none,pseudo-client:epochs=1,afterwards=0,every=1", "none", 3, {}),
        ("fsha:iterations=8,image_steps=5", "gaussian-noise", 9, {}),
        _slow("fsha:iterations=8,image_steps=5,average=0.0", "none", 10, {"clients": 2}),
        _slow(
            "fsha:iterations=8,image_steps=5",
            "dcor",
            9,
            {"target": "unet:width=4", "cut": 1, "size": 32},
        ),
        _slow("fsha:iterations=12,images_from=0,image_steps=2", "none", 9, {}),
        _slow("none", "proxy-adversary", 3, {"settings": ["training.keep=best"]}),
    ],
)
def test_a_killed_session_gives_the_record_of_a_whole_one(
    attack: str,
    defense: str,
    exchange: int,
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = list(options.pop("settings", []))
    grid = cells(attack, defense, *more, **options)
    whole = [one.numbers() for one in run_cells(grid, tmp_path / "whole", Silent())]
    killed_at(monkeypatch, exchange)
    with pytest.raises(Killed):
        list(run_cells(grid, tmp_path / "parts", Silent(), rerun="failed"))
    assert list((tmp_path / "parts" / ".checkpoints").rglob("*.pt"))
    told: list[str] = []
    telling = Silent()
    telling.message = told.append  # type: ignore[method-assign]
    again = [one.numbers() for one in run_cells(grid, tmp_path / "parts", telling, rerun="failed")]
    assert again == whole
    assert any("goes on from its checkpoint" in text for text in told), told
    assert not list((tmp_path / "parts" / ".checkpoints").rglob("*.pt")), "they are done with"


@pytest.mark.slow
@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    ("attack", "owner", "name"),
    [
        ("adra:epochs=4", "splitsec.plugins.toolbox.inversion", "_epoch"),
        (
            "pseudo-client:epochs=1,afterwards=4",
            "splitsec.attacks.pseudo_client.PseudoClient",
            "update",
        ),
        ("sdar:afterwards=4", "splitsec.attacks.sdar.Sdar", "update"),
    ],
)
def test_a_killed_fit_goes_on(
    attack: str, owner: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = cells(attack, "none")
    (whole,) = run_cells(grid, tmp_path / "whole", Silent())
    where = pkgutil.resolve_name(owner)
    step, count = getattr(where, name), 0

    def counting(*arguments: Any) -> float:
        nonlocal count
        count += 1
        if count == 3:
            raise Killed
        taken: float = step(*arguments)
        return taken

    monkeypatch.setattr(where, name, counting)
    with pytest.raises(Killed):
        list(run_cells(grid, tmp_path / "parts", Silent(), rerun="failed"))
    count = -1000
    (again,) = run_cells(grid, tmp_path / "parts", Silent(), rerun="failed")
    assert count == -998, "two of four steps were left"
    assert again.numbers() == whole.numbers()


PROGRAM = """
import sys
from pathlib import Path
import splitsec.checkpoint
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.progress import Silent
from splitsec.running.runs import run_cells
from splitsec.training.client import Client

splitsec.checkpoint.EVERY_SECONDS = 0.0
step = Client.step
count = 0

def counting(self, *arguments):
    global count
    count += 1
    print("exchange", count, flush=True)
    return step(self, *arguments)

Client.step = counting
client = dict(target="fsha-client", cut=1, size=16, threads=1)
cells = resolve(Request(attack="fsha:iterations=12,image_steps=5", settings={settings}, **client))
(record,) = run_cells(cells, Path({store!r}), Silent(), rerun="failed")
print(record.to_json())
"""


@pytest.mark.slow
def test_a_process_that_was_killed_goes_on(tmp_path: Path) -> None:
    program = PROGRAM.format(settings=TINY, store=str(tmp_path / "parts"))
    first = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert first.stdout is not None
    for line in first.stdout:
        if line == "exchange 8\n":
            break
    first.kill()
    first.wait()
    second = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    *lines, json = second.stdout.splitlines()
    assert 0 < len(lines) <= 11, "of 18 exchanges the first seven or so were not run again"
    program = PROGRAM.format(settings=TINY, store=str(tmp_path / "whole"))
    whole = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    record, other = (
        Record.model_validate_json(text.splitlines()[-1]) for text in (json, whole.stdout)
    )
    assert record.numbers() == other.numbers()
