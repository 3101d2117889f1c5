"""What processes in the sandbox may write to, and which user they are."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from splitsec.isolation import sandbox
from support.confined import in_sandbox

pytestmark = pytest.mark.usefixtures("bubblewrap")

DEVICES = {
    f"/dev/{name}"
    for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts/ptmx")
}
OPEN_ALL = """
import os
for top in ("/proc", "/sys", "/dev", "/etc"):
    for folder, folders, files in os.walk(top):
        if folder == "/proc":
            folders[:] = [one for one in folders if not one.isdecimal()]
        for file in (os.path.join(folder, name) for name in files):
            if os.path.islink(file):
                continue
            try:
                os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
                print("open", file)
            except OSError:
                print("shut", file)
"""
"""Opens every file of the system for writing, and writes nothing."""


def opened(outer: bool) -> dict[str, bool]:
    done = in_sandbox([sys.executable, "-P", "-c", OPEN_ALL], outer=outer)
    assert done.returncode == 0, done.stderr
    lines = (line.split(" ", 1) for line in done.stdout.splitlines())
    return {file: found == "open" for found, file in lines}


@pytest.mark.parametrize("outer", [False, True], ids=["attack", "whole command"])
def test_the_kernels_settings_cannot_be_written(outer: bool) -> None:
    found = opened(outer)
    settings = [file for file in found if file.startswith("/proc/sys/")]
    assert len(settings) > 100
    assert {file for file, is_open in found.items() if is_open} <= DEVICES


@pytest.mark.skipif(os.getuid() != 0, reason="only root may write to them anywhere")
def test_without_the_sandbox_root_can_write_them() -> None:
    """Without it, the test above could not fail."""
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_an_attack_of_root_is_somebody_else_where_python_can_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("no Python that every user can read")
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(sandbox, "_pythons", set)
    monkeypatch.setattr(sandbox, "_PROBE", "import os; assert os.getuid() != 0")
    other = sandbox.unprivileged([Path("/usr/share")])
    told = in_sandbox(["/usr/bin/id", "-u"], **other)
    assert int(told.stdout) == pwd.getpwnam("nobody").pw_uid
    hidden = tmp_path / "attack.py"
    hidden.touch()
    tmp_path.chmod(0o700)
    assert not sandbox.unprivileged([hidden]), "nobody cannot read its source"


def test_the_probe_fails_where_a_source_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "attack.py").touch()
    probe = [sys.executable, "-P", "-c", sandbox._PROBE]
    subprocess.run([*probe, str(tmp_path / "attack.py")], check=True)
    probe.append(str(tmp_path))
    subprocess.run(probe, check=True)
    (tmp_path / "broken.py").symlink_to(tmp_path / "missing")
    assert subprocess.run(probe, capture_output=True, check=False).returncode != 0
