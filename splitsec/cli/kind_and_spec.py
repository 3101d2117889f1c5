"""Reads the arguments of commands that take a plug-in, with its kind before it or without."""

from __future__ import annotations

from splitsec.errors import UsageError, unknown_name
from splitsec.plugins.names import KINDS, Kind


def kind_and_spec(words: tuple[str, ...], usage: str) -> tuple[Kind | None, str]:
    """Return the kind, or None if it is not given, and the name or path.

    Args:
        words: the arguments.
        usage: what the command takes, for the error about another number of words.

    Raises:
        UsageError: there are more than two words or none, or the first of two is no kind.
    """
    if len(words) == 1:
        return None, words[0]
    if len(words) != 2:
        raise UsageError(f"{usage} ({len(words)} words were given)")
    for kind in KINDS:
        if words[0] == kind:
            return kind, words[1]
    raise UsageError(unknown_name("kind", words[0], KINDS))
