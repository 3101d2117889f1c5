"""The exit codes of commands."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit code of a command.

    FAILED also stands for what the machine refused, such as a disk that is full.
    """

    OK = 0
    FAILED = 1
    INTERRUPTED = 2
    INTERNAL = 3
    USAGE = 4
    EMPTY = 5
