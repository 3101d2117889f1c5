"""35,000 real fundus photographs with grades (Kaggle diabetic-retinopathy-resized).

The photographs come from the Kaggle competition of 2015 (EyePACS). The unpacked data set has
``resized_train_cropped/resized_train_cropped/*.jpeg`` beside ``trainLabels*.csv`` with columns
``image`` and ``level``. Grade 0 is class 0, grades 1 to 4 are class 1; the classes are sampled
equally, as in the report. ``10_left`` and ``10_right`` belong to one patient.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from splitsec.data.decoding import decode_files
from splitsec.data.files import column_of, find_images, read_csv
from splitsec.data.unpacked import UnpackedFolder, UnpackedParameters
from splitsec.errors import DataError, UsageError
from splitsec.folders import data_folder
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.identifiers import Column, groups_of, refuse_missing
from splitsec.plugins.source import ANY, Catalogue, ImageParameters
from splitsec.plugins.spelling import normalise, number_of
from splitsec.progress import Progress

_FOLDER = "resized_train_cropped"
_GRADES = 5
_EYE = r"_(left|right)$"


class DiabeticRetinopathyParameters(UnpackedParameters, ImageParameters):
    """Parameters of the photographs."""


class DiabeticRetinopathy(UnpackedFolder[DiabeticRetinopathyParameters]):
    """Fundus photographs without and with retinopathy, in equal numbers."""

    Parameters: ClassVar[type[DiabeticRetinopathyParameters]] = DiabeticRetinopathyParameters
    name: ClassVar[str] = "diabetic-retinopathy"
    archive: ClassVar[str] = "diabetic-retinopathy-resized"
    holds: ClassVar[str] = _FOLDER

    def __init__(self, parameters: DiabeticRetinopathyParameters) -> None:
        super().__init__(parameters)
        self._files: list[Path] = []

    def usual_places(self) -> list[Path]:
        """Return the data folder's subfolders with either name, or with both."""
        names = (self.name, self.archive)
        return [data_folder() / name for name in names] + [data_folder() / "/".join(names)]

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List all graded photographs."""
        if spec.public_from == "shifted":
            raise UsageError("diabetic-retinopathy has no second population; use same")
        root = self.found()
        folder = root / _FOLDER / _FOLDER
        csv = self._labels(root)
        table = read_csv(csv, ["image", "level"])
        labels = _classes(column_of(table, "level", csv))
        images = column_of(table, "image", csv)
        self._files = find_images(folder, images)
        names = [file.stem for file in self._files]
        patients = [re.sub(_EYE, "", name) for name in names]
        unnamed = sum(patient == name for patient, name in zip(patients, names, strict=True))
        return Catalogue(
            keys=np.arange(len(table)),
            labels=labels,
            groups=groups_of(images._replace(values=patients)),
            classes=("no retinopathy", "retinopathy"),
            pools=np.full(len(table), ANY),
            balanced=True,
            names=tuple(file.name for file in self._files),
            shuffled_by=self.shuffled_by,
            disclosures=(
                f"{unnamed} images are not named after a patient and an eye (10_left, 10_right): "
                "each counts as a patient of its own",
            )
            if unnamed
            else (),
        )

    @staticmethod
    def _labels(root: Path) -> Path:
        """Return the CSV whose names match the images in the folder."""
        found = sorted(root.glob("trainLabels*.csv"))
        if not found:
            raise DataError(f"there is no trainLabels*.csv in {root}")
        # The data set has two: one for the cropped images and one for all.
        cropped = [file for file in found if "cropped" in file.name]
        return cropped[0] if cropped else found[0]

    def files(self) -> Sequence[Path]:
        """Return the images' files."""
        return self._files

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Read the photographs."""
        return decode_files([self._files[key] for key in keys], size, channels, progress)


def _classes(levels: Column) -> NDArray[np.int64]:
    """Return 0 for grade 0 and 1 for grades 1 to 4, shape (N,)."""
    refuse_missing(levels)
    grades = [number_of(normalise(level)) for level in levels.values]
    for position, grade in enumerate(grades):
        if grade not in range(_GRADES):
            level = levels.values[position]
            raise DataError(f"{levels.where(position)}: level {level!r} is not a grade of 0 to 4")
    labels = np.array([int(grade or 0) > 0 for grade in grades], np.int64)
    if len(np.unique(labels)) < 2:
        raise DataError(f"{levels.place}: all images are of one class; expected two")
    return labels
