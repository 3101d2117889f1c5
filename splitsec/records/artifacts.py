"""The files that belong to a record: where they are, and whether they are what they should be."""

from __future__ import annotations

import os
from pathlib import Path

from splitsec.errors import DataError
from splitsec.files import sha256_of
from splitsec.records.bounded import shown
from splitsec.records.record import Record


def artifact(folder: Path, record: Record, name: str) -> Path:
    """Return the path of one of a record's artifacts, such as ``"panel"``.

    Raises:
        KeyError: it has none of that name.
        DataError: it is neither in the record's folder nor beside it.
    """
    said = record.artifacts[name]
    path = Path(os.path.normpath(folder / said))
    store = Path(os.path.abspath(folder)).parent  # noqa: PTH100 - resolve() would follow links
    if not Path(os.path.abspath(path)).is_relative_to(store):  # noqa: PTH100 - as above
        raise DataError(f"{folder}: its {shown(name)}, {shown(said)}, is not among the records")
    return path


def check_artifact(path: Path) -> None:
    """Raise a DataError unless a file has the content that its name says.

    Raises:
        DataError: it is not there, or was changed.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    if found != path.stem:
        raise DataError(f"{path} is damaged: its content is not what it was called by")
