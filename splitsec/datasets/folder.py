"""Your own folder of images with a CSV of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from splitsec.data.decoding import decode_files
from splitsec.data.files import column_of, find_images, fingerprint, read_csv, user_path
from splitsec.errors import UsageError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.identifiers import check_mapping, classes_of, groups_of
from splitsec.plugins.parameters import InputPath
from splitsec.plugins.source import ANY, Availability, Catalogue, ImageParameters, Source
from splitsec.progress import Progress


class FolderParameters(ImageParameters):
    """Parameters of a folder with a CSV."""

    path: InputPath = Field("", description="folder of the images")
    csv: InputPath = Field("labels.csv", description="the CSV; relative to the folder, or absolute")
    image_column: str = Field("image", description="column of file names, extension optional")
    label_column: str = Field("label", description="column of classes, any text or number")
    group_column: str = Field("", description="column of patients, kept together; empty: none")
    classes: Annotated[str, AfterValidator(check_mapping)] = Field(
        "",
        description="which labels are one class, such as 0:healthy,1-4:ill; empty: each label",
    )


class LabelledFolder(Source[FolderParameters]):
    """Images of a folder, labelled by a CSV."""

    Parameters: ClassVar[type[FolderParameters]] = FolderParameters

    def __init__(self, parameters: FolderParameters) -> None:
        super().__init__(parameters)
        self._files: list[Path] = []

    def availability(self) -> Availability:
        """Report which parameters a person must give."""
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
        folder = user_path(given.path)
        csv = folder / user_path(given.csv)
        columns = [given.image_column, given.label_column]
        table = read_csv(csv, columns + ([given.group_column] if given.group_column else []))
        self._files = find_images(folder, column_of(table, given.image_column, csv))
        labels, classes = classes_of(column_of(table, given.label_column, csv), given.classes)
        groups = np.arange(len(table))
        if given.group_column:
            groups = groups_of(column_of(table, given.group_column, csv))
        return Catalogue(
            keys=np.arange(len(table)),
            labels=labels,
            groups=groups,
            classes=classes,
            pools=np.full(len(table), ANY),
            fingerprint=fingerprint(self._files),
            names=tuple(file.name for file in self._files),
            disclosures=()
            if given.group_column
            else ("no patients are named: images of one patient may be in several parts",),
        )

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Read the images."""
        return decode_files([self._files[key] for key in keys], size, channels, progress)
