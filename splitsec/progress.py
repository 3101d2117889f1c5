"""How long stages report their progress, without knowing who is watching."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from splitsec.record import Record
    from splitsec.spec import CellSpec


class Stage(Protocol):
    """One running stage."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report ``steps`` more steps done; ``note`` is a short text such as a loss."""


class Progress(Protocol):
    """Receives the stages of an evaluation."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """Open a stage of ``total`` steps as a context manager that yields a ``Stage``."""

    def begin(self, spec: CellSpec) -> None:
        """Announce a cell that begins."""

    def end(self, record: Record) -> None:
        """Count a cell that has its record, be it from an earlier run."""

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

    def begin(self, spec: CellSpec) -> None:
        """Ignore the cell."""

    def end(self, record: Record) -> None:
        """Ignore the record."""

    def message(self, text: str) -> None:
        """Ignore the sentence."""
