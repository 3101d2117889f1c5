"""How long the program takes to say something, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from tables import report

ROUNDS = 9
COMMANDS = {
    "python alone": ["-c", "pass"],
    "splitsec --help": ["-m", "splitsec", "--help"],
    "splitsec list attacks": ["-m", "splitsec", "list", "attacks"],
    "import torch": ["-c", "import torch"],
}


@pytest.mark.parametrize("what", COMMANDS)
def test_start(what: str, benchmark: Any) -> None:
    command = [sys.executable, *COMMANDS[what]]
    benchmark.pedantic(
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL),
        rounds=ROUNDS,
        warmup_rounds=1,
    )
    report(benchmark, "start", {"what": what, "ms": 1e3 * benchmark.stats.stats.median})
