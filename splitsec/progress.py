"""The progress interface: long stages report their steps, and a command or process shows them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol, Self

_REPORT_EVERY_SECONDS = 0.5


class Stage(Protocol):
    """One running stage."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report steps that are done.

        Args:
            steps: number of steps since the last call.
            note: short text beside the bar, such as a loss.
        """


class Progress(Protocol):
    """Shows the stages of an evaluation to a person; long methods receive one.

    Examples:
        >>> from splitsec.progress import Silent
        >>> def fit(progress):
        ...     with progress.stage("training the decoder", total=3) as stage:
        ...         for loss in (0.9, 0.5, 0.4):
        ...             stage.advance(note=f"loss {loss:.1f}")
        ...     progress.message(f"the decoder's loss is {loss:.1f}")
        >>> fit(Silent())  # in a test; a command shows a bar and the sentence
    """

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """Return a context manager that shows a stage and yields its ``Stage``.

        Args:
            name: what the stage does, for example ``"training the decoder"``.
            total: number of steps.
        """

    def message(self, text: str) -> None:
        """Show one sentence."""


class _SilentStage:
    def advance(self, steps: int = 1, note: str = "") -> None:
        """Ignore the report."""


class Silent:
    """A ``Progress`` that shows nothing; the default of the Python API."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Yield a stage that is not shown."""
        yield _SilentStage()

    def begin(self, spec: Any) -> None:
        """Ignore the cell."""

    def end(self, record: Any) -> None:
        """Ignore the record."""

    def message(self, text: str) -> None:
        """Ignore the sentence."""


class Joined:
    """A ``Progress`` that shows the same stage of several calls as one.

    Args:
        progress: shows it.
        total: steps of all calls together.
    """

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._name = ""
        self._shown: Stage = _SilentStage()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def message(self, text: str) -> None:
        """Show one sentence."""
        self._progress.message(text)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Yield the joined stage if it has the name of the first one, else a stage of its own."""
        if not self._name:
            self._name = name
            self._shown = self._open.enter_context(self._progress.stage(name, self._total))
        if name == self._name:
            yield self._shown
            return
        with self._progress.stage(name, total) as own:
            yield own


class Say(Protocol):
    """Sends one report to the process that shows it."""

    def __call__(self, kind: str, *content: object) -> None:
        """Send it.

        Args:
            kind: ``message``, ``stage``, ``advance`` or ``staged``.
            content: the report's values.
        """


class Relay(Silent):
    """A ``Progress`` that another process shows.

    Args:
        say: sends a report to that process.
    """

    def __init__(self, say: Say) -> None:
        self._say = say

    def message(self, text: str) -> None:
        """Send the sentence on."""
        self._say("message", text)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Send on the reports of a stage."""
        self._say("stage", name, total)
        stage = _RelayedStage(self._say)
        yield stage
        stage.report()
        self._say("staged")


class _RelayedStage:
    """A stage that another process shows; it reports at most twice a second."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._steps = 0
        self._last = 0.0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count the steps, and send them on if the last report is half a second old."""
        self._steps += steps
        if time.monotonic() - self._last >= _REPORT_EVERY_SECONDS:
            self.report(note)

    def report(self, note: str = "") -> None:
        """Send the steps that have not been reported yet."""
        self._last = time.monotonic()
        self._say("advance", self._steps, note)
        self._steps = 0
