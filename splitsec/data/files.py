"""Finds and reads images and tables in folders that a person names."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from splitsec.data.content_hashes import content_hashes
from splitsec.errors import DataError, UsageError, reason
from splitsec.plugins.identifiers import Column, refuse_gaps
from splitsec.plugins.spelling import normalise
from splitsec.progress import Progress

EXTENSIONS = (".png", ".jpeg", ".jpg", ".tif", ".tiff", ".bmp", ".webp", ".gif")


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
    """Read a CSV as text and check that it has columns and rows.

    Rows without any text are left out. Blanks around the names of columns make no difference.

    Args:
        file: text in UTF-8, with or without a byte order mark.
        columns: columns that must exist; they have these names in the result.

    Returns:
        A table whose index counts rows as a spreadsheet does: the first below the header is 2.

    Raises:
        DataError: the file is missing, unreadable or empty, lacks a column, or has two that fit
            a name.
    """
    try:
        table = pd.read_csv(
            file, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig"
        )
    except FileNotFoundError:
        raise DataError(f"there is no CSV at {file}") from None
    except UnicodeDecodeError:
        raise DataError(f"cannot read the CSV {file}: it is not text in UTF-8") from None
    except Exception as error:  # the decompressor of a compressed CSV may raise any type
        raise DataError(f"cannot read the CSV {file}: {reason(error)}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(f"{file} has rows of more fields than its header")
    table = table.fillna("").rename(columns=_named(table, columns, file))
    table.index += 2
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise DataError(f"{file} has no rows")
    return table


def _named(table: pd.DataFrame, columns: Sequence[str], file: Path) -> dict[str, str]:
    """Return the columns' names in the file, to the names that were asked for."""
    named: dict[str, str] = {}
    for column in columns:
        found = [one for one in table.columns if one == column]
        found = found or [one for one in table.columns if normalise(one) == normalise(column)]
        if not found:
            listed = ", ".join(map(str, table.columns))
            raise DataError(f"{file} has no column {column!r}; its columns are {listed}")
        if len(found) > 1:
            both = " and ".join(map(repr, found))
            raise DataError(f"{file}: the column {column!r} may be {both}; rename one of them")
        named[found[0]] = column
    return named


def column_of(table: pd.DataFrame, name: str, file: Path) -> Column:
    """Return a column of a table that :func:`read_csv` read."""
    return Column(str(file), name, table[name].tolist(), table.index.tolist())


def list_images(folder: Path) -> list[Path]:
    """Return the files directly in a folder that are named as images, by name, without hidden ones.

    Raises:
        DataError: the folder cannot be read, or holds none.
    """
    images = _images(_files(folder))
    if not images:
        raise DataError(f"there is no image in {folder}; expected {', '.join(EXTENSIONS)}")
    return images


def find_images(folder: Path, names: Column, kind: str = "image") -> list[Path]:
    """Return each name's file; the extension may be left out.

    Blanks around a name and the Unicode form of its letters make no difference.

    Args:
        folder: folder of the images.
        names: names in the rows of the CSV.
        kind: what the files are, for errors: "image" or "mask".

    Raises:
        DataError: the folder cannot be read, or a row names nothing, a missing file, two files, or
            a file that an earlier row has named.
    """
    refuse_gaps(names)
    present = _files(folder)
    stems = _by_stem(_images(present))
    plain: dict[str, list[Path]] = {}
    for name, path in present.items():
        plain.setdefault(_plain(name), []).append(path)
    for stem, paths in stems.items():
        plain.setdefault(_plain(stem), []).extend(paths)
    rows: dict[Path, int] = {}
    for position, name in enumerate(names.values):
        where, row = f"{names.where(position)}:", names.row(position)
        found = [present[name]] if name in present else stems.get(name)
        found = found or plain.get(_plain(name)) or _elsewhere(folder, name)
        if not found:
            raise DataError(f"{where} there is no {kind} {name!r} in {folder}")
        if len(found) > 1:
            both = " and ".join(path.name for path in found)
            raise DataError(f"{where} {name!r} may be {both}; add the extension")
        if found[0] in rows:
            raise DataError(f"{where} {found[0].name} is named in row {rows[found[0]]} already")
        rows[found[0]] = row
    return list(rows)


def find_masks(images: Sequence[Path], root: Path, folder: Path) -> list[Path]:
    """Return the mask of each image: the file of the same name, whose extension may differ.

    Args:
        images: files below ``root``.
        root: folder of the images.
        folder: folder of the masks. The masks of images in ``root/a`` are in ``folder/a``.

    Raises:
        DataError: a folder cannot be read, or an image has no mask, several, or that of another.
    """
    known: dict[Path, dict[str, list[Path]]] = {}
    masks: dict[Path, Path] = {}
    missing: list[Path] = []
    for image in images:
        within = folder / image.relative_to(root).parent if root in image.parents else folder
        if within not in known:
            stems = _by_stem(_images(_files(within)))
            known[within] = {_plain(stem): found for stem, found in stems.items()}
        found = known[within].get(_plain(image.stem), [])
        if len(found) > 1:
            both = " and ".join(path.name for path in found)
            raise DataError(f"the mask of {image} may be {both} in {within}; remove one of them")
        if not found:
            missing.append(image)
        elif found[0] in masks:
            other = masks[found[0]]
            raise DataError(f"{other} and {image} would have the same mask, {found[0]}")
        else:
            masks[found[0]] = image
    if missing:
        raise DataError(
            f"{len(missing)} of {len(images)} images have no mask in {folder}, such as "
            f"{missing[0].name}; a mask has the name of its image, with any extension, or is named "
            "in a column: mask_column=COLUMN"
        )
    return list(masks)


def _images(files: Mapping[str, Path]) -> list[Path]:
    """Return the files that are named as images, sorted, without hidden ones."""
    return [
        file
        for name, file in sorted(files.items())
        if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
    ]


def _by_stem(files: Sequence[Path]) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = {}
    for file in files:
        stems.setdefault(file.stem, []).append(file)
    return stems


def _plain(name: str) -> str:
    """Return a file's name without blanks around it, composed; macOS decomposes letters."""
    return unicodedata.normalize("NFC", name).strip()


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


def fingerprint(files: Sequence[Path], progress: Progress) -> str:
    """Return a hash of the files' content, in their order; their names and places do not count.

    Args:
        files: the files.
        progress: shows how many have been read, if any must be.

    Raises:
        DataError: a file cannot be read.
    """
    return hashlib.sha256("\n".join(content_hashes(files, progress)).encode()).hexdigest()
