"""The consoles that results and notes are printed on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from splitsec.escaping import for_terminal

_LONGEST = 1000  # characters of a word: rich's time to wrap one grows with their square
_LONG_WORD = re.compile(rf"\S{{{_LONGEST + 1},}}")


class HonestConsole(Console):
    """A console that shows text as it is, and leaves a reader who has gone to the command line.

    Text has no markup and no emoji by name, and nothing in it controls the terminal. Words of more
    than 1,000 characters are cut. A name that must stay on one line has to pass
    :func:`splitsec.escaping.one_line` before.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text, which controls nothing."""
        return super().render_str(_printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render anything; text that was made elsewhere controls nothing either."""
        if isinstance(renderable, Text):
            shown = _printable(renderable.plain)
            if shown != renderable.plain:
                renderable = Text(shown, renderable.style, justify=renderable.justify)
        return super().render(renderable, options)

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError again, where rich would exit without a word."""
        raise BrokenPipeError


def _printable(text: str) -> str:
    return _LONG_WORD.sub(lambda word: f"{word[0][:_LONGEST]}...", for_terminal(text))


def result_console(file: IO[str] | None = None) -> Console:
    """Return a console on a file, stdout by default."""
    return HonestConsole(file=file)


def note_console() -> Console:
    """Return a console on stderr, for progress and notes."""
    return HonestConsole(stderr=True)
