"""The base of data sets whose images are in one file of MedMNIST's layout."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from splitsec.data.decoding import resize
from splitsec.data.files import user_path
from splitsec.datasets.medmnist.archive import MedMnistFile, read_file, read_images
from splitsec.datasets.medmnist.download import fetch, package_is_here
from splitsec.datasets.medmnist.sets import SET_NAME, SIZES, MedMnistSet, official_sets, set_name
from splitsec.download import Patience
from splitsec.errors import DataError, UsageError, reason, unknown_name
from splitsec.folders import cache_folder, data_folder, medmnist_folder
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.source import Availability, Catalogue, Source
from splitsec.progress import Progress

P = TypeVar("P", bound=Parameters)


class FileWish(NamedTuple):
    """The file that parameters name.

    Attributes:
        known: the set that it holds.
        path: path that a person gave; empty: one of the usual places.
        pixels: size of the images; 0: any, the best for the cell.
    """

    known: MedMnistSet
    path: str
    pixels: int


class LabelledImages(NamedTuple):
    """The labels of a file's images.

    Attributes:
        labels: shape (N,), positions in ``classes``.
        classes: names of the classes.
        disclosures: sentences about the set that a reader of results must know.
        shuffled_by: see :class:`splitsec.plugins.source.Catalogue`. The empty path in it keeps the
            order that images had when it depended on the path.
    """

    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    disclosures: tuple[str, ...]
    shuffled_by: Mapping[str, Any]


class MedMnistSource(Source[P]):
    """Images of one file, in the parts that the publishers fixed.

    Attributes:
        patience: when to give up a download.
    """

    patience: ClassVar[Patience]

    def __init__(self, parameters: P) -> None:
        super().__init__(parameters)
        self._read: MedMnistFile | None = None

    @abstractmethod
    def wish(self) -> FileWish:
        """Return the file that the parameters name.

        Raises:
            UsageError: they name none.
        """

    @abstractmethod
    def labelled(self, file: MedMnistFile, known: MedMnistSet) -> LabelledImages:
        """Return classes and labels.

        Raises:
            DataError: all images have the same class.
            UsageError: the parameters name an unknown class.
        """

    def availability(self) -> Availability:
        """Report where the file is or would come from."""
        wish = self.wish()
        try:
            found = _found(wish)
        except DataError as error:
            return Availability(False, str(error))
        if found:
            return Availability(True, f"found at {', '.join(map(str, found.values()))}")
        return _missing(wish)

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List all images."""
        wish = self.wish()
        if spec.public_from == "shifted":
            raise UsageError(f"{wish.known.name} has no second population; use --public-from same")
        self._read = file = self._load(wish, spec.size)
        labelled = self.labelled(file, wish.known)
        return Catalogue(
            keys=np.arange(len(labelled.labels)),
            labels=labelled.labels,
            groups=np.arange(len(labelled.labels)),
            classes=labelled.classes,
            pools=self.pools(file),
            fingerprint=file.sha256,
            disclosures=(*labelled.disclosures, *_unofficial(file, wish.known)),
            shuffled_by=labelled.shuffled_by,
        )

    def pools(self, file: MedMnistFile) -> NDArray[np.str_]:
        """Return the pool of each image, shape (N,): by default the publishers' split."""
        return file.pools

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Resize images; only these are kept in memory."""
        wish = self.wish()
        file = self._read or self._load(wish, size)
        out = np.empty((len(keys), channels, size, size), np.uint8)
        with progress.stage("reading images", len(keys)) as stage:
            for row, image in read_images(file, wish.known, keys):
                out[row] = resize(Image.fromarray(image), size, channels)
                stage.advance()
        return out

    def _load(self, wish: FileWish, size: int) -> MedMnistFile:
        found = _found(wish)
        if found:
            path = _best(found, size)
        else:
            availability = _missing(wish)
            if not availability.found:
                raise DataError(f"{wish.known.name} is missing: {availability.sentence}")
            pixels = wish.pixels or SIZES[0]
            path = _downloaded(wish.known.name) / wish.known.file_name(pixels)
            fetch(wish.known, pixels, path, self.patience)
        return read_file(path, wish.known)


def sets_here() -> list[str]:
    """Return the names of all sets that have a file in the data folder."""
    try:
        loose = {set_name(file.name) for file in data_folder().glob("*.npz")}
        kept = {
            file.parent.name
            for file in data_folder().glob("*/*.npz")
            if set_name(file.name) == file.parent.name
        }
    except OSError as error:
        raise DataError(f"cannot look into {data_folder()}: {reason(error)}") from None
    return sorted(name for name in loose | kept if re.fullmatch(SET_NAME, name))


def _folders(name: str) -> list[Path]:
    """Return the folders to search for a set's files, the best first."""
    return [data_folder() / name, data_folder(), _downloaded(name), medmnist_folder()]


def _downloaded(name: str) -> Path:
    return cache_folder() / "data" / name


def _found(wish: FileWish) -> dict[int, Path]:
    """Return the available files, by their pixels.

    Raises:
        DataError: a folder cannot be read.
    """
    if wish.path:
        path = user_path(wish.path)
        return {wish.pixels or SIZES[0]: path} if _is_file(path) else {}
    found = {}
    for pixels in [wish.pixels] if wish.pixels else SIZES:
        for folder in _folders(wish.known.name):
            path = folder / wish.known.file_name(pixels)
            if pixels not in found and _is_file(path):
                found[pixels] = path
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise DataError(f"cannot reach {path}: {reason(error)}") from None


def _best(found: dict[int, Path], size: int) -> Path:
    """Return the smallest file with images of at least this size, else the largest."""
    enough = [pixels for pixels in found if pixels >= size]
    return found[min(enough) if enough else max(found)]


def _missing(wish: FileWish) -> Availability:
    """Report how to get a missing file."""
    known, pixels = wish.known, wish.pixels or SIZES[0]
    name = known.file_name(pixels)
    if wish.path:
        wanted = user_path(wish.path)
        what = f"{wanted} is a folder" if wanted.is_dir() else f"there is no file {wanted}"
        needed = f"{name} (medmnist.com)" if known.official else "an .npz file in MedMNIST's layout"
        return Availability(False, f"{what}; 'path' must name {needed}")
    wanted = _folders(known.name)[0] / name
    if not known.official:
        see = f"one of your own belongs at {wanted}"
        said = unknown_name("set of MedMNIST:", known.name, official_sets(), see)
        return Availability(False, said)
    if package_is_here():
        return Availability(
            True, "will be downloaded from where the medmnist package says, when first used"
        )
    return Availability(
        False, f"put {name} (medmnist.com) at {wanted}, or pip install 'splitsec[medmnist]'"
    )


def _unofficial(file: MedMnistFile, known: MedMnistSet) -> tuple[str, ...]:
    if not known.official or file.md5 in known.md5.values():
        return ()
    pixels = file.extent[0]
    stated = known.md5.get(pixels)
    instead = f"not {stated}" if stated else f"and there is no official one of {pixels} px"
    return (
        f"{file.path.name} is not the file that MedMNIST publishes as {known.title}: its MD5 is "
        f"{file.md5}, {instead}",
    )
