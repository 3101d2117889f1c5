"""Any folder of images with a CSV of labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from splitsec.data.decoding import decode_files
from splitsec.data.source import ANY, Availability, Catalogue, Source
from splitsec.data.spec import DataSpec
from splitsec.errors import DataError, UsageError
from splitsec.parameters import Parameters
from splitsec.progress import Progress

EXTENSIONS = (".png", ".jpeg", ".jpg", ".tif", ".tiff", ".bmp", ".webp")


class FolderParameters(Parameters):
    """Parameters of a folder with a CSV."""

    path: str = Field("", description="folder of the images")
    csv: str = Field("labels.csv", description="the CSV; relative to the folder, or absolute")
    image_column: str = Field("image", description="column of file names, extension optional")
    label_column: str = Field("label", description="column of classes, any text or number")
    group_column: str = Field("", description="column of patients, kept together; empty: none")


def read_csv(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV as text and check that it has columns and rows.

    Raises:
        DataError: the file is missing, unreadable or empty, or lacks a column.
    """
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise DataError(f"there is no CSV at {file}") from None
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"cannot read the CSV {file}: {error}") from None
    for column in columns:
        if column not in table.columns:
            found = ", ".join(map(str, table.columns))
            raise DataError(f"{file} has no column {column!r}; its columns are {found}")
    if table.empty:
        raise DataError(f"{file} has no rows")
    return table


def find_images(folder: Path, names: Sequence[str], csv: Path) -> list[Path]:
    """Return each name's file; the extension may be left out.

    Raises:
        DataError: a row names a file that is not there.
    """
    try:
        present = {path.name: path for path in folder.iterdir()}
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from None
    stems = {path.stem: path for path in present.values() if path.suffix.lower() in EXTENSIONS}
    files = []
    for row, name in enumerate(names):
        file = present.get(name) or stems.get(name)
        if file is None and (folder / name).is_file():
            file = folder / name
        if file is None:
            raise DataError(f"{csv}, row {row + 2}: there is no image {name!r} in {folder}")
        files.append(file)
    return files


def fingerprint(files: Sequence[Path]) -> str:
    """Return a hash of files' names, sizes and times of change."""
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class Folder(Source[FolderParameters]):
    """Images of a folder, labelled by a CSV."""

    Parameters: ClassVar[type[FolderParameters]] = FolderParameters

    def __init__(self, parameters: FolderParameters) -> None:
        super().__init__(parameters)
        self._files: list[Path] = []

    def availability(self) -> Availability:
        """Say what the person must give."""
        return Availability(
            True,
            "any images: --data folder:path=FOLDER,csv=labels.csv,image_column=image,"
            "label_column=label",
        )

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List all rows of the CSV."""
        if spec.public_from == "shifted":
            raise UsageError("folder has no second population; use --public-from same")
        given = self.parameters
        if not given.path:
            raise UsageError("data 'folder' needs a path: --data folder:path=FOLDER")
        folder = Path(given.path).expanduser()
        csv = folder / Path(given.csv).expanduser()
        columns = [given.image_column, given.label_column]
        table = read_csv(csv, columns + ([given.group_column] if given.group_column else []))
        self._files = find_images(folder, table[given.image_column].tolist(), csv)
        labels, classes = pd.factorize(table[given.label_column], sort=True)
        if len(classes) < 2:
            raise DataError(f"{csv}: all images are of one class, {classes[0]!r}; two are due")
        groups = np.arange(len(table))
        if given.group_column:
            groups = pd.factorize(table[given.group_column])[0]
        return Catalogue(
            keys=np.arange(len(table)),
            labels=labels.astype(np.int64),
            groups=groups.astype(np.int64),
            classes=tuple(map(str, classes)),
            pools=np.full(len(table), ANY),
            fingerprint=fingerprint(self._files),
            disclosures=()
            if given.group_column
            else ("no patients are named: images of one patient may be in several parts",),
        )

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Read the images."""
        return decode_files([self._files[key] for key in keys], size, channels, progress)
