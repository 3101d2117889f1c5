"""An index of the records in a folder, so that a leaderboard need not read them all.

It holds what ranks a record, and is made anew from the records whenever it is missing, damaged or
of another version. A record is read, and its seal checked, again if its file's inode, size, or time
of modification or change differs from the index. No program can set the time of change.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from splitsec.errors import DataError
from splitsec.records.record import SCHEMA_VERSION, Record, load_record
from splitsec.records.store import StoredRecord, each_once, read_records

_NAME = ".index.sqlite"
_VERSION = f"{SCHEMA_VERSION}.4"


class _File(NamedTuple):
    """A record's file, by its path below the folder."""

    path: str
    inode: str
    size: int
    modified: int
    changed: int


def brief(record: Record) -> Record:
    """Return a record with what ranks it: no scores of images, no curves, no packages."""
    sources = {
        kind: {name: said[name] for name in ("sha256", "code") if name in said}
        for kind, said in record.provenance.plugins.items()
    }
    provenance = record.provenance.model_copy(
        update={"plugins": sources, "packages": {}, "command": []}
    )
    return record.model_copy(
        update={
            "victims": None,
            "history": {},
            "session": {},
            "data": {name: record.data[name] for name in ("sha256",) if name in record.data},
            "notes": [],
            "timings": {},
            "artifacts": {},
            "seal": None,
            "provenance": provenance,
        }
    )


def brief_records(folder: Path, announce: Callable[[str], None]) -> list[Record]:
    """Return what ranks each record in a folder, at any depth, and keep it in the index.

    Args:
        folder: with ``record.json`` files.
        announce: told where the index cannot be kept.

    Returns:
        Brief records, see :func:`brief`, in the order of their paths.

    Raises:
        DataError: nothing is there, a record cannot be read, or is not what was sealed.
    """
    files = sorted(_files(folder))
    if not files:
        raise DataError(f"there is no record.json under {folder}")
    try:
        with closing(_open(folder / _NAME)) as index:
            return _updated(index, folder, files)
    except sqlite3.Error as error:
        announce(f"{folder / _NAME} cannot be used ({error}); all records are read")
    return [brief(load_record(folder / file.path)) for file in files]


def load_brief_records(
    paths: Iterable[str | Path], announce: Callable[[str], None]
) -> list[Record]:
    """Read what ranks records, each cell once; folders are indexed.

    Args:
        paths: as of :func:`splitsec.records.store.load_records`.
        announce: told where an index cannot be kept.

    Raises:
        DataError: nothing is there, or a record cannot be read.
    """
    found = each_once(one for path in map(Path, paths) for one in _found(path, announce))
    return [one.record for one in found]


def _found(path: Path, announce: Callable[[str], None]) -> list[StoredRecord]:
    if not path.is_dir():
        return read_records(path)
    return [StoredRecord(record, None) for record in brief_records(path, announce)]


def _files(folder: Path) -> Iterator[_File]:
    for place, folders, names in os.walk(folder):
        if "record.json" in names:
            file = os.path.join(place, "record.json")  # noqa: PTH118 - Path is slow
            state = os.stat(file)  # noqa: PTH116 - Path is slow
            times = (state.st_mtime_ns, state.st_ctime_ns)
            inode = str(state.st_ino)  # 64 bits without a sign, which SQLite cannot hold
            yield _File(os.path.relpath(file, folder), inode, state.st_size, *times)
            folders.clear()
        folders[:] = [one for one in folders if not one.startswith(".")]


def _open(file: Path) -> sqlite3.Connection:
    index = sqlite3.connect(file, timeout=30)
    try:
        known = index.execute("SELECT version FROM about").fetchone()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "no such table" not in str(error):
            index.close()
            raise
        known = None
    if known == (_VERSION,):
        return index
    index.close()
    file.unlink(missing_ok=True)
    index = sqlite3.connect(file, timeout=30)
    with index:
        index.execute("CREATE TABLE about (version TEXT)")
        index.execute("INSERT INTO about VALUES (?)", (_VERSION,))
        index.execute(
            "CREATE TABLE records (path TEXT PRIMARY KEY, inode TEXT, size INTEGER, "
            "modified INTEGER, changed INTEGER, brief TEXT)"
        )
    return index


def _updated(index: sqlite3.Connection, folder: Path, files: list[_File]) -> list[Record]:
    kept = {_File(*state): text for *state, text in index.execute("SELECT * FROM records")}
    new = {file: brief(load_record(folder / file.path)) for file in files if file not in kept}
    gone = set(kept) - set(files)
    if new or gone:
        with index:
            index.executemany("DELETE FROM records WHERE path = ?", [(one.path,) for one in gone])
            index.executemany(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)",
                [(*file, record.model_dump_json()) for file, record in new.items()],
            )
    return [new[file] if file in new else _kept(kept[file], folder / file.path) for file in files]


def _kept(text: str, file: Path) -> Record:
    return Record.model_validate_json(text).found_in(file.parent)
