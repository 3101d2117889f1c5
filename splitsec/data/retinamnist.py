"""RetinaMNIST: 1,600 real fundus photographs of 28 x 28 pixels with grades of retinopathy.

Yang et al., "MedMNIST v2", Scientific Data 2023; photographs of DeepDRiD (Liu et al., Patterns
2022), CC BY 4.0. Grade 0 is class 0, grades 1 to 4 are class 1.
"""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from splitsec.data.decoding import resize
from splitsec.data.source import TEST, TRAIN, VALIDATION, Availability, Catalogue, Source
from splitsec.data.spec import DataSpec
from splitsec.errors import DataError, UsageError
from splitsec.folders import cache_folder, data_folder
from splitsec.parameters import Parameters
from splitsec.progress import Progress

_SPLITS = {"train": TRAIN, "val": VALIDATION, "test": TEST}


class RetinaMnistParameters(Parameters):
    """Parameters of RetinaMNIST."""

    path: str = Field("", description="the .npz file; empty: retinamnist/retinamnist.npz")


class _Arrays(NamedTuple):
    images: NDArray[np.uint8]  # (N, 28, 28, 3)
    grades: NDArray[np.int64]  # (N,)
    pools: NDArray[np.str_]  # (N,)
    sha256: str


class RetinaMnist(Source[RetinaMnistParameters]):
    """Real fundus photographs, no retinopathy against any."""

    Parameters: ClassVar[type[RetinaMnistParameters]] = RetinaMnistParameters

    def _file(self) -> Path:
        if self.parameters.path:
            return Path(self.parameters.path).expanduser()
        return data_folder() / "retinamnist" / "retinamnist.npz"

    def availability(self) -> Availability:
        """Say where the file is or would come from."""
        file = self._file()
        if file.is_file():
            return Availability(True, f"found at {file}")
        if importlib.util.find_spec("medmnist") is not None:
            return Availability(True, "will be downloaded by the medmnist package when first used")
        return Availability(
            False,
            f"put retinamnist.npz (medmnist.com) at {file}, or pip install 'splitsec[medmnist]'",
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
        if not file.is_file():
            file = self._download(file)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                images = [arrays[f"{name}_images"] for name in _SPLITS]
                grades = [arrays[f"{name}_labels"].reshape(-1) for name in _SPLITS]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{file} is not RetinaMNIST: {error}") from None
        for image, grade, name in zip(images, grades, _SPLITS, strict=True):
            if image.ndim != 4 or image.shape[3] != 3 or image.dtype != np.uint8:
                raise DataError(f"{file}: {name}_images is {image.dtype} of shape {image.shape}")
            if len(image) != len(grade) or len(image) == 0:
                raise DataError(f"{file}: {name} has {len(image)} images and {len(grade)} labels")
        pools = np.concatenate(
            [
                np.full(len(grade), pool)
                for grade, pool in zip(grades, _SPLITS.values(), strict=True)
            ]
        )
        return _Arrays(
            np.concatenate(images),
            np.concatenate(grades).astype(np.int64),
            pools,
            hashlib.sha256(file.read_bytes()).hexdigest(),
        )

    def _download(self, missing: Path) -> Path:
        if self.parameters.path or importlib.util.find_spec("medmnist") is None:
            raise DataError(f"there is no {missing}; {self.availability().sentence}")
        import medmnist  # noqa: PLC0415 - an optional extra

        folder = cache_folder() / "data" / "retinamnist"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            medmnist.RetinaMNIST(split="train", download=True, root=str(folder))
        except Exception as error:
            raise DataError(
                f"medmnist could not download RetinaMNIST ({error}); "
                f"put retinamnist.npz (medmnist.com) at {missing}"
            ) from None
        return folder / "retinamnist.npz"
