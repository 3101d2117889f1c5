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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from splitsec.data.decoding import decode_files
from splitsec.data.files import fingerprint
from splitsec.data.unpacked import UnpackedFolder, UnpackedParameters
from splitsec.errors import DataError, reason
from splitsec.folders import data_folder
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.source import ANY, SHIFTED, Catalogue, Task
from splitsec.progress import Progress

_FOLDER, _FILMS, _MASKS = "Lung Segmentation", "CXR_png", "masks"
_MONTGOMERY, _SHENZHEN = "MCUCXR_", "CHNCXR_"
_THREADS = 4
_GREY_MODES = ("1", "L", "I", "I;16", "I;16B", "I;16L")
_STRAY = 0.001  # share of grey pixels away from edges that a mask may have


class _Pair(NamedTuple):
    film: Path
    mask: Path


class LungSegmentation(UnpackedFolder[UnpackedParameters]):
    """Frontal chest X-rays of two hospitals, with masks of both lungs."""

    Parameters: ClassVar[type[UnpackedParameters]] = UnpackedParameters
    task: ClassVar[Task] = "segmentation"
    name: ClassVar[str] = "lung-segmentation"
    archive: ClassVar[str] = "chest-xray-masks-and-labels"
    holds: ClassVar[str] = _FOLDER

    def __init__(self, parameters: UnpackedParameters) -> None:
        super().__init__(parameters)
        self._pairs: list[_Pair] = []

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
            pools[[pair.film.name.startswith(_MONTGOMERY) for pair in self._pairs]] = SHIFTED
        return Catalogue(
            keys=np.arange(count),
            labels=np.zeros(count, np.int64),
            groups=np.arange(count),
            classes=(),
            pools=pools,
            fingerprint=fingerprint([file for pair in self._pairs for file in pair]),
            disclosures=_disclosures(unmasked, count),
            names=tuple(pair.film.name for pair in self._pairs),
            shuffled_by=self.shuffled_by,
        )

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Read the films."""
        return decode_files([self._pairs[key].film for key in keys], size, channels, progress)

    def decode_masks(self, keys: Sequence[int], size: int, progress: Progress) -> NDArray[np.uint8]:
        """Read the masks, see :func:`decode_mask`."""
        masks = np.empty((len(keys), 1, size, size), np.uint8)
        pairs = [self._pairs[key] for key in keys]
        with (
            progress.stage("reading masks", len(keys)) as stage,
            ThreadPoolExecutor(_THREADS) as pool,
        ):
            decoded = pool.map(lambda pair: decode_mask(pair.mask, pair.film, size), pairs)
            for row, mask in enumerate(decoded):
                masks[row] = mask
                stage.advance()
        return masks


def _pairs(films: Path, masks: Path) -> tuple[list[_Pair], int]:
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
            pairs.append(_Pair(films / name, masks / own))
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


def decode_mask(path: Path, film: Path, size: int) -> NDArray[np.uint8]:
    """Read one mask, average it down with antialiasing, and threshold it at one half.

    Args:
        path: path of the mask: black is outside, its brightest value is lung.
        film: X-ray of the mask, which must have the same size.
        size: height and width of the result in pixels.

    Returns:
        Shape (1, size, size), 1 in the lungs and 0 elsewhere.

    Raises:
        DataError: either file is unreadable, they differ in size, or the mask is empty, full, or
            grey away from edges.
    """
    mask = _pixels(path)
    try:
        with Image.open(film) as image:
            extent = (image.height, image.width)
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        raise DataError(f"cannot read the image {film}: {reason(error)}") from error
    if mask.shape != extent:
        raise DataError(
            f"the mask {path} has {mask.shape[1]}x{mask.shape[0]} pixels, but its X-ray "
            f"{film.name} has {extent[1]}x{extent[0]}"
        )
    lungs = Image.fromarray(_binary(mask, path).astype(np.uint8) * 255)
    small = np.asarray(lungs.resize((size, size), Image.Resampling.BILINEAR))
    return (small >= 128).astype(np.uint8)[None]


def _pixels(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode in _GREY_MODES else image.convert("L"))
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        raise DataError(f"cannot read the mask {path}: {reason(error)}") from error


def _binary(mask: NDArray[Any], path: Path) -> NDArray[np.bool_]:
    """Return the pixels of a mask that are lung.

    Grey is valid between black and white, since software that resizes masks smooths their edges.
    """
    top = int(mask.max())
    if not top:
        raise DataError(f"the mask {path} has no lung: all its pixels are black")
    dark, bright = mask <= 0.1 * top, mask >= 0.9 * top
    if not dark.any():
        raise DataError(f"the mask {path} has no background: none of its pixels is black")
    grey = ~(dark | bright)
    if grey.any():
        edges = maximum_filter(mask, 5) - minimum_filter(mask, 5) >= 0.8 * top
        stray = float((grey & ~edges).mean())
        if stray > _STRAY:
            raise DataError(
                f"the mask {path} is not binary: {stray:.1%} of its pixels are grey, and not "
                "along an edge"
            )
    binary: NDArray[np.bool_] = mask >= 0.5 * top
    return binary
