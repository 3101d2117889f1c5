"""Shows progress: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column

from splitsec.cli.consoles import note_console
from splitsec.escaping import one_line
from splitsec.progress import Stage
from splitsec.records.record import Record
from splitsec.records.spec import CellSpec

_REPORT_EVERY_SECONDS = 60.0
_ROOMY = 100  # characters in a line from which bars are longer and notes appear
_BAR, _ROOMY_BAR, _NOTE = 10, 20, 18  # characters


def duration(seconds: float) -> str:
    """Return a duration as a person would say it: ``8 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def seconds_left(elapsed: float, done: float, total: float) -> float | None:
    """Return the seconds left at the average speed so far, or None if unknown."""
    return max(0.0, elapsed * (total - done) / done) if elapsed and done else None


class Tally:
    """Counts the running, finished and failed cells of a grid.

    Args:
        cells: number of cells of the grid.
        clock: returns the time in seconds.

    Attributes:
        done: number of cells that have a record.
    """

    def __init__(self, cells: int, clock: Callable[[], float]) -> None:
        self.done = 0
        self._cells = cells
        self._clock = clock
        self._began: float | None = None
        self._running: set[str] = set()
        self._ran = 0
        self._ends: Counter[str] = Counter()

    def begin(self, spec: CellSpec) -> None:
        """Count a cell that begins; one that begins again because its node died counts once."""
        self._running.add(spec.model_dump_json())
        if self._began is None:
            self._began = self._clock()

    def end(self, record: Record) -> None:
        """Count a cell that has its record."""
        self.done += 1
        key = record.spec.model_dump_json()
        self._ran += key in self._running
        self._running.discard(key)
        status = record.status
        self._ends[status if status in ("ok", "skipped") else "failed"] += 1

    def seconds_left(self) -> float | None:
        """Return the seconds left for the grid, or None if unknown.

        The speed is that of the cells that ran; cells with an existing record took no time.
        """
        if self._began is None:
            return None
        to_run = self._cells - self.done + self._ran
        return seconds_left(self._clock() - self._began, self._ran, to_run)

    def words(self) -> str:
        """Return in words how many cells run, and how the others ended."""
        counts = {"running": len(self._running), "ok": 0, "failed": 0, "skipped": 0} | self._ends
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


class _ShownStage:
    """A stage: a bar on a terminal, or a line per minute elsewhere."""

    def __init__(self, bars: Progress, name: str, total: int) -> None:
        self.task = bars.add_task(one_line(name), total=total, note="", left="")
        self.note = ""
        self._bars = bars
        self._name = name
        self._total = total
        self._done = 0
        self._start = self._reported = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.note = one_line(note) or self.note
        self._done += steps
        now = time.monotonic()
        left = _words_left(seconds_left(now - self._start, self._done, self._total))
        self._bars.update(self.task, completed=self._done, note=self.note, left=left)
        if self._bars.live.is_started or self._done >= self._total:
            return
        if now - self._reported >= _REPORT_EVERY_SECONDS:
            self._reported = now
            text = f"{self._name}: {self._done} of {self._total}"
            _say(self._bars.console, ", ".join(filter(None, [text, left])))


def _words_left(seconds: float | None) -> str:
    return f"{duration(seconds)} left" if seconds else ""


def _say(console: Console, text: str) -> None:
    console.print(one_line(text), highlight=False, soft_wrap=True)


class Bars:
    """A ``splitsec.progress.Progress`` on stderr.

    Args:
        console: the console to draw on.
        cells: number of cells of the grid.
    """

    def __init__(self, console: Console, cells: int) -> None:
        self._console = console
        self._cells = cells
        self._tally = Tally(cells, time.monotonic)
        roomy = console.width >= _ROOMY
        # The name gets the remaining width, and a second line if it needs one: nothing is cut.
        name = Column(ratio=1, overflow="fold")
        note = Column(max_width=_NOTE, no_wrap=True, overflow="ellipsis")
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(_ROOMY_BAR if roomy else _BAR),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", style="cyan"),
            *(
                [TextColumn("{task.fields[note]}", markup=False, table_column=note)]
                if roomy
                else []
            ),
            console=console,
            expand=True,
            transient=True,
            refresh_per_second=4,
            # Results on stdout are not ours to redraw.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._overall = (
            self._bars.add_task("grid", total=cells, note="", left="") if cells > 1 else None
        )

    def start(self) -> None:
        """Begin to draw, on a terminal."""
        if self._console.is_interactive:
            self._bars.start()

    def stop(self) -> None:
        """Remove the bars from the terminal."""
        if self._console.is_interactive:
            self._bars.stop()

    def begin(self, spec: CellSpec) -> None:
        """Announce a cell that begins."""
        self._tally.begin(spec)
        self._show_tally()
        if self._cells > 1:
            _say(self._console, f"begins: {spec.title()}")

    def end(self, record: Record) -> None:
        """Count a cell that has its record, from this or an earlier run."""
        self._tally.end(record)
        self._show_tally()
        _say(
            self._console,
            f"cell {self._tally.done} of {self._cells}: {record.spec.title()}"
            + ("" if record.status == "ok" else f": {record.status}"),
        )

    def _show_tally(self) -> None:
        if self._overall is not None:
            self._bars.update(
                self._overall,
                completed=self._tally.done,
                description=f"grid: {self._tally.words()}",
                left=_words_left(self._tally.seconds_left()),
            )

    def message(self, text: str) -> None:
        """Print a sentence for the person."""
        _say(self._console, f"note: {text}")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the bars while results are printed."""
        self.stop()
        yield
        self.start()

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Show one stage: a live bar on a terminal, and a line when it is done."""
        start = time.monotonic()
        shown = _ShownStage(self._bars, name, total)
        try:
            yield shown
        finally:
            self._bars.remove_task(shown.task)
        note = f" ({shown.note})" if shown.note else ""
        _say(self._console, f"  {name}: {duration(time.monotonic() - start)}{note}")


@contextmanager
def shown(cells: int) -> Iterator[Bars]:
    """Show the progress of a grid on stderr.

    Args:
        cells: number of cells of the grid.
    """
    bars = Bars(note_console(), cells)
    bars.start()
    try:
        yield bars
    finally:
        bars.stop()
