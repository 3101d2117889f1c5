"""The consoles that results and notes are printed on."""

from __future__ import annotations

from typing import IO

from rich.console import Console


class HonestConsole(Console):
    """A console that leaves a reader who has gone to the command line's own handling."""

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError again, where rich would exit without a word."""
        raise BrokenPipeError


def result_console(file: IO[str] | None = None) -> Console:
    """Return a console on a file, stdout by default."""
    return HonestConsole(file=file)


def note_console() -> Console:
    """Return a console on stderr, for progress and notes."""
    return HonestConsole(stderr=True)
