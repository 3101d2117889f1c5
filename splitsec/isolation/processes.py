"""Watches a guest's processes: limits their use, ends them, and passes on their output."""

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
"""Environment variable of a guest's processes; :class:`Tree` recognises them by its value."""

_LOOK_SHARE = 0.05  # of one core at most, if there are very many processes
_PASSED_ON_BYTES = 64 << 10
_MOST_TEXT = 600  # characters
_ROUNDS = 100  # of ending processes, which may start others in the meantime


class Usage(NamedTuple):
    """Number and memory of a guest's processes together."""

    processes: int
    memory_bytes: int


class Excess(NamedTuple):
    """A limit that processes exceed: a sentence, and the option that raises it."""

    said: str
    option: str


def excess(usage: Usage, allowed: Isolation) -> Excess | None:
    """Return the limit that processes exceed, or None.

    Args:
        usage: what they use.
        allowed: their limits; in the sandbox, bubblewrap's own processes do not count.
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
    """A process and all its descendants.

    Linux's ``/proc`` gives them; on other systems the process's group does. A process belongs to
    the tree by its parent, by its session, because it belonged before, or by a mark in its initial
    environment. One that loses all of these escapes; in the sandbox none can.

    Args:
        root: id of the process, which leads a session of its own.
        mark: value in the environment of its processes and no others.
    """

    def __init__(self, root: int, mark: str) -> None:
        self._root = root
        self._mark = mark.encode()
        self._known: dict[int, int] = {}  # id to starting time
        self._begun = 0  # when the first one started

    def usage(self) -> Usage:
        """Return the number of processes and their memory.

        It also makes the system end them first if memory runs out, whatever they set themselves.
        """
        found = self._look()
        for one in found:
            with suppress(OSError):
                Path(f"/proc/{one.pid}/oom_score_adj").write_text("1000")
        return Usage(len(found), sum(one.memory_bytes for one in found))

    def kill(self) -> None:
        """End all processes, including those that they start in the meantime."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._root, signal.SIGKILL)
        for _ in range(_ROUNDS):
            found = self._look()
            if not found:
                return
            for how in (signal.SIGSTOP, signal.SIGKILL):  # a stopped process starts no others
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
    """Return a process's initial environment, or nothing if it is not readable."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


class ProcessWatch(threading.Thread):
    """Ends a guest that exceeds its limits, and passes on the beginning of its output.

    Args:
        process: the guest's process, with its output in ``stdout``.
        mark: value in the environment of its processes and no others.
        judge: returns a sentence if the usage is too high, else None.

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
        """Watch until :meth:`stop` is called."""
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
        """End the guest, all that it started, and the watch; a second call does nothing."""
        if self._stopped:  # its id may belong to another process by now
            return
        self._stopped = True
        self._over.set()
        self.join()
        self._tree.kill()
        self._process.kill()
        self._process.wait()
        for _ in range(_ROUNDS):  # its last output
            if self._output is not None:
                self._listen(0)
        if self._output is not None:
            self._output.close()
            self._output = None

    def _listen(self, seconds: float) -> None:
        """Pass on output for some seconds; output beyond the limit is read and dropped."""
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
    """Return an untrusted text without characters that control a terminal."""
    return "".join(one if one.isprintable() or one in keep else " " for one in text)


def short(text: str) -> str:
    """Return an untrusted text as one printable line of limited length."""
    text = printable(text[: 2 * _MOST_TEXT])
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."
