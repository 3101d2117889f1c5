"""Runs a whole command in a sandbox, for untrusted defenses and targets, which see the data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from splitsec.data.secret import SECRET_FILE_VARIABLE, SECRET_VARIABLE
from splitsec.errors import PluginError
from splitsec.folders import cache_folder, data_folder, medmnist_folder
from splitsec.isolation.sandbox import CONFINED_VARIABLE, environment, sandboxed
from splitsec.metrics.lpips_weights import FILE_VARIABLE, file_to_show

_HOME = "/tmp"
_MOST_PRINTED = 64 << 20
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
    with _confined(arguments, shown, writable) as (command, variables, handles):
        return subprocess.run(command, env=variables, check=False, pass_fds=handles).returncode


def heard_from_confined(
    arguments: Sequence[str], shown: Iterable[Path], writable: Iterable[Path]
) -> list[dict[str, Any]]:
    """Run splitsec as :func:`run_confined` does, and return the JSON objects that it printed.

    Strangers' code may have printed some of them, so they are to be checked like any other input.

    Raises:
        PluginError: it printed more than this command reads.
    """
    with (
        _confined(arguments, shown, writable) as (command, variables, handles),
        subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, pass_fds=handles
        ) as running,
    ):
        assert running.stdout is not None, "it is a pipe"
        printed = running.stdout.read(_MOST_PRINTED + 1)
        if len(printed) > _MOST_PRINTED:
            running.kill()
            raise PluginError(f"what runs in the sandbox printed over {_MOST_PRINTED:,} bytes")
    heard = []
    for line in printed.splitlines():
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            if isinstance(found, dict):
                heard.append(found)
    return heard


@contextmanager
def _confined(
    arguments: Sequence[str], shown: Iterable[Path], writable: Iterable[Path]
) -> Iterator[tuple[Sequence[str], dict[str, str], Sequence[int]]]:
    """Yield the command that runs splitsec in the sandbox, its environment, and its handles."""
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
    with sandbox as (confined, handles):
        yield confined, environment(_HOME) | variables, handles
