"""704 real chest X-rays with masks of the lungs (Montgomery and Shenzhen, Kaggle).

Kaggle's "chest-xray-masks-and-labels" unpacks to ``Lung Segmentation/CXR_png`` and ``Lung
Segmentation/masks``. Of about 800 films 704 have a mask: 138 from Montgomery County (``MCUCXR_*``,
whose masks have the film's name) and 566 from Shenzhen (``CHNCXR_*``, whose masks end in
``_mask``). With a shifted public population, the attacker's images are Montgomery's and all other
parts are from Shenzhen.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from splitsec.data.decoding import decode_files
from splitsec.data.masks import MaskValues, Pair, decode_masks
from splitsec.data.unpacked import UnpackedFolder, UnpackedParameters
from splitsec.errors import DataError, reason
from splitsec.folders import data_folder
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.source import ANY, SHIFTED, Catalogue, Task
from splitsec.progress import Progress

_FOLDER, _FILMS, _MASKS = "Lung Segmentation", "CXR_png", "masks"
_MONTGOMERY, _SHENZHEN = "MCUCXR_", "CHNCXR_"


class LungSegmentationParameters(UnpackedParameters):
    """Parameters of the chest X-rays."""

    mask_values: MaskValues = Field(
        "",
        description="values of a mask that are lung: 1, 1+2, 128-255; empty: masks have two values "
        "(the publishers' have), and the brighter one is lung",
    )


class LungSegmentation(UnpackedFolder[LungSegmentationParameters]):
    """Frontal chest X-rays of two hospitals, with masks of both lungs."""

    Parameters: ClassVar[type[LungSegmentationParameters]] = LungSegmentationParameters
    task: ClassVar[Task] = "segmentation"
    name: ClassVar[str] = "lung-segmentation"
    archive: ClassVar[str] = "chest-xray-masks-and-labels"
    holds: ClassVar[str] = _FOLDER

    def __init__(self, parameters: LungSegmentationParameters) -> None:
        super().__init__(parameters)
        self._pairs: list[Pair] = []

    def usual_places(self) -> list[Path]:
        """Return the data folder's subfolders with either name, and the ``data`` inside them."""
        roots = [data_folder() / name for name in (self.name, self.archive)]
        return roots + [root / "data" for root in roots]

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List all films that have a mask."""
        root = self.found()
        self._pairs, unmasked = _pairs(root / _FOLDER / _FILMS, root / _FOLDER / _MASKS)
        count = len(self._pairs)
        pools = np.full(count, ANY, dtype=f"<U{len(SHIFTED)}")
        if spec.public_from == "shifted":
            pools[[pair.image.name.startswith(_MONTGOMERY) for pair in self._pairs]] = SHIFTED
        return Catalogue(
            keys=np.arange(count),
            labels=np.zeros(count, np.int64),
            groups=np.arange(count),
            classes=(),
            pools=pools,
            disclosures=_disclosures(unmasked, count),
            names=tuple(pair.image.name for pair in self._pairs),
            shuffled_by=self.shuffled_by,
        )

    def files(self) -> Sequence[Path]:
        """Return the images' files."""
        return [pair.image for pair in self._pairs]

    def mask_files(self) -> Sequence[Path]:
        """Return the masks' files."""
        return [pair.mask for pair in self._pairs]

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Read the films."""
        return decode_files([self._pairs[key].image for key in keys], size, channels, progress)

    def decode_masks(self, keys: Sequence[int], size: int, progress: Progress) -> NDArray[np.uint8]:
        """Read the masks."""
        pairs = [self._pairs[key] for key in keys]
        return decode_masks(pairs, size, self.parameters.mask_values, progress)


def _pairs(films: Path, masks: Path) -> tuple[list[Pair], int]:
    """Return films with their masks, and how many films have none.

    Raises:
        DataError: a folder cannot be read, a film is of neither hospital, or none has a mask.
    """
    present = set(_names(masks))
    pairs, unmasked = [], 0
    for name in _names(films):
        if not name.startswith((_MONTGOMERY, _SHENZHEN)):
            raise DataError(
                f"{films / name} is of neither hospital: its name begins with neither "
                f"{_MONTGOMERY} nor {_SHENZHEN}"
            )
        own = name if name.startswith(_MONTGOMERY) else f"{Path(name).stem}_mask.png"
        if own in present:
            pairs.append(Pair(films / name, masks / own))
        else:
            unmasked += 1
    if not pairs:
        raise DataError(
            f"none of the {unmasked} films in {films} has a mask in {masks}; expected masks named "
            f"{_MONTGOMERY}*.png and {_SHENZHEN}*_mask.png"
        )
    return pairs, unmasked


def _names(folder: Path) -> list[str]:
    """Return the sorted names of a folder's PNG files, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file()]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {reason(error)}") from None
    return sorted(
        name for name in names if name.lower().endswith(".png") and not name.startswith(".")
    )


def _disclosures(unmasked: int, count: int) -> tuple[str, ...]:
    patients = "the publishers name no patients: each X-ray counts as a patient of its own"
    if not unmasked:
        return (patients,)
    return (patients, f"{unmasked} of {unmasked + count} X-rays have no mask and are left out")
