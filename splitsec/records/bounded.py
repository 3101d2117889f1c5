"""Reads files and JSON that anybody may have written, within bounds of size and time.

A record is small: the largest published one has 110 kB and 4,000 values. What is far larger is no
record, and is refused before it costs memory.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from splitsec.escaping import one_line

LARGEST_RECORD = 4_000_000
"""Bytes that a record may have."""

MOST_VALUES = 100_000
"""Values that the JSON of a record may hold."""

_DIGITS = 20  # of an integer, with its sign
_SHOWN = 60  # characters of a name in an error


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a regular file, or of one that a link leads to.

    Args:
        path: the file; anything else, such as a device or a FIFO, is not even opened.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or larger.
    """
    # Another process may put a FIFO in its place, at which opening must not wait.
    _refuse_special(path.stat().st_mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _refuse_special(os.fstat(file.fileno()).st_mode)
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return content


def _refuse_special(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ValueError("it is not a regular file")


def json_object(text: str) -> dict[str, Any]:
    """Return the object that a JSON text is.

    Raises:
        ValueError: it is no JSON object, holds more than :data:`MOST_VALUES` values or is nested
            too deep, a name occurs twice in an object, or a number is not finite or has too many
            digits.
    """
    if text.count(",") + text.count("[") + text.count("{") > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES:,} values")
    try:
        found = json.loads(
            text,
            object_pairs_hook=_named_once,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{shown(name)} is in one object twice")
        found[name] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS or not -(2**63) <= int(digits) < 2**63:
        raise ValueError("a number does not fit 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is not finite")
    return value


def shown(text: str) -> str:
    """Return somebody's text for an error: in quotes, on one line, and short."""
    return f"'{one_line(text, _SHOWN)}'"
