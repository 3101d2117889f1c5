"""Finds the records in a folder, a file or a stream, and tells those that cannot be believed.

Such a record is left out with the reason, by boards, data frames, pages and ``splitsec verify``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from splitsec.errors import DataError
from splitsec.records.bounded import LARGEST_RECORD
from splitsec.records.checking_methods import check_methods
from splitsec.records.official import submission_of
from splitsec.records.per_image import check_per_image
from splitsec.records.reading import load_record, read_record
from splitsec.records.record import Evidence, Record


class ReadRecord(NamedTuple):
    """What was found where a record should be.

    Attributes:
        where: its file, and the line of a ``.jsonl`` file.
        folder: folder that its paths are relative to; None for a line of a ``.jsonl`` file.
        record: the record; None if it cannot be believed.
        problem: why not, in one sentence.
    """

    where: str
    folder: Path | None
    record: Record | None
    problem: str = ""


def read_each(path: Path) -> Iterator[ReadRecord]:
    """Read the records of a folder, at any depth, of one file, or of a ``.jsonl`` file.

    Yields:
        Each of them, also those that cannot be believed.

    Raises:
        DataError: nothing is there.
    """
    if path.suffix == ".jsonl":
        yield from _read_lines(path)
        return
    for file in record_files(path) if path.is_dir() else [path]:
        folder = file.absolute().parent
        try:
            yield ReadRecord(str(file), folder, read_file(file))
        except DataError as error:
            yield ReadRecord(str(file), folder, None, str(error))


def read_file(file: Path) -> Record:
    """Read a record, and the file of its values per image if it is there.

    Raises:
        DataError: there is no record, or what is there cannot be believed.
    """
    if file.is_dir():
        raise DataError(f"cannot read a record at {file}: it is not a regular file")
    record = load_record(file)
    check_per_image(record)
    problem = check_methods(record)
    if problem:
        raise DataError(f"{file} is no record that splitsec writes: {problem}")
    return record


def record_files(folder: Path) -> list[Path]:
    """Return the files of the records in a folder, at any depth, in order.

    Folders that a link leads to, and those whose names begin with a dot, are not searched.

    Raises:
        DataError: there is none.
    """
    found, waiting = [], [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.name == "record.json":
                        found.append(Path(entry.path))
                    elif not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue  # it cannot be listed, or its path is too long to be one
    if not found:
        raise DataError(f"there is no record.json under {folder}")
    return sorted(found)


def _read_lines(path: Path) -> Iterator[ReadRecord]:
    submission = submission_of(path.absolute().parent)
    try:
        if not path.is_file():
            raise ValueError("it is not a regular file")
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LARGEST_RECORD + 1):
                number += 1
                if len(line) > LARGEST_RECORD:
                    raise ValueError(f"line {number} is larger than {LARGEST_RECORD:,} bytes")
                if line.strip():
                    yield _in_stream(_read_line(line, f"{path}, line {number}"), submission)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read records at {path}: {error}") from None


def _in_stream(found: ReadRecord, submission: Path | None) -> ReadRecord:
    """Return a record of a stream; one that is in a submission is a claim, whatever it says."""
    if submission is None or found.record is None:
        return found
    claimed = Evidence(origin="claimed", claimant=submission.name)
    return found._replace(record=found.record.model_copy(update={"evidence": claimed}))


def _read_line(line: bytes, where: str) -> ReadRecord:
    try:
        return ReadRecord(where, None, read_record(line.decode("utf-8"), f"{where},"))
    except UnicodeDecodeError as error:
        return ReadRecord(where, None, None, f"{where}, is no text: {error}")
    except DataError as error:
        return ReadRecord(where, None, None, str(error))
