"""Progress of a grid: its stages, and the cells that begin and end."""

from __future__ import annotations

from typing import Protocol

from splitsec.progress import Progress
from splitsec.records.record import Record
from splitsec.records.spec import CellSpec


class CellProgress(Progress, Protocol):
    """Receives the cells of a grid beside the stages of each."""

    def begin(self, spec: CellSpec) -> None:
        """Announce a cell that begins."""

    def end(self, record: Record) -> None:
        """Count a cell that has its record, even one from an earlier run."""
