"""Reads one record, which anybody may have written, and decides whether it is believed."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from splitsec.errors import DataError
from splitsec.records.bounded import LARGEST_RECORD, json_object, read_regular, shown
from splitsec.records.checking import check_record
from splitsec.records.record import Record, seal_of
from splitsec.records.signatures import is_signed


def load_record(path: str | Path) -> Record:
    """Read a record from its JSON file or from the folder that holds it.

    Args:
        path: the file, or the folder with ``record.json``.

    Raises:
        DataError: there is no record, it is not valid, its seal does not fit, or it contradicts
            itself.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "record.json"
    try:
        text = read_regular(file, LARGEST_RECORD).decode("utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read a record at {file}: {error}") from None
    return read_record(text, str(file)).found_in(file.parent)


def read_record(text: str, where: str) -> Record:
    """Read a record from its JSON, and check it.

    Args:
        text: JSON, whoever wrote it.
        where: names it in errors.

    Raises:
        DataError: it is not a valid record, not what was sealed, or contradicts itself.
    """
    try:
        content = json_object(text)
        record = Record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        said = f"{shown(field) if field else 'JSON'}: {first['msg']}"
        raise DataError(f"{where} is not a splitsec record: {said}") from None
    except ValueError as error:
        raise DataError(f"{where} is not a splitsec record: {error}") from None
    if record.seal is None:
        raise DataError(f"{where} has no seal, so nobody can tell whether it is whole")
    if record.seal != seal_of(content):
        raise DataError(f"{where} is not what was written: its seal does not fit; run it again")
    if record.signature is not None and not is_signed(record):
        raise DataError(f"{where} has a signature that is not of its key and its content")
    problem = check_record(record)
    if problem:
        raise DataError(f"{where} is no record that splitsec writes: {problem}")
    return record
