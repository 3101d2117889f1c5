"""Shows the checks of a plug-in one by one, with the time that the others may take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress

from rich.console import Console
from rich.table import Table
from rich.text import Text

from splitsec.cli.progress_bars import duration
from splitsec.escaping import one_line
from splitsec.running.contract.report import CheckListener, CheckResult

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}
_NAME, _VERDICT, _SECONDS = 28, 7, 7  # characters of columns
_LONG_SECONDS = 5.0  # from which a check is announced, and counts for the estimate
_BRIEF = re.compile(r"(?:ok|warning|failed|skipped) {2,8}[\w ,:-]{1,60} \(\d{1,6}\.\d s\)")


def header(console: Console) -> None:
    """Print the names of the columns."""
    _print(console, Text("check"), Text(""), Text("what was seen, and what to do"), Text("seconds"))
    console.print("─" * console.width, style="dim", soft_wrap=True)


def row(result: CheckResult, console: Console) -> None:
    """Print one row; all rows have columns of the same widths."""
    verdict = Text(result.verdict, style=_COLOURS[result.verdict])
    seconds = Text(f"{result.seconds:.1f}")
    _print(console, Text(one_line(result.check)), verdict, Text(one_line(result.sentence)), seconds)


def _print(console: Console, *cells: Text) -> None:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for width in (_NAME, _VERDICT):
        table.add_column(width=width)
    table.add_column(ratio=1)
    table.add_column(width=_SECONDS, justify="right")
    table.add_row(*cells)
    console.print(table)


def brief(result: CheckResult) -> str:
    """Return the line that stands for a row where stdout is for the report alone."""
    return f"{result.verdict:<8} {result.check} ({result.seconds:.1f} s)"


def is_brief(line: str) -> bool:
    """Return whether a line has the form of one of those, which is safe to print.

    A plug-in can print such a line, too.
    """
    return _BRIEF.fullmatch(line) is not None


class Rows(CheckListener):
    """Prints each check when it is done, and the time that is left.

    Args:
        rows: prints the rows; None prints brief lines among the notes.
        notes: prints notes, and a spinner on a terminal.
        spec: what is checked, for the spinner.
    """

    def __init__(self, rows: Console | None, notes: Console, spec: str) -> None:
        self._rows = rows
        self._notes = notes
        self._usual: Mapping[str, float] = {}
        self._waiting: list[str] = []
        self._spent = self._worth = 0.0
        self._left = ""
        self._spec = spec
        self._status = notes.status(Text(one_line(f"checking {spec}")))

    def __enter__(self) -> Rows:
        self._spin()
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.stop()

    def planned(self, label: str, seconds: Mapping[str, float]) -> None:
        """Say how long the checks usually take."""
        self._usual, self._waiting = seconds, list(seconds)
        about = duration(max(1.0, sum(seconds.values())))
        self._say(
            f"{label}: {len(seconds)} checks, about {about} on two cores for a plug-in as fast as "
            "the built-in ones"
        )
        if self._rows is not None:
            self._status.stop()
            header(self._rows)
            self._spin()

    def begun(self, check: str) -> None:
        """Show which check runs."""
        left = f", {self._left}" if self._left else ""
        self._status.update(Text(one_line(f"checking {self._spec}: {check}{left}")))
        if self._usual.get(check, 0.0) >= _LONG_SECONDS and not self._notes.is_terminal:
            self._say(f"begins: {check}{left}")

    def ended(self, result: CheckResult) -> None:
        """Print its row, and estimate the time left from those that have run."""
        self._status.stop()
        if self._rows is None:
            self._say(brief(result))
        else:
            row(result, self._rows)
        self._spin()
        usual = self._usual.get(result.check, 0.0)
        if result.check in self._waiting:
            self._waiting.remove(result.check)
        if usual >= _LONG_SECONDS and result.verdict != "skipped":
            self._spent, self._worth = self._spent + result.seconds, self._worth + usual
        if self._worth:
            left = sum(self._usual[name] for name in self._waiting) * self._spent / self._worth
            self._left = f"about {duration(left)} left" if left >= 1 else ""

    def _spin(self) -> None:
        if self._notes.is_terminal:
            self._status.start()

    def _say(self, text: str) -> None:
        with suppress(OSError):  # the report counts, even where nobody can hear the notes
            self._notes.print(Text(one_line(text)), soft_wrap=True)
