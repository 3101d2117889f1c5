"""Kaggle's "diabetic-retinopathy-resized": about 35,000 fundus photographs with grades.

Photographs of the Kaggle competition of 2015 (EyePACS), in the layout in which the data set
unpacks: ``resized_train_cropped/resized_train_cropped/*.jpeg`` beside ``trainLabels*.csv`` with
columns ``image`` and ``level``. Grade 0 is class 0, grades 1 to 4 are class 1; the classes are
sampled equally, as the report does. ``10_left`` and ``10_right`` are one patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from splitsec.data.decoding import decode_files
from splitsec.data.folder import find_images, fingerprint, read_csv
from splitsec.data.source import ANY, Availability, Catalogue, Source
from splitsec.data.spec import DataSpec
from splitsec.errors import DataError, UsageError
from splitsec.folders import data_folder
from splitsec.parameters import Parameters
from splitsec.progress import Progress

_FOLDER = "resized_train_cropped"
_GRADES = 5


class DiabeticRetinopathyParameters(Parameters):
    """Parameters of the Kaggle data set."""

    path: str = Field("", description="where it was unpacked; empty: diabetic-retinopathy")


class DiabeticRetinopathy(Source[DiabeticRetinopathyParameters]):
    """Fundus photographs, no retinopathy against any, classes sampled equally."""

    Parameters: ClassVar[type[DiabeticRetinopathyParameters]] = DiabeticRetinopathyParameters

    def __init__(self, parameters: DiabeticRetinopathyParameters) -> None:
        super().__init__(parameters)
        self._files: list[Path] = []

    def _roots(self) -> list[Path]:
        if self.parameters.path:
            return [Path(self.parameters.path).expanduser()]
        names = ("diabetic-retinopathy", "diabetic-retinopathy-resized")
        return [data_folder() / name for name in names] + [data_folder() / "/".join(names)]

    def _root(self) -> Path | None:
        return next((root for root in self._roots() if (root / _FOLDER).is_dir()), None)

    def availability(self) -> Availability:
        """Say where the folder is or must be put."""
        root = self._root()
        if root is not None:
            return Availability(True, f"found at {root}")
        return Availability(
            False,
            "unpack Kaggle's 'diabetic-retinopathy-resized' so that "
            f"{self._roots()[0] / _FOLDER} exists",
        )

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List all graded photographs."""
        if spec.public_from == "shifted":
            raise UsageError("diabetic-retinopathy has no second population; use same")
        root = self._root()
        if root is None:
            raise DataError(f"diabetic-retinopathy is missing: {self.availability().sentence}")
        folder = root / _FOLDER / _FOLDER
        csv = self._labels(root)
        table = read_csv(csv, ["image", "level"])
        levels = pd.to_numeric(table["level"], errors="coerce")
        wrong = ~levels.isin(range(_GRADES))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{csv}, row {row + 2}: level {table['level'][row]!r} is not a grade of 0 to 4"
            )
        labels = (levels > 0).to_numpy().astype(np.int64)
        if len(np.unique(labels)) < 2:
            raise DataError(f"{csv}: all images are of one class; two are due")
        self._files = find_images(folder, table["image"].tolist(), csv)
        patients = table["image"].str.replace(r"_(left|right)(\.\w+)?$", "", regex=True)
        return Catalogue(
            keys=np.arange(len(table)),
            labels=labels,
            groups=pd.factorize(patients)[0].astype(np.int64),
            classes=("no retinopathy", "retinopathy"),
            pools=np.full(len(table), ANY),
            fingerprint=fingerprint(self._files),
            balanced=True,
        )

    @staticmethod
    def _labels(root: Path) -> Path:
        """Return the CSV that names the images as they are called in the folder."""
        found = sorted(root.glob("trainLabels*.csv"))
        if not found:
            raise DataError(f"there is no trainLabels*.csv in {root}")
        # The data set has two: of the cropped images, and of all.
        cropped = [file for file in found if "cropped" in file.name]
        return cropped[0] if cropped else found[0]

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Read the photographs."""
        return decode_files([self._files[key] for key in keys], size, channels, progress)
