"""A guest's processes: what they use, their end, and what they print."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from splitsec.isolation import GIB, Isolation
from splitsec.isolation.sandbox import EXTRA_PROCESSES

LOOK_EVERY_SECONDS = 0.2
MARK_VARIABLE = "SPLITSEC_GUEST"
"""In the environment of a guest's processes: by its value :class:`Tree` knows them."""

_LOOK_SHARE = 0.05  # of one core at most, where there are very many processes
_PASSED_ON_BYTES = 64 << 10
_MOST_TEXT = 600  # characters
_ROUNDS = 100  # of ending processes that may start others meanwhile


class Usage(NamedTuple):
    """What a guest's processes use together."""

    processes: int
    memory_bytes: int


class Excess(NamedTuple):
    """What processes use too much of: in words, and the option that allows more."""

    said: str
    option: str


def excess(usage: Usage, allowed: Isolation) -> Excess | None:
    """Return what processes use too much of, or None.

    Args:
        usage: what they use.
        allowed: what they may; in the sandbox, bubblewrap's own processes do not count.
    """
    processes = usage.processes - (EXTRA_PROCESSES if allowed.sandbox else 0)
    if processes > allowed.processes:
        said = f"had {processes} processes, and {allowed.processes} are allowed"
        return Excess(said, "--attack-processes")
    if usage.memory_bytes > allowed.memory_gib * GIB:
        used = f"{usage.memory_bytes / GIB:.1f} GiB"
        return Excess(
            f"used {used} of memory, and {allowed.memory_gib:g} are allowed", "--attack-memory"
        )
    return None


class Tree:
    """A process, all that it started, and what these started.

    Read from Linux's ``/proc``; elsewhere it is the process's group. A process counts by its
    parent, by its session, because it counted before, or by a mark in the environment that it was
    started with. One that gets rid of all of these is lost; in the sandbox there is no way out.

    Args:
        root: id of the process, which leads a session of its own.
        mark: is in its environment, and in nobody else's.
    """

    def __init__(self, root: int, mark: str) -> None:
        self._root = root
        self._mark = mark.encode()
        self._known: dict[int, int] = {}  # id to starting time
        self._begun = 0  # when the first one started

    def usage(self) -> Usage:
        """Look how many processes there are, and how much memory is theirs.

        If memory runs out, they are what the system ends, whatever they said of themselves.
        """
        found = self._look()
        for one in found:
            with suppress(OSError):
                Path(f"/proc/{one.pid}/oom_score_adj").write_text("1000")
        return Usage(len(found), sum(one.memory_bytes for one in found))

    def kill(self) -> None:
        """End them all, and whatever they start meanwhile."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._root, signal.SIGKILL)
        for _ in range(_ROUNDS):
            found = self._look()
            if not found:
                return
            for how in (signal.SIGSTOP, signal.SIGKILL):  # what is stopped starts no other
                for one in found:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(one.pid, how)
            time.sleep(0.01)

    def _look(self) -> list[_Process]:
        running = _running()
        if self._root in running:
            self._begun = running[self._root].started
        children: dict[int, list[_Process]] = {}
        for one in running.values():
            children.setdefault(one.parent, []).append(one)
        roots = [
            one
            for one in running.values()
            if one.session == self._root
            or self._known.get(one.pid) == one.started
            or (one.started >= self._begun and self._mark in _environment(one.pid))
        ]
        found: dict[int, _Process] = {}
        while roots:
            one = roots.pop()
            if one.pid not in found:
                found[one.pid] = one
                roots += children.get(one.pid, [])
        self._known = {one.pid: one.started for one in found.values()}
        return list(found.values())


class _Process(NamedTuple):
    pid: int
    parent: int
    session: int
    started: int
    memory_bytes: int


def _running() -> dict[int, _Process]:
    """Return the processes that run on this machine and have not ended."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            pid, text = int(folder.name), (folder / "stat").read_bytes()
            fields = text.rpartition(b")")[2].decode().split()  # a name may be any bytes
            if fields[0] not in "ZX":
                memory = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
                found[pid] = _Process(pid, int(fields[1]), int(fields[3]), int(fields[19]), memory)
    return found


def _environment(pid: int) -> bytes:
    """Return what a process was started with, as far as it may be read."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


class ProcessWatch(threading.Thread):
    """Ends a guest that uses too much, and passes on the beginning of what it prints.

    Args:
        process: the guest's, with its output in ``stdout``.
        mark: is in its environment, and in nobody else's.
        judge: says what is wrong with what it uses, or None.

    Attributes:
        verdict: why it was ended, or None.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], mark: str, judge: Callable[[Usage], str | None]
    ) -> None:
        super().__init__(daemon=True)
        self.verdict: str | None = None
        self._process = process
        self._tree = Tree(process.pid, mark)
        self._judge = judge
        self._over = threading.Event()
        self._stopped = False
        self._left = _PASSED_ON_BYTES
        assert process.stdout is not None, "it is a pipe"
        self._output: IO[bytes] | None = process.stdout

    def run(self) -> None:
        """Watch until it is stopped."""
        pause, due = LOOK_EVERY_SECONDS, time.monotonic()
        while not self._over.is_set():
            self._listen(max(0.0, due - time.monotonic()))
            if time.monotonic() < due:
                continue
            start = time.monotonic()
            usage = self._tree.usage()
            if self.verdict is None:
                self.verdict = self._judge(usage)
            if self.verdict is not None:
                self._tree.kill()
            pause = max(LOOK_EVERY_SECONDS, (time.monotonic() - start) / _LOOK_SHARE)
            due = time.monotonic() + pause

    def stop(self) -> None:
        """End the guest with all that it started, and the watch; once it is, do nothing."""
        if self._stopped:  # its number may be another process's by now
            return
        self._stopped = True
        self._over.set()
        self.join()
        self._tree.kill()
        self._process.kill()
        self._process.wait()
        for _ in range(_ROUNDS):  # what it said last
            if self._output is not None:
                self._listen(0)
        if self._output is not None:
            self._output.close()
            self._output = None

    def _listen(self, seconds: float) -> None:
        """Pass on what is printed, for so long; past the limit it is read, and dropped."""
        if self._output is None:
            self._over.wait(seconds)
            return
        if not select.select([self._output], [], [], seconds)[0]:
            return
        read = os.read(self._output.fileno(), 1 << 16)
        if not read:
            self._output.close()
            self._output = None
            return
        if self._left > 0:
            sys.stderr.write(printable(read[: self._left].decode(errors="replace"), keep="\n\t"))
            self._left -= len(read)
            if self._left <= 0:
                sys.stderr.write("\n(what the attack prints from here on is not shown)\n")


def printable(text: str, keep: str = "") -> str:
    """Return a text of another's making without characters that steer a terminal."""
    return "".join(one if one.isprintable() or one in keep else " " for one in text)


def short(text: str) -> str:
    """Return a line of another's making, harmless and not too long."""
    text = printable(text[: 2 * _MOST_TEXT])
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."
