"""Hashes the content of files, and reads a file again only if it may have changed.

A hash is kept with the file's device and inode, size, and times of modification and of change. No
program can set the time of change, so equal values mean equal content, with one exception: a file
may change again within the resolution of that time. So the hash of a file that changed within the
last seconds is not kept.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from splitsec.errors import DataError, reason
from splitsec.files import sha256_of
from splitsec.folders import cache_folder
from splitsec.progress import Progress

_NAME = "hashes.sqlite"
_SETTLED_NANOSECONDS = 5_000_000_000  # since the last change; some file systems count seconds
_THREADS = 2
_PORTION = 500  # files, the most that an interruption loses
_WAIT_SECONDS = 5.0  # for another process that writes
_INODE_CHANGES = os.name == "posix"  # elsewhere st_ctime is the time of creation


class _Version(NamedTuple):
    """What changes whenever a file's content does."""

    device: str  # with the inode a number of 64 bits without a sign, which SQLite cannot hold
    inode: str
    size: int
    modified: int
    changed: int


def content_hashes(files: Sequence[Path], progress: Progress) -> list[str]:
    """Return the SHA-256 of each file's content.

    Args:
        files: the files.
        progress: shows how many have been read, if any must be.

    Raises:
        DataError: a file cannot be read.
    """
    versions = [_version(file) for file in files]
    known = _known(versions)
    missing = {one: file for one, file in zip(versions, files, strict=True) if one not in known}
    hashes = known | (_read(missing, progress) if missing else {})
    return [hashes[version] for version in versions]


def _read(files: dict[_Version, Path], progress: Progress) -> dict[_Version, str]:
    """Return the hashes of files, and keep those of each portion as soon as it is read."""
    hashes: dict[_Version, str] = {}
    each = iter(files.items())
    with (
        progress.stage("hashing image files", len(files)) as stage,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        while portion := dict(islice(each, _PORTION)):
            found = {}
            for version, digest in zip(portion, pool.map(_sha256, portion.values()), strict=True):
                found[version] = digest
                stage.advance()
            _keep(found)
            hashes |= found
    return hashes


def _version(file: Path) -> _Version:
    try:
        status = file.stat()
    except OSError as error:
        raise DataError(f"cannot reach the image {file}: {reason(error)}") from None
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return _Version(str(status.st_dev), str(status.st_ino), status.st_size, *times)


def _sha256(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        raise DataError(f"cannot read the image {file}: {reason(error)}") from None


def _known(versions: Sequence[_Version]) -> dict[_Version, str]:
    """Return the hashes that are kept; none if they cannot be read."""
    wanted = set(versions)
    with suppress(sqlite3.Error, OSError), closing(_connect()) as kept:
        rows = kept.execute(f"SELECT {', '.join(_Version._fields)}, sha256 FROM hashes")
        return {version: row[5] for row in rows if (version := _Version(*row[:5])) in wanted}
    return {}


def _keep(found: dict[_Version, str]) -> None:
    """Keep hashes of files that have not changed lately; where that is impossible, keep none."""
    settled = time.time_ns() - _SETTLED_NANOSECONDS
    rows = [(*version, digest) for version, digest in found.items() if version.changed < settled]
    if not rows or not _INODE_CHANGES:
        return
    with suppress(sqlite3.Error, OSError), closing(_connect()) as kept, kept:
        kept.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?, ?)", rows)


def _connect() -> sqlite3.Connection:
    cache_folder().mkdir(parents=True, exist_ok=True)
    kept = sqlite3.connect(cache_folder() / _NAME, timeout=_WAIT_SECONDS)
    columns = "device TEXT, inode TEXT, size INTEGER, modified INTEGER, changed INTEGER"
    kept.execute(
        f"CREATE TABLE IF NOT EXISTS hashes ({columns}, sha256 TEXT, PRIMARY KEY (device, inode))"
    )
    return kept
