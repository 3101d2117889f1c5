"""Your own folder of images with a CSV of labels, or with masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from splitsec.data.decoding import decode_files
from splitsec.data.files import (
    column_of,
    find_images,
    find_masks,
    list_images,
    read_csv,
    user_path,
)
from splitsec.data.masks import MaskValues, Pair, decode_masks
from splitsec.errors import DataError, UsageError, reason
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.identifiers import Labels, check_mapping, classes_of, groups_of
from splitsec.plugins.parameters import InputPath
from splitsec.plugins.source import (
    ANY,
    TRAINED,
    Availability,
    Catalogue,
    ImageParameters,
    Source,
    Task,
)
from splitsec.progress import Progress


class FolderParameters(ImageParameters):
    """Parameters of a folder with a CSV."""

    path: InputPath = Field("", description="folder of the images")
    csv: InputPath = Field(
        "labels.csv",
        description="the CSV; relative to the folder, or absolute; empty: with masks=FOLDER, every "
        "image of the folder is used",
    )
    image_column: str = Field("image", description="column of file names, extension optional")
    label_column: str = Field("label", description="column of classes, any text or number")
    group_column: str = Field("", description="column of patients, kept together; empty: none")
    classes: Annotated[str, AfterValidator(check_mapping)] = Field(
        "",
        description="which labels are one class, such as 0:healthy,1-4:ill; empty: each label",
    )
    mask_column: str = Field(
        "", description="column of mask files, beside the images or in masks; empty: none"
    )
    masks: InputPath = Field(
        "",
        description="folder of masks with the names of their images; relative to path, or absolute",
    )
    mask_values: MaskValues = Field(
        "",
        description="values of a mask that count: 1, 1+2, 128-255, #ff0000; empty: masks have two "
        "values, and the brighter one counts",
    )
    trained_on: InputPath = Field(
        "",
        description="a text file with the names of the images that trained the model's weights, "
        "one per line, extension optional; they are private, and in no other part",
    )
    bits: int = Field(
        0,
        ge=0,
        le=16,
        description="bits that grey images stored in 16 use, 8 to 16; 0: all, or an error",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if 0 < self.bits < 8:
            raise ValueError("bits is 8 to 16, or 0")
        if self.mask_values and not self.has_masks:
            raise ValueError("mask_values needs masks: give masks=FOLDER or mask_column=COLUMN")
        if self.classes and self.has_masks:
            raise ValueError("classes is for labels, and images with masks have none")
        if not self.csv and (self.mask_column or self.group_column or not self.masks):
            raise ValueError("without a csv, images have masks=FOLDER and no columns")
        return self

    @property
    def has_masks(self) -> bool:
        """Whether images have masks instead of labels."""
        return bool(self.masks or self.mask_column)


class LabelledFolder(Source[FolderParameters]):
    """Images of a folder, labelled by a CSV or by masks."""

    Parameters: ClassVar[type[FolderParameters]] = FolderParameters

    other_tasks: ClassVar[Mapping[Task, str]] = MappingProxyType(
        {"segmentation": "folder:path=FOLDER,masks=FOLDER"}
    )

    @classmethod
    def task_for(cls, parameters: FolderParameters) -> Task:
        """Return segmentation if there are masks."""
        return "segmentation" if parameters.has_masks else "classification"

    def __init__(self, parameters: FolderParameters) -> None:
        super().__init__(parameters)
        self._files: list[Path] = []
        self._masks: list[Path] = []

    def availability(self) -> Availability:
        """Report which parameters a person must give."""
        return Availability(
            True,
            "any images: --data folder:path=FOLDER,csv=labels.csv,image_column=image,"
            "label_column=label (or masks=FOLDER)",
        )

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List all rows of the CSV, or all images if there is none."""
        if spec.public_from == "shifted":
            raise UsageError("folder has no second population; use --public-from same")
        given = self.parameters
        if not given.path:
            raise UsageError("data 'folder' needs a path: --data folder:path=FOLDER")
        folder = user_path(given.path)
        rows = _rows(folder, given)
        self._files, self._masks = rows.images, rows.masks
        count = len(rows.images)
        return Catalogue(
            keys=np.arange(count),
            labels=np.zeros(count, np.int64) if rows.labels is None else rows.labels.labels,
            groups=np.arange(count) if rows.groups is None else rows.groups,
            classes=() if rows.labels is None else rows.labels.classes,
            pools=_pools(rows.images, given),
            names=tuple(file.name for file in rows.images),
            disclosures=()
            if given.group_column
            else ("no patients are named: images of one patient may be in several parts",),
        )

    def files(self) -> Sequence[Path]:
        """Return the images' files."""
        return self._files

    def mask_files(self) -> Sequence[Path]:
        """Return the masks' files."""
        return self._masks

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Read the images."""
        files = [self._files[key] for key in keys]
        return decode_files(files, size, channels, progress, self.parameters.bits)

    def decode_masks(self, keys: Sequence[int], size: int, progress: Progress) -> NDArray[np.uint8]:
        """Read the masks."""
        pairs = [Pair(self._files[key], self._masks[key]) for key in keys]
        return decode_masks(pairs, size, self.parameters.mask_values, progress)


def _pools(images: Sequence[Path], given: FolderParameters) -> NDArray[np.str_]:
    """Return the pool of each image: ``TRAINED`` for those that trained the model.

    Raises:
        DataError: the file that names them cannot be read, or names what is not there.
    """
    if not given.trained_on:
        return np.full(len(images), ANY)
    file = user_path(given.trained_on)
    try:
        names = {line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()} - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read names of images at {file}: {reason(error)}") from None
    if not names:
        raise DataError(f"{file} names no image; leave trained_on out if nobody knows them")
    whole, stems = {one.name for one in images}, {one.stem for one in images}
    missing = sorted(name for name in names if name not in whole | stems)
    if missing:
        listed = ", ".join(missing[:3])
        raise DataError(
            f"{file} names {len(missing)} images that are not in the data set, such as {listed}; "
            "give one file name per line"
        )
    trained = [one.name in names or one.stem in names for one in images]
    return np.where(trained, TRAINED, ANY)


class _Rows(NamedTuple):
    """What a folder and its CSV list; labels or masks, and groups if patients are named."""

    images: list[Path]
    masks: list[Path]
    labels: Labels | None
    groups: NDArray[np.int64] | None


def _rows(folder: Path, given: FolderParameters) -> _Rows:
    masks_folder = folder / user_path(given.masks)
    if not given.csv:
        images = list_images(folder)
        return _Rows(images, _masks(find_masks(images, folder, masks_folder), images), None, None)
    csv = folder / user_path(given.csv)
    if given.masks and not csv.exists():
        raise DataError(f"there is no CSV at {csv}; write csv= to use every image of {folder}")
    label_column = "" if given.has_masks else given.label_column
    named = (given.image_column, label_column, given.group_column, given.mask_column)
    table = read_csv(csv, [name for name in named if name])
    images = find_images(folder, column_of(table, given.image_column, csv))
    groups = groups_of(column_of(table, given.group_column, csv)) if given.group_column else None
    if not given.has_masks:
        labels = classes_of(column_of(table, given.label_column, csv), given.classes)
        return _Rows(images, [], labels, groups)
    if given.mask_column:
        masks = find_images(masks_folder, column_of(table, given.mask_column, csv), "mask")
    else:
        masks = find_masks(images, folder, masks_folder)
    return _Rows(images, _masks(masks, images), None, groups)


def _masks(masks: list[Path], images: list[Path]) -> list[Path]:
    """Return the masks if none of them is an image."""
    known = {image.resolve() for image in images}
    both = [mask for mask in masks if mask.resolve() in known]
    if both:
        raise DataError(
            f"{both[0]} would be an image and a mask; name the folder or the column of the masks"
        )
    return masks
