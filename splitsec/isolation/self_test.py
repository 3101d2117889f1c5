"""Starts sandboxes and tells which doors are open inside: ``splitsec doctor --sandbox``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from splitsec.errors import PluginError
from splitsec.folders import cache_folder, data_folder, medmnist_folder
from splitsec.isolation.processes import short
from splitsec.isolation.sandbox import (
    CONFINED_VARIABLE,
    Confined,
    User,
    environment,
    sandboxed,
    unprivileged,
)

_DOORS = "splitsec.isolation.doors"
_SELF = "splitsec.isolation.self_test"  # by name: this file may be run as __main__
_SECONDS = 120


class DoorFinding(NamedTuple):
    """What was found at one door.

    Attributes:
        sandbox: which sandbox it is a door of.
        door: what is behind it.
        opened: what could be opened, or None if the door is shut.
    """

    sandbox: str
    door: str
    opened: str | None


def try_doors() -> Iterator[DoorFinding]:
    """Try all doors of an attack's sandbox, of a whole command's, and of an attack's inside that.

    Raises:
        UsageError: this machine has no sandbox.
        PluginError: a sandbox does not start, or its process ends early.
    """
    folders = (data_folder(), cache_folder(), medmnist_folder())
    hidden = [str(folder.absolute()) for folder in folders if folder.is_dir()]
    inner = [_DOORS, "inner", *hidden]
    yield from _tried("attack", inner, user=unprivileged([]))
    yield from _tried("whole command", [_DOORS, "outer"], outer=True)
    nested = [_SELF, *inner]
    yield from _tried("attack in a command", nested, map(Path, hidden), outer=True)


def _tried(
    name: str,
    words: Sequence[str],
    shown: Iterable[Path] = (),
    *,
    outer: bool = False,
    user: User | None = None,
) -> Iterator[DoorFinding]:
    variables = environment("/tmp") | ({CONFINED_VARIABLE: "1"} if outer else {})
    with _started(words, shown, outer=outer) as (command, handles):
        done = subprocess.run(
            command,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            pass_fds=handles,
            **(user or {}),
        )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = short(done.stderr.strip() or f"exit code {done.returncode}")
        raise PluginError(f"the sandbox of the {name} did not start, or ended early: {said}")
    for line in lines:
        yield DoorFinding(name, *json.loads(line))


def _started(
    words: Sequence[str], shown: Iterable[Path] = (), *, outer: bool = False
) -> AbstractContextManager[Confined]:
    return sandboxed([sys.executable, "-P", "-m", *words], shown, outer=outer)


def main() -> None:
    """Start an attack's sandbox inside a whole command's; arguments: what runs in it."""
    with _started(sys.argv[1:]) as (command, handles):
        done = subprocess.run(command, env=environment("/tmp"), check=False, pass_fds=handles)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
