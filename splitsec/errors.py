"""Errors that tell a person what to do.

Every error that is raised on purpose derives from :class:`SplitsecError`. Its text is one
sentence that says what was wrong, where, and what to do. The command line prints that sentence
without a traceback. Any other exception is a defect of splitsec and keeps its traceback.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class SplitsecError(Exception):
    """Base class of all errors that are raised on purpose."""


class UsageError(SplitsecError):
    """A request cannot be fulfilled, because of an unknown name or parameter, for example."""


class PluginError(SplitsecError):
    """A plug-in cannot be loaded, or broke its contract while it ran."""


class TimeLimitError(PluginError):
    """An isolated attack exceeded its time limit."""


class DataError(SplitsecError):
    """Images or labels are missing, unreadable or too few."""


class OutputError(SplitsecError):
    """A result cannot be written to the requested place."""


class WorkerError(SplitsecError):
    """A worker process could not run its cells, and the cells are not the reason."""


class WeightsUnavailableError(SplitsecError):
    """The pretrained weights of a metric are available from no source."""


class ThreatModelViolation(SplitsecError):  # noqa: N818 - the field's own term
    """An attack requested something that its threat model does not declare."""


class NotApplicable(SplitsecError):  # noqa: N818 - an outcome, not a fault
    """A plug-in cannot work in this cell, which is skipped with this sentence as its reason."""


class DivergedError(SplitsecError):
    """Training or an attack computed a value that is not finite."""


class MemoryExhaustedError(SplitsecError):
    """A device ran out of memory."""


class SessionEnded(SplitsecError):  # noqa: N818 - an event that a detecting defense raises
    """``Defense.receive`` ends the session; the text says what the defense detected."""


OUT_OF_MEMORY = (
    "ran out of the device's memory (use smaller images, --set training.batch_size, a card with "
    "more memory, or --device cpu)"
)


@contextmanager
def blaming(plugin: str, where: str) -> Iterator[None]:
    """Turn what a plug-in raises unexpectedly into a ``PluginError`` that names it.

    Errors of this module pass unchanged; so do interruptions.

    Args:
        plugin: for example ``"attack 'fsha'"``.
        where: the method that runs, for example ``"reconstruct()"``.
    """
    try:
        yield
    except SplitsecError:
        raise
    except (Exception, SystemExit) as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
            raise MemoryExhaustedError(f"{plugin} {OUT_OF_MEMORY} in {where}") from error
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"{plugin} raised {type(error).__name__} in {where}: {error} "
            f"({frame.filename}, line {frame.lineno})"
        ) from error


def unknown_name(kind: str, name: str, known: Iterable[str], see: str = "") -> str:
    """Say that ``name`` is unknown and suggest the nearest known name.

    Args:
        kind: what the name should have named, for example ``"attack"``.
        name: what was given.
        known: the names that exist.
        see: where to find the list, for example ``"splitsec list attacks"``.

    Returns:
        One sentence such as ``unknown attack 'fhsa'; did you mean 'fsha'?``.
    """
    names = sorted(known)
    nearest = get_close_matches(name, names, n=1, cutoff=0.5)
    if nearest:
        sentence = f"unknown {kind} {name!r}; did you mean {nearest[0]!r}?"
    elif names:
        sentence = f"unknown {kind} {name!r}; known: {', '.join(names)}"
    else:
        sentence = f"unknown {kind} {name!r}"
    return f"{sentence} ({see})" if see else sentence


def reason(error: Exception) -> str:
    """Return the message of an exception on one line, or its type's name if it has none."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()).rstrip(".") or type(error).__name__
