"""Starts a guest's process, calls it, and checks every answer."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from splitsec import errors
from splitsec.devices import CPU, Device
from splitsec.errors import PluginError, SplitsecError, TimeLimitError, UsageError
from splitsec.isolation import Isolation
from splitsec.isolation.processes import MARK_VARIABLE, ProcessWatch, Usage, excess, short
from splitsec.isolation.protocol import (
    Channel,
    ClosedError,
    Frame,
    MalformedError,
    TimeUpError,
)
from splitsec.isolation.sandbox import User, environment, sandboxed, unprivileged
from splitsec.plugins.loading import Plugin, is_builtin
from splitsec.progress import Progress, Silent, Stage

MODULE = "splitsec.isolation.guest"

_DYING_SECONDS = 5.0
_MOST_MESSAGES = 100
_MOST_STEPS = 1 << 40
_ERRORS = {
    kind.__name__: kind
    for kind in (
        errors.DivergedError,
        errors.MemoryExhaustedError,
        errors.NotApplicable,
        errors.PluginError,
        errors.SessionEnded,
        errors.ThreatModelViolation,
        errors.UsageError,
    )
}


class Answer(NamedTuple):
    """Arguments or results of a call: JSON values, and tensors by name."""

    content: Any = None
    tensors: Mapping[str, Tensor] = {}


GrantHandler = Callable[[str, Frame], Answer]
"""Answers a guest's request for a grant, from the grant's name and the frame."""


class Guest:
    """A process that runs an attack, or the clients' side.

    Args:
        label: names what runs there in errors.
        isolation: how it is isolated, and its limits.
        sources: files and folders of its source.
        device: where received tensors are put, on both sides.
        module: what the process runs; an attack by default.
        charged: whether the time of answers to its requests counts as its own.

    Attributes:
        failure: why it failed, or None; every later call raises it.

    Raises:
        UsageError: this machine does not support that isolation.
    """

    def __init__(
        self,
        label: str,
        isolation: Isolation,
        sources: Sequence[Path],
        device: Device = CPU,
        *,
        module: str | None = None,
        charged: bool = True,
    ) -> None:
        if sys.platform == "win32":
            raise UsageError(
                "plug-ins cannot be isolated on Windows; use --no-isolate for code that you trust"
            )
        self._label = label
        self._limits = isolation
        self._said = 0
        self._charged = charged
        self.failure: SplitsecError | None = None
        self._folder = tempfile.TemporaryDirectory(
            prefix="splitsec-guest-", ignore_cleanup_errors=True
        )
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", module or MODULE, str(theirs.fileno()), device.name]
        home, user, handles = self._folder.name, User(), [theirs.fileno()]
        mark = secrets.token_hex()
        with ExitStack() as started:
            started.enter_context(theirs)
            if isolation.sandbox:
                confined = started.enter_context(sandboxed(command, sources, isolation.hidden))
                command, home = confined.command, "/tmp"
                user, handles = unprivileged(sources), [*handles, *confined.handles]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=handles,
                start_new_session=True,
                cwd=self._folder.name,
                env={**environment(home), MARK_VARIABLE: mark},
                **user,
            )
        self._watch = ProcessWatch(self._process, mark, self._judge)
        self._watch.start()
        self._channel = Channel(ours, isolation.seconds, device)

    def prepare(self, plugins: Iterable[Plugin]) -> None:
        """Let it import those plug-ins that are built in while something else goes on here.

        It gives no answer: one that cannot be imported fails when it is used.
        """
        known = [[one.kind, one.spec] for one in plugins if is_builtin(one.kind, one.spec)]
        with suppress(ClosedError):  # the next call says why
            self._channel.send("prepare", known)

    def close(self) -> None:
        """End the process and all that it started."""
        self._channel.close()
        self._watch.stop()
        with suppress(RecursionError):  # deeply nested folders stay
            self._folder.cleanup()

    @property
    def used(self) -> float:
        """Seconds that the attack took, including the private side's work for it."""
        return self._channel.used

    def charge(self, used: float) -> None:
        """Raise the attack's used time to a total of seconds, if it is lower."""
        self._channel.used = max(self._channel.used, used)

    def call(
        self,
        method: str,
        given: Answer = Answer(),  # noqa: B008 - it is frozen
        *,
        most_bytes: int = 0,
        asked: GrantHandler | None = None,
        asks_bytes: int = 0,
        progress: Progress | None = None,
        seed: int | None = None,
    ) -> Answer:
        """Call a method of the guest.

        Args:
            method: name of the method.
            given: arguments.
            most_bytes: limit on the tensors of the answer.
            asked: answers the guest's requests during the call.
            asks_bytes: limit on the tensors of those requests.
            progress: receives progress reports.
            seed: of torch's global generator there; by default the one that it has here.

        Raises:
            SplitsecError: the attack raised it, or a ``PluginError`` because its process broke
                the rules or ended; every later call raises that again.
            TimeLimitError: the attack exceeded its time limit.
        """
        if self.failure is not None:
            raise self.failure
        where = "__init__()" if method == "open" else f"{method}()"
        try:
            seed = torch.initial_seed() if seed is None else seed
            content = {"method": method, "seed": seed, "given": given.content}
            self._channel.send("call", content, given.tensors)
            with ExitStack() as stages:
                shown = _StageDisplay(progress or Silent(), stages, self._say)
                while True:
                    with self._channel.charging() if self._charged else nullcontext():
                        frame = self._channel.receive({"return": most_bytes, "ask": asks_bytes})
                        if frame.kind == "ask" and asked is not None:
                            self._answer(frame, asked)
                        elif frame.kind == "progress":
                            shown.tell(frame.content)
                        elif frame.kind in ("return", "raise"):
                            break
                        else:
                            raise MalformedError(f"it sent {short(frame.kind)!r} out of turn")
            if frame.kind == "raise":
                _raise(frame.content)
            return Answer(frame.content, frame.tensors)
        except MalformedError as error:
            self._fail(f"{self._label} broke the rules of its isolation in {where}: {error}")
        except ClosedError:
            self._fail(f"{self._label} is gone in {where}: {self._end()}")
        except TimeUpError:
            self._fail(
                f"{self._label} is out of time in {where}: of a cell it may take "
                f"{self._limits.seconds:g} seconds (--attack-seconds)",
                TimeLimitError,
            )

    def _fail(self, said: str, kind: type[PluginError] = PluginError) -> NoReturn:
        """End the process and raise the error; every later call raises it again."""
        self.failure = kind(self._watch.verdict or said)
        self._watch.stop()
        raise self.failure from None

    def _answer(self, frame: Frame, asked: GrantHandler) -> None:
        if not isinstance(frame.content, str):
            raise MalformedError("it asked for something without a name")
        try:
            answer = asked(frame.content, frame)
        except SplitsecError as error:
            self._channel.send("raise", [type(error).__name__, str(error)])
        else:
            self._channel.send("return", answer.content, answer.tensors)

    def _judge(self, usage: Usage) -> str | None:
        found = excess(usage, self._limits)
        if found is None:
            return None
        return f"{self._label} {found.said} ({found.option}); its processes were ended"

    def _end(self) -> str:
        """Return in words how the process ended, after its channel closed."""
        try:
            code = self._process.wait(_DYING_SECONDS)
        except subprocess.TimeoutExpired:
            return "it closed its channel"
        if code >= 0:
            return f"its process ended with exit code {code}"
        return f"its process was ended by signal {-code}"

    def _say(self, text: str, progress: Progress) -> None:
        self._said += 1
        if self._said <= _MOST_MESSAGES:
            progress.message(text)


class _StageDisplay:
    """Shows the stages of a guest, one at a time."""

    def __init__(
        self, progress: Progress, stages: ExitStack, say: Callable[[str, Progress], None]
    ) -> None:
        self._progress = progress
        self._stages = stages
        self._say = say
        self._stage: Stage | None = None
        self._opened = 0

    def tell(self, content: Any) -> None:
        """Show a progress report of a guest."""
        match content:
            case ["stage", str(name), int(total)] if 0 <= total < _MOST_STEPS:
                self._stages.close()
                self._opened += 1
                if self._opened <= _MOST_MESSAGES:
                    stage = self._progress.stage(short(name), total)
                    self._stage = self._stages.enter_context(stage)
            case ["advance", int(steps), str(note)] if 0 <= steps < _MOST_STEPS:
                if self._stage is not None:
                    self._stage.advance(steps, short(note))
            case ["staged"]:
                self._stages.close()
                self._stage = None
            case ["message", str(text)]:
                self._say(short(text), self._progress)
            case _:
                raise MalformedError("it sent progress that is none")


def _raise(content: Any) -> NoReturn:
    """Raise the attack's error, if attacks may raise errors of its class."""
    match content:
        case [str(kind), str(text)]:
            raise _ERRORS.get(kind, PluginError)(short(text))
    raise MalformedError("it raised nothing that has a name")
