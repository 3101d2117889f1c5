"""The device: it puts what it is given where it should be, and nothing else moves anything."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import splitsec
from splitsec.devices import CPU, Device, beside, devices_named, on_cpu, zeros_for
from splitsec.errors import UsageError
from splitsec.plugins.target import SplitModel

META = Device("meta")
ROOT = Path(splitsec.__file__).parents[1]
FOLDERS = ("splitsec", "attacks", "defenses", "targets", "leaderboard")

PUTS = {
    "splitsec/cells/cell.py": 1,  # models
    "splitsec/training/client.py": 2,  # batches that train, and that are sent in use
    "splitsec/training/client_guest.py": 1,  # the model, in the clients' process  # batches
    "splitsec/training/release.py": 1,  # images that are released
    "splitsec/plugins/view.py": 1,  # grants
    "splitsec/metrics/victims.py": 3,  # images of references, victims, reconstructions
    "splitsec/metrics/perceptual.py": 1,  # the network of LPIPS
    "splitsec/cells/example_pictures.py": 1,  # the image whose layers are drawn
    "splitsec/isolation/protocol.py": 1,  # what crossed between two processes
    "splitsec/isolation/guest.py": 1,  # models that a guest builds
    "attacks/fsha/__init__.py": 2,  # networks of its own, and what keeps the task
    "attacks/pseudo_client/__init__.py": 1,
    "attacks/sdar/__init__.py": 1,
    "attacks/fora.py": 1,
    "defenses/proxy_adversary.py": 1,
    "defenses/bottleneck.py": 1,  # its layers
    "defenses/attacker_aware.py": 1,
    "defenses/disco.py": 2,  # what scores the channels, and its decoder
    "defenses/shredder.py": 1,  # the noise
    "splitsec/training/mixing.py": 1,  # drawn images
}
"""How often a file calls ``put`` of a device."""

HOME = "splitsec/devices.py"
"""The one file that calls what torch has for it."""


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


def test_everything_that_holds_tensors_is_put() -> None:
    given: dict[str, Any] = {
        "images": torch.rand(2, 3),
        "nested": [torch.zeros(1), {"deep": (torch.ones(2), "text")}],
        "pair": Pair(torch.zeros(1), torch.ones(1)),
        "model": SplitModel(nn.Linear(3, 2), nn.BatchNorm1d(2)),
    }
    put = META.put(given)
    assert put["images"].is_meta
    assert isinstance(put["nested"], list)
    assert put["nested"][0].is_meta
    assert put["nested"][1]["deep"][0].is_meta
    assert put["nested"][1]["deep"][1] == "text"
    assert isinstance(put["pair"], Pair)
    assert put["pair"].right.is_meta
    model = put["model"]
    assert isinstance(model, SplitModel)
    assert model.head is None
    tensors = [one for part in (model.client, model.server) for one in part.state_dict().values()]
    assert len(tensors) == 7
    assert all(one.is_meta for one in tensors)
    assert not given["images"].is_meta, "what was given stays where it is"


@pytest.mark.parametrize("value", [None, 0.5, "none", len, frozenset({1})])
def test_what_holds_no_tensors_stays_as_it_is(value: object) -> None:
    assert META.put(value) is value


def test_on_the_cpu_nothing_is_copied() -> None:
    tensor, module = torch.rand(4, 3, 2, 2).contiguous(memory_format=torch.channels_last), nn.ReLU()
    linear = nn.Linear(2, 2)
    weight = linear.weight
    assert CPU.put(tensor) is tensor
    assert CPU.put(module) is module
    assert CPU.put(linear).weight is weight, "its optimizer still holds it"
    assert beside(tensor, torch.zeros(1)) is tensor
    assert on_cpu(tensor).data_ptr() == tensor.data_ptr()
    assert on_cpu(tensor).stride() == tensor.stride()


def test_a_draw_is_made_on_the_cpu_and_copied() -> None:
    """The generator goes on by as much as for any other device."""
    one, other = (torch.Generator().manual_seed(3) for _ in range(2))
    drawn = torch.randn(4, generator=one)
    copied = beside(torch.randn(4, generator=other), torch.zeros(1, device="meta"))
    assert copied.is_meta
    assert copied.shape == drawn.shape
    assert torch.equal(torch.rand(2, generator=one), torch.rand(2, generator=other))


def test_a_place_is_found_and_zeros_are_made_there() -> None:
    network = META.put(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 1)))
    assert Device.of(network) == META
    assert Device.of(nn.BatchNorm1d(2, affine=False)) == CPU
    assert Device.of(torch.zeros(1, device="meta")) == META
    assert Device.of(nn.ReLU()) == CPU
    assert network(zeros_for(network, 1, 3, 2, 2)).shape == (1, 4, 2, 2)


def calls() -> Iterator[tuple[str, ast.Call, ast.Attribute]]:
    """Yield every call of a method in the project, with its file."""
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            name = file.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    yield name, node, node.func


def moves(call: ast.Call, method: str) -> bool:
    """Return whether a call may move something: ``to`` with more than a dtype or a layout does."""
    if method != "to":
        return method in ("cuda", "cpu")
    given = [*call.args, *(one.value for one in call.keywords if one.arg != "memory_format")]
    return not all(isinstance(one, ast.Attribute) and _is_dtype(one) for one in given)


def _is_dtype(value: ast.Attribute) -> bool:
    if value.attr == "dtype":
        return True
    return isinstance(getattr(torch, value.attr, None), torch.dtype)


@pytest.mark.parametrize(
    ("source", "does"),
    [
        ("x.to('cuda')", True),
        ("x.to(device)", True),
        ("x.to(y)", True),
        ("x.to(self.device, torch.float32)", True),
        ("x.to(device=where)", True),
        ("x.cpu()", True),
        ("x.cuda()", True),
        ("x.to(torch.float32)", False),
        ("x.to(y.dtype)", False),
        ("x.to(memory_format=torch.channels_last)", False),
    ],
)
def test_what_moves_something_is_told_from_what_does_not(source: str, does: bool) -> None:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Attribute)
    assert moves(call, call.func.attr) == does


def test_nothing_else_moves_anything() -> None:
    found = {
        f"{file}:{call.lineno}: {ast.unparse(call)}"
        for file, call, method in calls()
        if moves(call, method.attr) and file != HOME
    }
    assert not found, f"put it with a Device, beside() or on_cpu(): {found}"


def test_each_thing_is_put_in_one_place() -> None:
    found = Counter(
        file
        for file, _, method in calls()
        if method.attr == "put" and ast.unparse(method.value).split(".")[-1] == "device"
    )
    assert found == PUTS


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Have torch find so many GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("name", "count", "found"),
    [
        ("cpu", 2, ["cpu"]),
        ("auto", 0, ["cpu"]),
        ("auto", 1, ["cuda:0"]),
        ("auto", 2, ["cuda:0", "cuda:1"]),
        ("cuda", 2, ["cuda:0", "cuda:1"]),
        ("cuda:1", 2, ["cuda:1"]),
    ],
)
def test_a_name_gives_devices(
    name: str, count: int, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, count)
    assert [one.name for one in devices_named(name)] == found


@pytest.mark.parametrize(
    ("name", "count", "says"),
    [
        ("gpu", 1, "--device 'gpu' is not auto, cpu, cuda, cuda:1 or mps"),
        ("cuda:", 1, "is not auto"),
        ("cuda:-1", 1, "is not auto"),
        ("meta", 1, "is not auto"),
        ("cuda", 0, r"--device cuda: this torch \(.*\) (was built without|finds no NVIDIA)"),
        ("cuda:0", 0, "--device cuda:0: this torch"),
        ("cuda:2", 2, "--device cuda:2: torch finds cuda:0, cuda:1 here"),
        ("mps", 0, "--device mps: torch finds no GPU of Apple here"),
    ],
)
def test_a_device_that_is_not_here_is_said(
    name: str, count: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=says):
        devices_named(name)


def test_a_gpu_is_described_with_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Device("cuda:1").description == "cuda:1", "it may be a cluster's"
    gpus(monkeypatch, 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: f"model of {name}")
    assert Device("cuda:1").description == "cuda:1 (model of cuda:1)"
    assert CPU.description == "cpu"
