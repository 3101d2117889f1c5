"""Runs a command in the sandbox."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from splitsec.isolation.sandbox import environment, sandboxed


def in_sandbox(
    command: Sequence[str], shown: Sequence[Path] = (), *, outer: bool = False, **user: Any
) -> subprocess.CompletedProcess[str]:
    """Return what a command said in the sandbox, and how it ended."""
    with sandboxed(command, shown, outer=outer) as (words, handles):
        return subprocess.run(
            words,
            env=environment("/tmp"),
            capture_output=True,
            text=True,
            check=False,
            pass_fds=handles,
            **user,
        )
