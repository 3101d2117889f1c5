"""Code in the sandbox that reaches for the kernel, also where root runs splitsec."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest

from splitsec.cli import run
from splitsec.cli.exit_codes import Exit
from splitsec.isolation import doors, sandbox, self_test
from support.confined import in_sandbox

pytestmark = pytest.mark.usefixtures("bubblewrap")

ALLOW_ALL = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a private file."""
    (tmp_path / "scan.npz").touch()
    monkeypatch.setenv("SPLITSEC_DATA", str(tmp_path))
    return tmp_path


def test_every_door_is_shut(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--sandbox", "--json"]) == Exit.OK
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["opened"] for one in found} == {None}
    names = {one["door"] for one in found if one["sandbox"] == "attack"}
    assert {f"folder {scans}", "sockets of AF_VSOCK", "call io_uring", "call key ring"} <= names
    assert {one["sandbox"] for one in found} == {"attack", "whole command", "attack in a command"}


def test_an_open_door_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the filter the doors behind it open, so that the test above could fail."""
    monkeypatch.setattr(sandbox, "call_filter", lambda *, outer: ALLOW_ALL)
    assert run(["doctor", "--sandbox"]) == Exit.FAILED
    said = capsys.readouterr().out
    for door in ("sockets of AF_INET: a socket", "call io_uring: the kernel says: Bad address"):
        assert f"OPEN  attack               {door}" in said
    assert said.rstrip().endswith("doors are open.")


def test_doors_are_open_outside(tmp_path: Path) -> None:
    (tmp_path / "scan.npz").touch()
    assert doors._lists(str(tmp_path)) == "1 entries"
    assert doors._services() is not None
    assert doors._processes() is not None
    assert doors._filter() == "there is none"
    assert doors._connects(*doors._FAMILIES["AF_INET"]) == "a socket"


REACH = """
import socket, sys
try:
    {code}
except OSError as error:
    print(error.strerror)
else:
    print("got it")
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("socket.socket(40, socket.SOCK_STREAM)", "Address family not supported by protocol"),
        ("socket.create_connection(('127.0.0.1', 9))", "Address family not supported by protocol"),
        ("socket.socketpair(socket.AF_INET)", "Address family not supported by protocol"),
        ("open('/proc/sys/kernel/core_pattern', 'r+b')", "Read-only file system"),
        ("open('/proc/keys')", "Permission denied"),
        ("open('/proc/self/oom_score_adj', 'r+b')", "got it"),  # that of its own process
    ],
)
@pytest.mark.parametrize("outer", [False, True], ids=["attack", "whole command"])
def test_what_hostile_code_is_told(code: str, says: str, outer: bool) -> None:
    done = in_sandbox([sys.executable, "-P", "-S", "-c", REACH.format(code=code)], outer=outer)
    assert done.stdout.strip() == says, done.stderr


NUMERICAL = """
import multiprocessing, numpy, torch
multiprocessing.set_start_method("fork")
layer = torch.nn.Conv2d(3, 4, 3)
layer(torch.randn(2, 3, 8, 8)).sum().backward()
data = torch.utils.data.TensorDataset(torch.arange(4.0))
loaded = torch.utils.data.DataLoader(data, batch_size=2, num_workers=1)
print(sum(batch[0].sum().item() for batch in loaded), numpy.linalg.svd(numpy.eye(3))[1].sum())
with multiprocessing.Pool(1) as pool:
    print(pool.map(abs, [-1]))
"""


@pytest.mark.slow  # imports torch inside
def test_numerical_code_works_inside() -> None:
    done = in_sandbox([sys.executable, "-P", "-c", NUMERICAL])
    assert done.stdout.split("\n")[:2] == ["6.0 3.0", "[1]"], done.stderr


def test_a_sandbox_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "_DOORS", "splitsec.no_such_module")
    with pytest.raises(Exception, match="the sandbox of the attack did not start, or ended early"):
        list(self_test.try_doors())
