"""Progress on the terminal: a bar with time left for each stage, or plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from splitsec.progress import Stage


class _Bar:
    def __init__(self, bars: Progress, name: str, total: int) -> None:
        self._bars = bars
        self._task = bars.add_task(name, total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._bars.update(self._task, advance=steps, note=note)


class _Count:
    def __init__(self) -> None:
        self.note = ""

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.note = note


class Bars:
    """A ``splitsec.progress.Progress`` on stderr.

    Args:
        console: where to draw.
        cells: cells of the grid.
    """

    def __init__(self, console: Console, cells: int) -> None:
        self._console = console
        self._cells = cells
        self._begun = 0

    def cell(self, title: str) -> None:
        """Announce the next cell."""
        self._begun += 1
        self._console.print(f"cell {self._begun} of {self._cells}: {title}", highlight=False)

    def message(self, text: str) -> None:
        """Tell the person one sentence."""
        self._console.print(f"note: {text}", highlight=False)

    def pause(self) -> None:
        """Separate what follows on stdout from the progress above."""
        self._console.print()

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Show one stage: a live bar on a terminal, one line at its end elsewhere."""
        if not self._console.is_terminal:
            start, count = time.monotonic(), _Count()
            yield count
            note = f", {count.note}" if count.note else ""
            seconds = time.monotonic() - start
            self._console.print(f"{name}: done in {seconds:.0f} s{note}", highlight=False)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<28}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console) as bars:
            yield _Bar(bars, name, total)


@contextmanager
def shown(cells: int) -> Iterator[Bars]:
    """Show the progress of a grid on stderr."""
    yield Bars(Console(stderr=True), cells)
