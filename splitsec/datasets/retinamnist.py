"""1,600 real fundus photographs of 28 px with grades of retinopathy (RetinaMNIST).

Yang et al., "MedMNIST v2", Scientific Data 2023; photographs of DeepDRiD (Liu et al., Patterns
2022), CC BY 4.0. Grade 0 is class 0, grades 1 to 4 are class 1.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from splitsec.data.decoding import reason, resize
from splitsec.data.files import user_path
from splitsec.download import DownloadError, Patience, download
from splitsec.errors import DataError, UsageError
from splitsec.folders import cache_folder, data_folder
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.source import TEST, TRAIN, VALIDATION, Availability, Catalogue, Source
from splitsec.progress import Progress

_SPLITS = {"train": TRAIN, "val": VALIDATION, "test": TEST}
_GRADES = 5
_NAME = "retinamnist.npz"


class RetinaMnistParameters(Parameters):
    """Parameters of RetinaMNIST."""

    path: str = Field("", description="the .npz file; empty: retinamnist/retinamnist.npz")


class _Arrays(NamedTuple):
    images: NDArray[np.uint8]  # (N, height, width, 3)
    grades: NDArray[np.int64]  # (N,)
    pools: NDArray[np.str_]  # (N,)
    sha256: str


class RetinaMnist(Source[RetinaMnistParameters]):
    """Real fundus photographs, no retinopathy against any."""

    Parameters: ClassVar[type[RetinaMnistParameters]] = RetinaMnistParameters

    def _places(self) -> list[Path]:
        if self.parameters.path:
            return [user_path(self.parameters.path)]
        return [data_folder() / "retinamnist" / _NAME, _downloaded()]

    def _file(self) -> Path | None:
        for file in self._places():
            try:
                if file.is_file():
                    return file
            except OSError as error:
                raise DataError(f"cannot reach {file}: {reason(error)}") from None
        return None

    def availability(self) -> Availability:
        """Say where the file is or would come from."""
        try:
            file = self._file()
        except DataError as error:
            return Availability(False, str(error))
        if file is not None:
            return Availability(True, f"found at {file}")
        wanted = self._places()[0]
        if self.parameters.path:
            what = f"{wanted} is a folder" if wanted.is_dir() else f"there is no file {wanted}"
            return Availability(False, f"{what}; 'path' must name {_NAME} (medmnist.com)")
        if importlib.util.find_spec("medmnist") is not None:
            return Availability(
                True, "will be downloaded from where the medmnist package says, when first used"
            )
        return Availability(
            False, f"put {_NAME} (medmnist.com) at {wanted}, or pip install 'splitsec[medmnist]'"
        )

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List all photographs; held-out images come from the publishers' test split only."""
        if spec.public_from == "shifted":
            raise UsageError("retinamnist has no second population; use --public-from same")
        arrays = self._load()
        return Catalogue(
            keys=np.arange(len(arrays.grades)),
            labels=(arrays.grades > 0).astype(np.int64),
            groups=np.arange(len(arrays.grades)),
            classes=("no retinopathy", "retinopathy"),
            pools=arrays.pools,
            fingerprint=arrays.sha256,
            disclosures=(
                "RetinaMNIST has up to four photographs per patient and no patient ids: "
                "private and public images may share patients; held-out images, from the "
                "publishers' test split, do not",
            ),
        )

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Resize photographs."""
        images = self._load().images
        out = np.empty((len(keys), channels, size, size), np.uint8)
        with progress.stage("reading images", len(keys)) as stage:
            for row, key in enumerate(keys):
                out[row] = resize(Image.fromarray(images[key]), size, channels)
                stage.advance()
        return out

    def _load(self) -> _Arrays:
        file = self._file()
        if file is None:
            availability = self.availability()
            if not availability.found:
                raise DataError(f"retinamnist is missing: {availability.sentence}")
            file = _downloaded()
            fetch(file, Patience())
        return read_arrays(file)


def _downloaded() -> Path:
    return cache_folder() / "data" / "retinamnist" / _NAME


def fetch(file: Path, patience: Patience) -> None:
    """Download RetinaMNIST from where the installed medmnist package says that it is.

    Args:
        file: where to keep it; it appears there whole and with the MD5 that medmnist states,
            or not at all.
        patience: when to give up.

    Raises:
        DataError: medmnist cannot be used, the folder cannot be written, or the download failed.
    """
    hint = f"put {_NAME} (medmnist.com) at {file} yourself"
    try:
        from medmnist import INFO

        url, md5 = INFO["retinamnist"]["url"], INFO["retinamnist"]["MD5"]
    except (ImportError, KeyError) as error:
        raise DataError(
            f"the medmnist package does not say where RetinaMNIST is ({reason(error)}); {hint}"
        ) from error
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own: a download that was given up cannot write into one that is gone.
        with tempfile.TemporaryDirectory(dir=file.parent, ignore_cleanup_errors=True) as folder:
            part = Path(folder) / _NAME
            download(url, part, md5, patience, "md5")
            part.replace(file)
    except DownloadError as error:
        raise DataError(f"cannot download RetinaMNIST from {url} ({error}); {hint}") from None
    except OSError as error:
        raise DataError(f"cannot keep RetinaMNIST in {file.parent}: {reason(error)}") from None


def read_arrays(file: Path) -> _Arrays:
    """Read and check a file of RetinaMNIST, of any of its sizes.

    Raises:
        DataError: the file cannot be read or holds something else.
    """
    try:
        content = file.read_bytes()
    except (OSError, MemoryError) as error:
        raise DataError(f"cannot read {file}: {reason(error)}") from None
    try:
        stored = _unpack(content)
    except Exception as error:  # zip, deflate and numpy's headers each raise their own
        raise DataError(
            f"{file} is not RetinaMNIST: {reason(error)}; "
            f"replace it by {_NAME} of medmnist.com, or delete it"
        ) from error
    images = [stored[f"{name}_images"] for name in _SPLITS]
    grades = [stored[f"{name}_labels"].reshape(-1) for name in _SPLITS]
    for image, grade, name in zip(images, grades, _SPLITS, strict=True):
        _check_split(image, grade, name, file)
    if len({image.shape[1:] for image in images}) > 1:
        raise DataError(f"{file}: the splits have images of different sizes")
    sizes = [len(grade) for grade in grades]
    return _Arrays(
        np.concatenate(images),
        np.concatenate(grades).astype(np.int64),
        np.repeat(list(_SPLITS.values()), sizes),
        hashlib.sha256(content).hexdigest(),
    )


def _unpack(content: bytes) -> dict[str, NDArray[Any]]:
    """Return images and labels of each split, by the names that they have in the file."""
    if not content.startswith(b"PK"):  # numpy would take anything else for an array or a pickle
        raise ValueError("it is not an .npz archive" if content else "it is empty")
    with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
        names = [f"{name}_{kind}" for name in _SPLITS for kind in ("images", "labels")]
        stored = {name: loaded[name] for name in names}
    for name, array in stored.items():
        if not isinstance(array, np.ndarray):  # numpy hands members of another kind over as bytes
            raise ValueError(f"{name} is not an array")
    return stored


def _check_split(image: NDArray[Any], grade: NDArray[Any], name: str, file: Path) -> None:
    if image.ndim != 4 or image.shape[3] != 3 or image.dtype != np.uint8 or 0 in image.shape[1:]:
        raise DataError(f"{file}: {name}_images is {image.dtype} of shape {image.shape}")
    if len(image) != len(grade) or len(image) == 0:
        raise DataError(f"{file}: {name} has {len(image)} images and {len(grade)} labels")
    if grade.dtype.kind not in "iuf":
        raise DataError(f"{file}: {name}_labels is {grade.dtype}, not whole numbers")
    wrong = np.flatnonzero(~np.isin(grade, range(_GRADES)))
    if len(wrong):
        found = f"{grade[wrong[0]]} (row {wrong[0]})"
        raise DataError(f"{file}: {name}_labels holds {found}, which is not a grade of 0 to 4")
