"""Collects a run's packages, commit, machine and command line for the record."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from splitsec.cells.cell import Cell
from splitsec.plugins.source_code import source_sha256
from splitsec.records.record import Provenance

_SPLITSEC = Path(__file__).resolve().parents[1]

_PACKAGES = (
    "splitsec",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "lpips",
    "pydantic",
    "pillow",
    "pandas",
    "safetensors",
)


def collect(cell: Cell) -> Provenance:
    """Describe this run of a cell."""
    commit, dirty = _checkout()
    return Provenance(
        plugins={
            one.plugin.kind: {
                "spec": one.plugin.spec,
                "source": _portable(one.plugin.source),
                "sha256": one.plugin.sha256,
                "code": one.plugin.code,
            }
            for one in cell.plugins
        },
        packages={name: metadata.version(name) for name in _PACKAGES},
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        core=core_sha256(),
        device=cell.device.description,
        threads=torch.get_num_threads(),
        commit=commit,
        dirty=dirty,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=[_program(), *sys.argv[1:]],
        isolation="none" if cell.isolation is None else cell.isolation.kind,
    )


@cache
def core_sha256() -> str:
    """Return the SHA-256 of the core's source, wherever the built-in plug-ins are installed.

    The first call in a process decides the value; later changes of the source do not.
    """
    beside = {"attacks", "defenses", "targets", "leaderboard"}
    files = sorted(file.relative_to(_SPLITSEC) for file in _SPLITSEC.rglob("*.py"))
    hashes = {
        file.as_posix(): source_sha256(_SPLITSEC / file)
        for file in files
        if file.parts[0] not in beside
    }
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


@cache
def _processor() -> str:
    """Return the processor's model and the instruction set that torch uses.

    Both affect the last bits of a sum, and a long training amplifies them.
    """
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next(
            (line.partition(":")[2].strip() for line in lines if "model name" in line), model
        )
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"


def _program() -> str:
    name = Path(sys.argv[0]).name
    return "splitsec" if name == "__main__.py" else name


def _portable(source: str) -> str:
    """Return a path relative to the package or the working folder if it is inside one."""
    path = Path(source).resolve()
    for root in (_SPLITSEC.parent, Path.cwd()):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name


def _checkout() -> tuple[str | None, bool | None]:
    """Return the commit of the checkout that this code runs from, and whether it has changes."""
    root = _SPLITSEC.parent
    if not (root / ".git").exists():
        return None, None

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None
