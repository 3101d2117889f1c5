"""Runs a whole command in a sandbox, for untrusted defenses and targets, which see the data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from splitsec.data.secret import SECRET_FILE_VARIABLE, SECRET_VARIABLE
from splitsec.folders import cache_folder, data_folder, medmnist_folder
from splitsec.isolation.sandbox import CONFINED_VARIABLE, environment, sandboxed
from splitsec.metrics.lpips_weights import FILE_VARIABLE, file_to_show

_HOME = "/tmp"
_CACHE = f"{_HOME}/cache"
_PASSED_ON = ("TERM", "COLUMNS", "NO_COLOR", "FORCE_COLOR", SECRET_VARIABLE)


def run_confined(arguments: Sequence[str], shown: Iterable[Path], writable: Iterable[Path]) -> int:
    """Run splitsec in the sandbox, and return its exit code.

    It has no network, home or other processes. It sees the data, Python, splitsec, the downloads in
    this machine's cache, and the places in ``shown``. Its own cache is temporary.

    Args:
        arguments: arguments of the command line.
        shown: files and folders that it may read.
        writable: folders that it may write to; they are created.

    Raises:
        UsageError: bubblewrap is not installed.
        OSError: a folder cannot be made.
    """
    writable = list(writable)
    for folder in writable:
        folder.mkdir(parents=True, exist_ok=True)
    shown, variables = [*shown], {CONFINED_VARIABLE: "1", "SPLITSEC_CACHE": _CACHE}
    fetched = {f"{_CACHE}/data": cache_folder() / "data", f"{_HOME}/.medmnist": medmnist_folder()}
    elsewhere = {inside: folder for inside, folder in fetched.items() if folder.is_dir()}
    secret = os.environ.get(SECRET_FILE_VARIABLE)
    places = {
        "SPLITSEC_DATA": data_folder(),
        FILE_VARIABLE: file_to_show(),
        SECRET_FILE_VARIABLE: Path(secret) if secret else None,
    }
    for name, place in places.items():
        if place is not None and place.exists():
            shown.append(place)
            variables[name] = str(place.absolute())
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / ".git").exists():  # records have the commit
        shown.append(checkout)
    variables |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    command = [sys.executable, "-P", "-m", "splitsec", *arguments]
    sandbox = sandboxed(command, shown, outer=True, writable=writable, elsewhere=elsewhere)
    with sandbox as (command, handles):
        variables = environment(_HOME) | variables
        return subprocess.run(command, env=variables, check=False, pass_fds=handles).returncode
