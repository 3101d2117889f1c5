"""How long stages report their progress, without knowing who is watching."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

_REPORT_EVERY_SECONDS = 0.5


class Stage(Protocol):
    """One running stage."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report ``steps`` more steps done; ``note`` is a short text such as a loss."""


class Progress(Protocol):
    """Receives the stages of an evaluation."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """Open a stage of ``total`` steps as a context manager that yields a ``Stage``."""

    def message(self, text: str) -> None:
        """Tell the person one sentence."""


class _SilentStage:
    def advance(self, steps: int = 1, note: str = "") -> None:
        """Ignore the report."""


class Silent:
    """A ``Progress`` that shows nothing; the default of the Python API."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Open a stage that nobody watches."""
        yield _SilentStage()

    def begin(self, spec: Any) -> None:
        """Ignore the cell."""

    def end(self, record: Any) -> None:
        """Ignore the record."""

    def message(self, text: str) -> None:
        """Ignore the sentence."""


class Say(Protocol):
    """Sends one report to where it is shown."""

    def __call__(self, kind: str, *content: object) -> None:
        """Send it.

        Args:
            kind: ``message``, ``stage``, ``advance`` or ``staged``.
            content: the values that such a report has.
        """


class Relay(Silent):
    """Progress that is shown by another process.

    Args:
        say: sends a report there.
    """

    def __init__(self, say: Say) -> None:
        self._say = say

    def message(self, text: str) -> None:
        """Pass it on."""
        self._say("message", text)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Pass on a stage."""
        self._say("stage", name, total)
        stage = _RelayedStage(self._say)
        yield stage
        stage.report()
        self._say("staged")


class _RelayedStage:
    """A stage that is shown elsewhere; it reports often enough to look alive."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._steps = 0
        self._last = 0.0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report some steps, and those not yet reported."""
        self._steps += steps
        if time.monotonic() - self._last >= _REPORT_EVERY_SECONDS:
            self.report(note)

    def report(self, note: str = "") -> None:
        """Report the steps that were not yet reported."""
        self._last = time.monotonic()
        self._say("advance", self._steps, note)
        self._steps = 0
