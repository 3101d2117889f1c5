"""An index of the records in a folder, so that a leaderboard need not read them all.

It holds what ranks a record, and is made anew from the records whenever it is missing, damaged or
of another version. A record is read and checked again if its file's inode, size, or time of
modification or change differs from the index. No program can set the time of change.

An index is a cache of this machine, in :func:`splitsec.folders.cache_folder`, and is found by the
path of the records' folder. One that lies beside records may be anybody's and is never opened.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from splitsec.errors import DataError
from splitsec.folders import cache_folder
from splitsec.records.finding import read_file, record_files
from splitsec.records.record import SCHEMA_VERSION, Record
from splitsec.records.signatures import seen_with
from splitsec.records.store import StoredRecord, each_once, find_records

_VERSION = f"{SCHEMA_VERSION}.5"


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


def index_of(folder: Path) -> Path:
    """Return the file of a folder's index, in the cache of this machine."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    return cache_folder() / "indexes" / f"{name}.sqlite"


def brief_records(folder: Path, announce: Callable[[str], None]) -> list[Record]:
    """Return what ranks each record in a folder, at any depth, and keep it in the index.

    Args:
        folder: with ``record.json`` files.
        announce: told of each record that cannot be believed and is left out, and where the index
            cannot be kept.

    Returns:
        Brief records, see :func:`brief`, in the order of their paths.

    Raises:
        DataError: nothing is there, or nothing that can be believed.
    """
    files = [_state(folder, path) for path in record_files(folder)]
    place = index_of(folder)
    reader = _Reader(folder, announce)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with closing(_open(place)) as index:
            found = _updated(index, reader, files)
    except (sqlite3.Error, OSError) as error:
        announce(f"{place} cannot be used ({error}); all records are read")
        found = reader.read(files)
    if not found:
        raise DataError(reader.problem)
    return [found[file] for file in files if file in found]


class _Reader:
    """Reads the brief records of a folder, each once.

    Args:
        folder: of the records.
        announce: told of each record that is left out.

    Attributes:
        problem: why the last record that was left out cannot be believed.
    """

    def __init__(self, folder: Path, announce: Callable[[str], None]) -> None:
        self.problem = f"there is no record in {folder}"
        self._folder = folder
        self._announce = announce
        self._read: dict[_File, Record | None] = {}

    def read(self, files: Iterable[_File]) -> dict[_File, Record]:
        """Return the records of files; those that cannot be believed are missing."""
        found = {}
        for file in files:
            if file not in self._read:
                self._read[file] = self._believed(file)
            record = self._read[file]
            if record is not None:
                found[file] = record
        return found

    def kept(self, file: _File, text: str) -> Record:
        """Return the record that the index holds of a file."""
        return Record.model_validate_json(text).found_in((self._folder / file.path).parent)

    def _believed(self, file: _File) -> Record | None:
        try:
            return brief(read_file(self._folder / file.path))
        except DataError as error:
            self.problem = str(error)
            self._announce(f"left out: {self.problem}")
            return None


def load_brief_records(
    paths: Iterable[str | Path],
    announce: Callable[[str], None],
    trusted: frozenset[str] = frozenset(),
) -> list[Record]:
    """Read what ranks records, each cell once; folders are indexed.

    Args:
        paths: as of :func:`splitsec.records.store.load_records`.
        announce: told of each record that is left out, and where an index cannot be kept.
        trusted: as of :func:`splitsec.records.store.find_records`.

    Raises:
        DataError: nothing is there, or nothing that can be believed.
    """
    found = each_once(
        StoredRecord(seen_with(one.record, trusted), one.folder)
        for path in map(Path, paths)
        for one in _found(path, announce)
    )
    return [one.record for one in found]


def _found(path: Path, announce: Callable[[str], None]) -> list[StoredRecord]:
    if not path.is_dir():
        return find_records([path], lambda problem: announce(f"left out: {problem}"))
    return [StoredRecord(record, None) for record in brief_records(path, announce)]


def _state(folder: Path, path: Path) -> _File:
    """Return what tells whether a record's file has changed."""
    try:
        state = path.stat()
    except OSError:  # a link that leads nowhere: reading it says so
        return _File(os.path.relpath(path, folder), "", 0, 0, 0)
    inode = str(state.st_ino)  # 64 bits without a sign, which SQLite cannot hold
    times = (state.st_mtime_ns, state.st_ctime_ns)
    return _File(os.path.relpath(path, folder), inode, state.st_size, *times)


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


def _updated(index: sqlite3.Connection, reader: _Reader, files: list[_File]) -> dict[_File, Record]:
    kept = {_File(*state): text for *state, text in index.execute("SELECT * FROM records")}
    new = reader.read(file for file in files if file not in kept)
    gone = set(kept) - set(files)
    if new or gone:
        with index:
            index.executemany("DELETE FROM records WHERE path = ?", [(one.path,) for one in gone])
            index.executemany(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)",
                [(*file, record.model_dump_json()) for file, record in new.items()],
            )
    return new | {file: reader.kept(file, kept[file]) for file in files if file in kept}
