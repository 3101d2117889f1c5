"""``splitsec check --sandbox``: runs the check in a sandbox and imports the plug-in only there."""

from __future__ import annotations

import importlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from splitsec.cells.plugin_requests import parse_plugins
from splitsec.cli.check_rows import is_brief
from splitsec.cli.exit_codes import Exit
from splitsec.errors import PluginError, UsageError
from splitsec.isolation import Isolation
from splitsec.isolation.processes import (
    LOOK_EVERY_SECONDS,
    MARK_VARIABLE,
    Tree,
    excess,
    printable,
    short,
)
from splitsec.isolation.sandbox import environment, sandboxed, unprivileged
from splitsec.metrics.lpips_weights import FILE_VARIABLE, file_to_show
from splitsec.plugins.loading import existing_path
from splitsec.plugins.names import Kind, plain_name
from splitsec.plugins.source_code import read_source
from splitsec.running.contract.report import Report

LIMITS = Isolation(sandbox=True, seconds=3600)
"""Default limits of a check."""

_MOST_BYTES = 1 << 20  # of a report, and of the output beside it
_MOST_FILE_BYTES = 64 << 20
_MOST_TOLD = 600  # characters
_MOST_ROWS = 50  # of checks, more than any plug-in has


class ReportRequest(NamedTuple):
    """A request for a report on one plug-in.

    Attributes:
        spec: name, file or folder, without parameters.
        kind: kind of the plug-in, or None if only one kind matches.
        sha256: hash of its source, or None if unknown here.
        only: checks to run; all if empty.
    """

    spec: str
    kind: Kind | None
    sha256: str | None
    only: Sequence[str]

    def answered_by(self, report: Report) -> bool:
        """Return whether a report is about that plug-in and has every requested check."""
        if (report.spec, report.name) != (self.spec, plain_name(self.spec)):
            return False
        if self.kind not in (report.kind, None):
            return False
        checks = [one.check for one in report.findings]
        if report.kind is None or report.sha256 is None:
            return checks == ["loads"] and not report.ok
        known = importlib.import_module(f"splitsec.running.contract.check_{report.kind}").CHECKS
        due = ["loads", *(one.name for one in known if not self.only or one.name in self.only)]
        return checks == due and self.sha256 in (report.sha256, None)


def check_in_sandbox(
    spec: str,
    kind: Kind | None,
    only: Sequence[str] = (),
    limits: Isolation = LIMITS,
    told: Callable[[str], None] = lambda line: None,
) -> Report:
    """Run ``splitsec check`` in the sandbox, where an unread plug-in can do no harm.

    Args:
        spec: name, file or folder, with parameters.
        kind: kind of the plug-in, or None if only one kind matches.
        only: checks to run; all if empty.
        limits: limits on time, memory and processes.
        told: called with a line for each check that is done, while the others run.

    Returns:
        The report from the process in the sandbox. Code that shares a process with the checks can
        falsify their verdicts. It is about this plug-in and these checks, and has no characters
        that control a terminal.

    Raises:
        UsageError: the request is wrong, or this machine has no sandbox.
        PluginError: the process gave no report on this plug-in, or exceeded a limit.
    """
    asked = parse_plugins(spec)[0].spec
    path = existing_path("plug-in", asked)
    shown, sha256 = [], None
    if path is not None:
        source = read_source(path.path)
        shown, sha256 = source.places, source.sha256
        below = path.below(Path.cwd())
        asked, spec = below, below + spec.strip().removeprefix(asked)
    mark = secrets.token_hex()
    variables = {MARK_VARIABLE: mark}
    weights = file_to_show()
    if weights is not None:
        shown.append(weights)
        variables[FILE_VARIABLE] = str(weights)
    words = [*([kind] if kind else []), spec, *(f"--only={name}" for name in only), "--json"]
    command = [sys.executable, "-P", "-m", "splitsec", "check", *words]
    # Before bubblewrap starts, because processes that it has already started would not inherit it.
    limited = ["prlimit", f"--fsize={_MOST_FILE_BYTES}:{_MOST_FILE_BYTES}"]
    with (
        sandboxed(command, shown) as confined,
        tempfile.TemporaryFile() as reported,
        tempfile.TemporaryFile() as said,
    ):
        process = subprocess.Popen(
            [*limited, *confined.command],
            pass_fds=confined.handles,
            stdin=subprocess.DEVNULL,
            stdout=reported,
            stderr=said,
            start_new_session=True,
            env=environment("/tmp") | variables,
            **unprivileged(shown),
        )
        lines = _RowLines(said.fileno(), told)
        verdict = _wait(process, mark, limits, lines.look)
        lines.look()
        reported.seek(0)
        said.seek(0)
        answer = reported.read(_MOST_BYTES)
        heard = printable(said.read(_MOST_BYTES).decode(errors="replace")).strip()
    called = f"the check of {short(spec)}"
    if verdict is not None:
        raise PluginError(f"{called} {verdict}; it was ended")
    if process.returncode == Exit.USAGE:
        raise UsageError(short(heard.removeprefix("error: ")))
    try:
        report = Report.model_validate_json(answer)
    except ValidationError:
        raise PluginError(
            f"{called} gave no report in the sandbox, and ended with exit code "
            f"{process.returncode}: {heard[-_MOST_TOLD:]}"
        ) from None
    if not ReportRequest(asked, kind, sha256, only).answered_by(report):
        raise PluginError(f"{called} gave the report of something else in the sandbox")
    return Report.model_validate(_harmless(report.model_dump()))


def _harmless(value: Any) -> Any:
    """Return the values of a report with short, printable texts."""
    match value:
        case str():
            return short(value)
        case dict():
            return {short(name): _harmless(one) for name, one in value.items()}
        case list() | tuple():
            return [_harmless(one) for one in value]
    return value


class _RowLines:
    """Passes on the lines about checks that are done, and nothing else that a process says.

    Args:
        handle: the file that it writes to; it is read without moving its position.
        told: called with each line.
    """

    def __init__(self, handle: int, told: Callable[[str], None]) -> None:
        self._handle, self._told = handle, told
        self._read = self._passed = 0

    def look(self) -> None:
        """Pass on the lines that were written since the last look."""
        found = os.pread(self._handle, _MOST_BYTES, self._read)
        complete = found[: found.rfind(b"\n") + 1]
        self._read += len(complete) or (len(found) if len(found) == _MOST_BYTES else 0)
        for line in complete.decode(errors="replace").splitlines():
            if is_brief(line) and self._passed < _MOST_ROWS:
                self._passed += 1
                self._told(line)


def _wait(
    process: subprocess.Popen[bytes],
    mark: str,
    limits: Isolation,
    look: Callable[[], None],
) -> str | None:
    """Wait for a process to end, and look regularly; return the limit that ended it, if any."""
    tree, deadline = Tree(process.pid, mark), time.monotonic() + limits.seconds
    try:
        while process.poll() is None:
            found = excess(tree.usage(), limits)
            if found is not None:
                return found.said
            if time.monotonic() > deadline:
                return f"took longer than {limits.seconds:g} seconds"
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_EVERY_SECONDS)
            look()
        return None
    finally:
        tree.kill()
        process.kill()
        process.wait()
