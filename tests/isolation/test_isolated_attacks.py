"""Isolated attacks: the same numbers, nothing private beside them, and no way to do harm."""

from __future__ import annotations

import inspect
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import splitsec.checkpoint
import splitsec.isolation.host
import splitsec.isolation.proxy
from splitsec import cli
from splitsec.cells.attacker import Attacker
from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cells.transport import CellMessage, load_cell
from splitsec.checkpoint import CheckpointFolder, Checkpoints
from splitsec.data.parts import Part
from splitsec.errors import (
    DivergedError,
    PluginError,
    SplitsecError,
    ThreatModelViolation,
    TimeLimitError,
    UsageError,
)
from splitsec.isolation import Isolation
from splitsec.isolation.host import Answer, Guest
from splitsec.isolation.protocol import Channel, Frame, MalformedError
from splitsec.isolation.proxy import IsolatedAttack
from splitsec.metrics import image_errors
from splitsec.plugins.messages import Message
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.executors.workers import Workers
from splitsec.running.runs import run_cells
from support.confined import in_sandbox
from support.interruption import Killed, killed_at
from support.isolated import build_attack
from support.workers import gone

HOSTILE = Path(__file__).parent / "hostile"
IMAGE = (3, 16, 16)
TINY = [
    "training.epochs=1",
    "training.batch_size=8",
    "counts.private=16",
    "counts.public=16",
    "counts.validation=8",
    "counts.held_out=8",
    "counts.victims=8",
]
PRIVATE = Part(
    images=np.zeros((1, 3, 8, 8), np.uint8),
    labels=np.zeros(1, np.int64),
    indices=np.zeros(1, np.int64),
)
"""What an attack that shares the process finds among the imported modules."""


@pytest.fixture(autouse=True)
def _no_lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITSEC_LPIPS_WEIGHTS", str(tmp_path / "nothing.pth"))


# The channel.


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = socket.socketpair()
    with one, other:
        yield Channel(one), Channel(other)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.rand(2, 3, 4, 5),
        torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.rand(2, 1, 1, 5).to(memory_format=torch.channels_last),
        torch.rand(8, 4)[::2],
        torch.rand(3).expand(4, 3),
        torch.tensor(3.5, dtype=torch.float64),
        torch.zeros(0, 3),
        torch.tensor([True, False]),
        torch.arange(5),
        torch.rand(6).to(torch.bfloat16),
    ],
)
def test_tensors_cross_as_they_are(tensor: torch.Tensor, ends: tuple[Channel, Channel]) -> None:
    sender, receiver = ends
    sender.send("call", {"a": [1, None]}, {"it": tensor})
    frame = receiver.receive({"call": 10_000})
    given = frame.tensors["it"]
    assert (frame.kind, frame.content) == ("call", {"a": [1, None]})
    assert given.dtype == tensor.dtype
    assert torch.equal(given, tensor)
    dense = tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
    assert given.stride() == (tensor.stride() if dense else tensor.contiguous().stride())


def test_what_is_no_json_is_not_sent(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(MalformedError, match="holds what is not JSON"):
        ends[0].send("return", {1, 2})


# Hostile processes.


@pytest.fixture
def outlaw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another program take the guest's place."""
    monkeypatch.setattr(splitsec.isolation.host, "MODULE", "outlaw")
    monkeypatch.setattr(splitsec.isolation.host, "_DYING_SECONDS", 1.0)
    monkeypatch.setenv("PYTHONPATH", str(HOSTILE))


def call(rule: str, given: str = "", **limits: Any) -> Answer:
    guest = Guest("attack 'outlaw'", Isolation(**limits), [])
    try:
        return guest.call(rule, Answer(given), most_bytes=1000, asked=lambda name, frame: Answer())
    finally:
        guest.close()
        assert gone(guest._process.pid)


@pytest.mark.usefixtures("outlaw")
@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("pickle", r"in pickle\(\): it announced 2,\d+,\d+,\d+ bytes of JSON"),
        ("pickled_header", "it sent something that is not JSON"),
        ("long_header", "it announced 4,294,967,295 bytes of JSON"),
        ("huge_tensor", "it sent 4,398,046,511,104 bytes of tensors"),
        ("many_tensors", "it sent 100,001 tensors"),
        ("object_tensor", "a tensor of an unknown kind"),
        ("overlapping", "whose values overlap or have gaps"),
        ("negative", "a tensor of no shape"),
        ("overflow", "a tensor of no shape"),
        ("laden_progress", "it sent tensors with 'progress', where none are expected"),
        ("nested", "it sent something that is not JSON"),
        ("no_frame", "it sent JSON that is no frame"),
        ("no_utf8", "it sent something that is not JSON"),
        ("unknown_kind", r"it sent 'please \[2J' out of turn"),
        ("strange_progress", "it sent progress that is none"),
        ("endless_stage", "it sent progress that is none"),
        ("no_error", "it raised nothing that has a name"),
        ("exit", r"is gone in exit\(\): its process ended with exit code 7"),
        ("close", r"is gone in close\(\): it closed its channel"),
    ],
)
def test_what_keeps_to_no_rule_is_ended(rule: str, says: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(PluginError, match=f"attack 'outlaw'.*{says}"):
        call(rule, str(mark))
    assert not mark.exists(), "nothing was unpickled"


@pytest.mark.usefixtures("outlaw")
@pytest.mark.parametrize(
    "rule",
    ["silence", *(pytest.param(one, marks=pytest.mark.slow) for one in ("babble", "chatter"))],
)
def test_what_never_answers_is_ended(rule: str) -> None:
    with pytest.raises(TimeLimitError, match="of a cell it may take 3 seconds"):
        call(rule, seconds=3)


@pytest.mark.usefixtures("outlaw")
def test_a_fork_bomb_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(PluginError, match=r"had \d+ processes, and 6 are allowed"):
        call("fork", str(pids), processes=6)
    started = [int(line) for line in pids.read_text().split()]
    assert len(started) > 3
    assert all(gone(pid) for pid in started)


@pytest.mark.usefixtures("outlaw")
def test_what_takes_too_much_memory_is_ended() -> None:
    with pytest.raises(PluginError, match=r"used 0\.\d GiB of memory, and 0\.2 are allowed"):
        call("hoard", memory_gib=0.2)


@pytest.mark.usefixtures("outlaw")
def test_what_is_printed_is_harmless_and_not_endless(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("flood").content == "flooded"
    printed = capsys.readouterr().err
    assert "now the screen is mine" in printed
    assert "\x1b" not in printed
    assert len(printed) < 70_000


@pytest.mark.usefixtures("outlaw")
def test_errors_are_short_and_of_the_attack() -> None:
    with pytest.raises(PluginError) as raised:
        call("foreign_error")
    said = str(raised.value)
    assert type(raised.value) is PluginError, "not what ends a whole run"
    assert said.startswith(" [31mdisk full ")
    assert len(said) < 700


@pytest.mark.usefixtures("outlaw")
def test_after_a_failure_every_call_says_it_again() -> None:
    guest = Guest("attack 'outlaw'", Isolation(), [])
    for _ in range(2):
        with pytest.raises(PluginError, match="exit code 7"):
            guest.call("exit")
    guest.close()


# Hostile attacks.


def hostile(name: str, isolation: Isolation | None, *settings: str) -> Cell:
    (cell,) = resolve(
        Request(
            attack=str(HOSTILE / name),
            defense="none",
            target="fsha-client",
            cut=1,
            size=16,
            settings=settings,
            threads=1,
        ),
        isolation,
    )
    return cell


def intrude(folder: Path, isolation: Isolation | None) -> dict[str, bool]:
    """Let the intruder try everything, and return what it got."""
    (folder / "data").mkdir()
    (folder / "data" / "secret").write_text("a patient")
    (folder / "store").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        cell = hostile(
            "intruder.py",
            isolation,
            f"attack.intruder.process={os.getpid()}",
            f"attack.intruder.port={listening.getsockname()[1]}",
            f"attack.intruder.secret={folder / 'data' / 'secret'}",
            f"attack.intruder.store={folder / 'store'}",
            f"attack.intruder.mark={folder / 'mark'}",
        )
        part, (attack, _) = PRIVATE, build_attack(cell)
        attack.fit(Silent())
        assert len(part)
    got = {name: bool(values[-1]) for name, values in attack.curves().items()}
    if isinstance(attack, IsolatedAttack):
        assert torch.equal(
            attack.reconstruct(torch.zeros(2, 64, 8, 8)), torch.full((2, *IMAGE), 0.5)
        )
        attack.close()
    assert len(got) == 12
    return got


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITSEC_DATA", str(tmp_path / "data"))


@pytest.mark.usefixtures("data")
def test_an_intruder_that_shares_the_process_gets_everything(tmp_path: Path) -> None:
    """Without it, the other tests could not fail."""
    got = intrude(tmp_path, None)
    open_to_it = ("gc", "frames", "modules", "environment", "data", "store", "network", "source")
    assert all(got[name] for name in open_to_it), got


@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_an_intruder_of_its_own_process_finds_nothing_private(tmp_path: Path) -> None:
    """And without the sandbox, what the documentation calls open is."""
    scorer, clock, state = image_errors.mse, time.monotonic, torch.get_rng_state()
    got = intrude(tmp_path, Isolation())
    assert not any(got[name] for name in ("gc", "frames", "modules", "environment", "long file"))
    assert all(got[name] for name in ("data", "store", "network")), got
    imported = {int(line) for line in (tmp_path / "mark").read_text().split()}
    assert imported
    assert os.getpid() not in imported, "it was not even imported here"
    assert image_errors.mse is scorer
    assert time.monotonic is clock
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
@pytest.mark.usefixtures("data", "bubblewrap")
def test_an_intruder_in_the_sandbox_gets_nothing(tmp_path: Path) -> None:
    got = intrude(tmp_path, Isolation(sandbox=True, hidden=(str(tmp_path / "store"),)))
    assert not any(got.values()), got
    assert not (tmp_path / "mark").exists()


def isolated_fsha(batch_size: int = 8, **limits: float) -> IsolatedAttack:
    isolation = Isolation.model_validate({"attacks": "all", **limits})
    (cell,) = resolve(
        Request(
            attack="fsha:iterations=5,image_steps=5,pretraining=0,batch_size=600",
            defense="none",
            target="fsha-client",
            cut=1,
            size=16,
            threads=1,
            settings=[f"training.batch_size={batch_size}"],
        ),
        isolation,
    )
    attack, _ = build_attack(cell)
    assert isinstance(attack, IsolatedAttack)
    return attack


DIRECTED = Message(torch.ones(2, 64, 8, 8), None, client=0, step=0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["features", "answer"])
def test_the_session_that_an_attack_directs_is_on_its_time(method: str) -> None:
    with closing(isolated_fsha(seconds=600)) as attack:
        attack.answer(DIRECTED)
        attack._since -= 700  # so long the client trained
        with pytest.raises(TimeLimitError, match=rf"out of time in {method}\(\): of a cell"):
            getattr(attack, method)(DIRECTED)
        with pytest.raises(TimeLimitError):
            attack.reconstruct(DIRECTED.smashed)


@pytest.mark.slow
def test_no_time_of_a_directed_session_is_counted_twice() -> None:
    start = time.monotonic()
    with closing(isolated_fsha(seconds=600)) as attack:
        attack.answer(DIRECTED)
        attack._guest.charge(attack._guest.used + 200)  # so long it took to give its state
        attack._since -= 210  # within so long between two answers
        attack.answer(DIRECTED)
        assert 210 < attack._guest.used <= 210 + time.monotonic() - start


@pytest.mark.slow
def test_a_run_that_goes_on_has_used_what_it_had_used(tmp_path: Path) -> None:
    shelf = Checkpoints(CheckpointFolder(tmp_path))
    with closing(isolated_fsha(seconds=600)) as attack:
        attack.checkpoints = shelf
        attack._guest.charge(100)
        state = attack.state_dict()
        attack._guest.charge(300)
        kept = torch.arange(20, dtype=torch.uint8)
        attack._saved("keep", "a", Frame("ask", "keep a", {"kept": kept}))
    with closing(isolated_fsha(seconds=600)) as attack:
        attack.checkpoints = shelf
        assert attack._guest.used < 100
        attack.load_state_dict(state)
        assert 100 <= attack._guest.used < 300
        nothing = Frame("ask", "read", {})
        with attack._guest._channel.charging():  # as it is where a guest asks for it
            assert torch.equal(attack._saved("read", "a", nothing).tensors["kept"], kept)
        assert 300 <= attack._guest.used < 400
        assert not attack._saved("read", "b", nothing).tensors
        attack._since -= 500
        with pytest.raises(TimeLimitError):
            attack.answer(DIRECTED)


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "most"), [(8, 64), (40, 160)])
def test_an_isolated_attack_dictates_no_batch_that_a_client_cannot_hold(
    batch_size: int, most: int
) -> None:
    with closing(isolated_fsha(batch_size)) as attack:
        says = f"dictates 600 images per exchange; an isolated attack may dictate up to {most} here"
        with pytest.raises(PluginError, match=says):
            attack.hijacking()


@pytest.mark.slow
def test_what_a_liar_answers_and_asks_for_is_refused() -> None:
    attack, view = build_attack(hostile("liar.py", Isolation()))
    view.add({"queries": lambda images, asked: images.repeat(1, 22, 1, 1)[:, :64, :8, :8]})

    def refused(step: int, kind: type[SplitsecError], says: str) -> None:
        message = Message(torch.ones(2, 64, 8, 8), None, client=0, step=step)
        with pytest.raises(kind, match=says):
            attack.answer(message)

    try:
        with pytest.raises(PluginError, match=r"attack 'liar' asks for too much in hijacking\(\)"):
            attack.hijacking()
        with pytest.raises(PluginError, match="'liar' returned curves that reach beyond"):
            attack.curves()
        with pytest.raises(PluginError, match="'liar' returned no Convergence"):
            attack.convergence()
        refused(0, DivergedError, r"'liar' gave values that are not finite in answer\(\)")
        refused(2, PluginError, r"'liar' returned NoneType from answer\(\); expected a tensor")
        refused(3, ThreatModelViolation, "'liar' asked for 'private_images'; no threat model")
        refused(4, ThreatModelViolation, "'liar' asked for 'pairs', which its threat model does")
        refused(5, PluginError, r"'liar' asks about images outside \[0, 1\] in query\(\)")
        refused(6, PluginError, r"'liar' asks about no images of shape \(3, 16, 16\)")
        refused(7, PluginError, r"'liar' asks about images outside \[0, 1\] in query\(\)")
        assert view.access.queries == 0
        assert attack.answer(Message(torch.ones(2, 64, 8, 8), None, 0, 8)).shape == (2, 64, 8, 8)
        assert view.access.queries == 2, "it is counted on this side"
        refused(9, PluginError, r"'liar' raised KeyError in answer\(\): ' ?.{0,6}\[2Jlong")
        assert not attack.answer(Message(torch.ones(2, 64, 8, 8), None, 0, 10)).any()
        refused(
            1, PluginError, r"broke the rules .* in answer\(\): it sent 98,304 bytes of tensors"
        )
        refused(0, PluginError, "broke the rules")
    finally:
        attack.close()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_state_that_is_not_taken_back_fails_one_attack_alone() -> None:
    attack, _ = build_attack(hostile("liar.py", Isolation()))
    try:
        attack.load_state_dict({"state": torch.zeros(3, dtype=torch.uint8)})
        with pytest.raises(PluginError):
            attack.curves()
    finally:
        attack.close()  # type: ignore[attr-defined]


def test_checkpoints_are_of_one_source_class_and_threat_model(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    body = '    """It sees {what}."""\n\n' + TWO_BODY
    file.write_text(
        TWO_HEAD
        + "".join(
            f"class {name}(Attack[Parameters]):\n" + body.format(what=what)
            for name, what in (("Weak", ""), ("Strong", "pairs=True"))
        )
    )

    def key(spec: str) -> str:
        (cell,) = resolve(
            Request(attack=spec, defense="none", target="fsha-client", cut=1, size=16)
        )
        return Attacker(cell).key()

    weak, strong = key(f"{file}:Weak"), key(f"{file}:Strong")
    assert weak != strong
    assert weak == key(f"{file}:Weak")
    file.write_text(f"{file.read_text()}\n# edited\n")
    assert weak != key(f"{file}:Weak")


TWO_HEAD = '''"""Two attacks."""
import torch
from splitsec import Attack, Parameters, ThreatModel

'''
TWO_BODY = """    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel({what})

    def reconstruct(self, smashed):
        return torch.zeros(len(smashed), *self.view.image_shape)

"""


@pytest.mark.usefixtures("bubblewrap")
def test_the_sandbox_lets_nobody_make_namespaces() -> None:
    assert in_sandbox(["true"]).returncode == 0
    assert in_sandbox(["unshare", "--user", "--map-root-user", "true"]).returncode != 0


@pytest.mark.usefixtures("bubblewrap")
def test_the_sandbox_hides_downloaded_images_in_a_home_that_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".medmnist").mkdir(parents=True)
    for file in (home / "note", home / ".medmnist" / "octmnist.npz"):
        file.write_text("something")
    monkeypatch.setenv("HOME", str(home))

    def reads(file: Path) -> bool:
        return in_sandbox(["cat", str(file)], [home]).stdout == "something"

    assert reads(home / "note")
    assert not reads(home / ".medmnist" / "octmnist.npz")


# The same numbers.


def numbers(attack: str, folder: Path, isolation: Isolation | None, **asked: Any) -> Any:
    cells = resolve(Request(attack=attack, threads=1, **asked), isolation)
    (record,) = run_cells(cells, folder, Silent())
    assert record.status == "ok", record.reason
    found = record.numbers()
    assert ("in-process" in found["flags"]) == (isolation is None)
    found["flags"] = [flag for flag in found["flags"] if flag != "in-process"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "defense", "target", "size"),
    [
        ("adra:epochs=2", "none", "vit:width=16,depth=1", 16),
        ("regression:queries=100", "none", "fsha-client", 16),
        ("transport:rounds=2", "none", "fsha-client", 16),
        ("average:queries=60", "gaussian-noise", "fsha-client", 16),
        ("refine:images=60,steps=2", "gaussian-noise", "fsha-client", 16),
        ("sdar:every=1,afterwards=2", "dcor", "fsha-client", 16),
        ("fora:afterwards=2,epochs=1,width=8", "gaussian-noise", "fsha-client", 16),
        ("fsha:iterations=6,image_steps=5", "none", "resnet:depth=18", 16),
        ("fsha:iterations=6,image_steps=5", "none", "unet:width=4", 32),
        ("pseudo-client:epochs=1,afterwards=2", "proxy-adversary", "unet:width=4", 32),
        ("pseudo-client:epochs=1,afterwards=2", "gaussian-noise", "fsha-client", 16),
    ],
)
def test_isolation_changes_no_number(
    attack: str, defense: str, target: str, size: int, tmp_path: Path
) -> None:
    asked = {"defense": defense, "target": target, "size": size, "settings": TINY}
    apart = numbers(attack, tmp_path / "apart", Isolation(attacks="all"), **asked)
    assert apart == numbers(attack, tmp_path / "here", None, **asked)


def killed_and_resumed(cells: list[Cell], store: Path, whole: Record, says: str) -> None:
    """Run a cell that is going to be killed, run it again, and compare it with a whole one."""
    with pytest.raises(Killed):
        list(run_cells(cells, store, Silent(), rerun="failed"))
    told: list[str] = []
    telling = Silent()
    telling.message = told.append  # type: ignore[method-assign]
    (again,) = run_cells(cells, store, telling, rerun="failed")
    assert any(says in text for text in told), told
    assert again.leakage == whole.leakage
    assert again.history == whole.history
    assert again.victims == whole.victims


@pytest.mark.slow
def test_a_killed_session_goes_on_with_its_isolated_attacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitsec.checkpoint, "EVERY_SECONDS", 0.0)
    asked: dict[str, Any] = {
        "attack": "fsha:iterations=6,image_steps=5,average=0.5",
        "defense": "gaussian-noise",
        "target": "fsha-client",
        "cut": 1,
        "size": 16,
        "settings": TINY,
        "threads": 1,
    }
    (whole,) = run_cells(resolve(Request(**asked)), tmp_path / "whole", Silent())
    cells = resolve(Request(**asked), Isolation(attacks="all"))
    killed_at(monkeypatch, 6)  # the honest session has two
    says = "hijacked session goes on from its checkpoint"
    killed_and_resumed(cells, tmp_path / "parts", whole, says)


@pytest.mark.slow
def test_a_killed_fit_of_an_isolated_attack_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitsec.checkpoint, "EVERY_SECONDS", 0.0)
    asked: dict[str, Any] = {
        "attack": "adra:epochs=6",
        "defense": "none",
        "target": "fsha-client",
        "cut": 1,
        "size": 16,
        "settings": TINY,
        "threads": 1,
    }
    (whole,) = run_cells(resolve(Request(**asked)), tmp_path / "whole", Silent())
    cells = resolve(Request(**asked), Isolation(attacks="all"))
    keep, kept = CheckpointFolder.keep, 0

    def killing(self: CheckpointFolder, name: str, content: bytes | memoryview) -> None:
        nonlocal kept
        keep(self, name, content)
        kept += "_saved" in {frame.function for frame in inspect.stack()}
        if kept == 4:
            monkeypatch.setattr(CheckpointFolder, "keep", keep)
            raise Killed

    monkeypatch.setattr(CheckpointFolder, "keep", killing)
    says = "decoder goes on from its checkpoint at step 4"
    killed_and_resumed(cells, tmp_path / "parts", whole, says)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "says"),
    [
        (4 << 30, "'hoarder' saves more than 20 stages"),
        (8000, "'hoarder' saves more than 8,000 bytes"),
        (100, r"broke the rules .* in fit\(\): it sent .* bytes of tensors"),
    ],
)
def test_an_attack_cannot_fill_the_disk_with_checkpoints(
    room: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitsec.isolation.proxy, "_MOST_STATE_BYTES", room)
    attack, _ = build_attack(hostile("hoarder.py", Isolation()))
    attack.checkpoints = Checkpoints(CheckpointFolder(tmp_path / "kept"), every_seconds=0.0)
    try:
        with pytest.raises(PluginError, match=says):
            attack.fit(Silent())
    finally:
        attack.close()  # type: ignore[attr-defined]
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.pt")) <= min(room, 1 << 20)


# What is known of an attack that is not loaded.

ATTACK = '''
"""An attack for a test."""
import os
from pathlib import Path
from pydantic import Field
import torch
from splitsec import Attack, Parameters, ThreatModel

Path({mark!r}).open("a").write(f"{{os.getpid()}}\\n")

class Given(Parameters):
    """Parameters."""
    steps: int = Field(5, ge=1, description="how many")
    scale: float = Field(1.0, description="of what")

class Mine(Attack[Given]):
    """It guesses."""
    Parameters = Given
    profiles = {{"quick": {{"scale": 0.5}}}}

    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(public_images=True, queries=parameters.steps > 5)

    def reconstruct(self, smashed):
        return torch.zeros(len(smashed), *self.view.image_shape)
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(ATTACK.format(mark=str(tmp_path / "mark")))
    return file


@pytest.mark.slow
def test_an_isolated_attack_is_described_without_being_loaded(mine: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "attack": f"{mine}:steps=7,{mine}",
        "defense": "none",
        "settings": TINY,
        "size": 16,
        "target": "fsha-client",
        "cut": 1,
    }
    before = set(sys.modules)
    apart = resolve(Request(**asked), Isolation())
    loaded = {int(line) for line in (tmp_path / "mark").read_text().split()}
    assert os.getpid() not in loaded
    assert len(loaded) == 1, "one process for both"
    sent = [
        load_cell(CellMessage.model_validate_json(CellMessage.of(cell).model_dump_json()))
        for cell in apart
    ]
    assert "splitsec_attack_mine" not in " ".join(sys.modules.keys() - before)
    here = resolve(Request(**asked))
    assert [cell.cell_id("") for cell in apart] == [cell.cell_id("") for cell in here]
    assert [cell.cell_id("") for cell in sent] == [cell.cell_id("") for cell in here]
    assert apart[0].spec.parameters["attack"] == {"steps": 7, "scale": 0.5}
    threats = [one.attack.plugin.cls.threat_model(one.attack.parameters) for one in sent]
    assert [threat.queries for threat in threats] == [True, False]


@pytest.mark.slow
def test_what_is_wrong_with_an_isolated_attack_is_said(mine: Path) -> None:
    def resolved(attack: str, *settings: str) -> Any:
        return resolve(Request(attack=attack, defense="none", settings=settings), Isolation())

    with pytest.raises(UsageError, match="did you mean 'steps'"):
        resolved(f"{mine}:step=7")
    with pytest.raises(UsageError, match=r"there is no .*nowhere\.py"):
        resolved("./nowhere.py")
    with pytest.raises(UsageError, match="unknown attack 'mime'"):
        resolved("mime")


@pytest.mark.slow
def test_an_attack_that_was_changed_meanwhile_is_not_run(mine: Path, tmp_path: Path) -> None:
    cells = resolve(
        Request(
            attack=str(mine), defense="none", target="fsha-client", cut=1, settings=TINY, size=16
        ),
        Isolation(),
    )
    mine.write_text(f"{mine.read_text()}\n# changed\n")
    (record,) = run_cells(cells, tmp_path / "out", Silent())
    assert record.status == "failed"
    assert "the source of attack 'mine' has been changed since the run began" in (
        record.reason or ""
    )


@pytest.mark.slow
def test_isolated_attacks_fail_alone_in_workers(mine: Path, tmp_path: Path) -> None:
    """One ends its process in the middle of the session that both listen to."""
    file = tmp_path / "leaving.py"
    file.write_text(f"{mine.read_text()}\n    def observe(self, exchange):\n        os._exit(9)\n")
    cells = resolve(
        Request(
            attack=f"{mine},{file}",
            defense="none",
            target="fsha-client",
            cut=1,
            settings=TINY,
            size=16,
            threads=1,
        ),
        Isolation(),
    )
    records = list(run_cells(cells, tmp_path / "out", Silent(), executor=Workers(1)))
    assert [record.status for record in records] == ["ok", "failed"]
    assert {record.provenance.isolation for record in records} == {"process"}
    assert "attack 'leaving' is gone in observe(): its process ended with exit code 9" in (
        records[1].reason or ""
    )
    assert os.getpid() not in {int(line) for line in (tmp_path / "mark").read_text().split()}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--sandbox", "--no-isolate"], "the sandbox is for isolated attacks"),
        (["--sandbox"], "bubblewrap, which is not installed"),
    ],
)
def test_what_cannot_be_isolated_so_is_said(
    options: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", "")
    assert cli.run(["eval", "--attack", "none", *options]) == cli.Exit.USAGE
    assert says in capsys.readouterr().err
