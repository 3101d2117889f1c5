"""Finds and reads images and tables in folders that a person names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from splitsec.data.content_hashes import content_hashes
from splitsec.data.decoding import reason
from splitsec.errors import DataError, UsageError

EXTENSIONS = (".png", ".jpeg", ".jpg", ".tif", ".tiff", ".bmp", ".webp")


_MISSING = ("", "nan", "na", "n/a", "<na>", "null")  # as pandas, numpy, R and SQL write it


def user_path(given: str) -> Path:
    """Return a path that a person gave, with ``~`` resolved.

    Raises:
        UsageError: it begins with ``~name``, and there is no such user.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise UsageError(f"the path {given!r} begins with the name of an unknown user") from None


def read_csv(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV as text and check that it has columns and rows, and no gap in the columns.

    Args:
        file: text in UTF-8, with or without a byte order mark.
        columns: columns that must exist and have a value in each row.

    Raises:
        DataError: the file is missing, unreadable or empty, lacks a column, or has a row with
            an empty or missing value ("nan", "NA") in a column.
    """
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no CSV at {file}") from None
    except UnicodeDecodeError:
        raise DataError(f"cannot read the CSV {file}: it is not text in UTF-8") from None
    except Exception as error:  # the decompressor of a compressed CSV may raise any type
        raise DataError(f"cannot read the CSV {file}: {reason(error)}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(f"{file} has rows of more fields than its header")
    for column in columns:
        if column not in table.columns:
            found = ", ".join(map(str, table.columns))
            raise DataError(f"{file} has no column {column!r}; its columns are {found}")
    if table.empty:
        raise DataError(f"{file} has no rows")
    for column in columns:
        _refuse_gaps(table[column].tolist(), column, file)
    return table


def _refuse_gaps(values: Sequence[str], column: str, file: Path) -> None:
    for row, value in enumerate(values):
        if value.strip().lower() in _MISSING:
            says = f"reads {value!r}, as if missing" if value.strip() else "is empty"
            raise DataError(f"{file}, row {row + 2}: the column {column!r} {says}")


def find_images(folder: Path, names: Sequence[str], csv: Path) -> list[Path]:
    """Return each name's file; the extension may be left out.

    Args:
        folder: folder of the images.
        names: names in the rows of the CSV.
        csv: path of the CSV, for errors.

    Raises:
        DataError: the folder cannot be read, or a row names a missing file, two files, or a
            file that an earlier row has named.
    """
    present = _files(folder)
    stems: dict[str, list[Path]] = {}
    for path in sorted(present.values()):
        if path.suffix.lower() in EXTENSIONS:
            stems.setdefault(path.stem, []).append(path)
    rows: dict[Path, int] = {}
    for row, name in enumerate(names, start=2):
        where = f"{csv}, row {row}:"
        found = [present[name]] if name in present else stems.get(name) or _elsewhere(folder, name)
        if not found:
            raise DataError(f"{where} there is no image {name!r} in {folder}")
        if len(found) > 1:
            both = " and ".join(path.name for path in found)
            raise DataError(f"{where} {name!r} may be {both}; add the extension")
        if found[0] in rows:
            raise DataError(f"{where} {found[0].name} is named in row {rows[found[0]]} already")
        rows[found[0]] = row
    return list(rows)


def _files(folder: Path) -> dict[str, Path]:
    """Return the files directly in a folder, by name."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: folder / entry.name for entry in entries if entry.is_file()}
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {reason(error)}") from None


def _elsewhere(folder: Path, name: str) -> list[Path]:
    """Return the file of a name that contains a folder, if it exists."""
    try:
        return [folder / name] if (folder / name).is_file() else []
    except OSError as error:
        raise DataError(f"cannot look for the image {folder / name}: {reason(error)}") from None


def fingerprint(files: Sequence[Path]) -> str:
    """Return a hash of the files' content, in their order; their names and places do not count.

    Raises:
        DataError: a file cannot be read.
    """
    return hashlib.sha256("\n".join(content_hashes(files)).encode()).hexdigest()
