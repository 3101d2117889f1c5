"""The data source ``retinamnist``: real fundus photographs from a file of MedMNIST.

Yang et al., MedMNIST v2 (Scientific Data 2023), after DeepDRiD; 1,600 photographs of 28x28
pixels, grades 0 to 4, CC BY 4.0.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from splitsec.data.cache import data_root
from splitsec.data.catalogue import Catalogue, Decoded, Source
from splitsec.data.images import SIGNATURE_SIDE, signature, to_array
from splitsec.errors import DataError
from splitsec.parameters import Parameters
from splitsec.progress import Progress, Stage

HOW_TO_GET = (
    "put retinamnist.npz at {file}, name it with the parameter path, set SPLITSEC_DATA to the "
    'folder that holds retinamnist/retinamnist.npz, or run pip install "splitsec[medmnist]" '
    "and it is downloaded"
)
DISCLOSURE = (
    "RetinaMNIST has up to four photographs per patient and no patient ids: private and public "
    "images may share patients; held-out images come only from its test split"
)
_SPLITS = ("train", "val", "test")
_DOWNLOAD_SECONDS = 60.0


class RetinaMnistParameters(Parameters):
    """Where the file is."""

    path: Path | None = Field(None, description="the .npz file; default below SPLITSEC_DATA")


class RetinaMnist(Source):
    """Private and public images from the train split, validation and held-out from theirs."""

    name = "retinamnist"
    parameter_class = RetinaMnistParameters

    def catalogue(self, progress: Progress) -> Catalogue:
        """Read the file; it is small."""
        assert isinstance(self.parameters, RetinaMnistParameters)
        self._file = self.parameters.path or default_file()
        if not self._file.is_file():
            if self.parameters.path is not None:
                raise DataError(f"there is no file {self._file} (parameter path of retinamnist)")
            _download(self._file, progress)
        arrays = read_npz(self._file)
        self._images = np.concatenate([arrays[f"{split}_images"] for split in _SPLITS])
        grades = np.concatenate([arrays[f"{split}_labels"].ravel() for split in _SPLITS])
        sizes = [len(arrays[f"{split}_images"]) for split in _SPLITS]
        return Catalogue(
            classes=("no retinopathy", "diabetic retinopathy"),
            labels=(grades > 0).astype(np.int64),
            groups=np.arange(len(grades), dtype=np.int64),
            pools=np.repeat(np.arange(3, dtype=np.int64), sizes),
            pool_of={"private": 0, "public": 0, "validation": 1, "held_out": 2},
            disclosures=(DISCLOSURE,),
        )

    def fingerprint(self, rows: NDArray[np.int64]) -> object:
        """Name the file by size and time of change."""
        status = self._file.stat()
        return [status.st_size, status.st_mtime_ns, len(rows), int(rows.sum())]

    def decode(self, rows: NDArray[np.int64], stage: Stage) -> Decoded:
        """Resize the images."""
        size, channels = self.spec.size, self.spec.channels
        images = np.empty((len(rows), channels, size, size), dtype=np.uint8)
        signatures = np.empty((len(rows), SIGNATURE_SIDE, SIGNATURE_SIDE), dtype=np.uint8)
        for place, row in enumerate(rows):
            image = Image.fromarray(self._images[row])
            images[place] = to_array(image, size, channels)
            signatures[place] = signature(image)
            stage.advance()
        return Decoded(images, signatures)


def default_file() -> Path:
    """Return where the file is looked for."""
    return data_root() / "retinamnist" / "retinamnist.npz"


def read_npz(path: Path) -> dict[str, NDArray[np.uint8]]:
    """Read and check the arrays of a MedMNIST file.

    Raises:
        DataError: the file is empty, damaged, or holds other arrays.
    """
    advice = "delete it and get it again, or name another with the parameter path"
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [f"{split}_{kind}" for split in _SPLITS for kind in ("images", "labels")]
            arrays = {name: archive[name] for name in names}
    except KeyError as error:
        raise DataError(f"{path} lacks the array {error}; {advice}") from None
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        reason = "it is empty" if path.stat().st_size == 0 else str(error)
        raise DataError(f"{path} is not a readable .npz file ({reason}); {advice}") from None
    for split in _SPLITS:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        shape = (len(labels), *images.shape[1:3], 3)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape != shape:
            raise DataError(
                f"{path}: {split}_images has shape {images.shape} and type {images.dtype}, not "
                f"({len(labels)}, height, width, 3) and uint8; {advice}"
            )
    return arrays


def _download(file: Path, progress: Progress) -> None:
    """Fetch the file through the medmnist package, which knows its address and checksum."""
    how = HOW_TO_GET.format(file=file)
    try:
        from medmnist import RetinaMNIST  # noqa: PLC0415 - optional
    except ImportError:
        raise DataError(f"RetinaMNIST is not there; {how}") from None
    progress.message(f"downloading RetinaMNIST to {file}")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".download-") as folder:
            RetinaMNIST(split="train", download=True, root=folder)
            shutil.move(Path(folder) / file.name, file)
    except (OSError, RuntimeError) as error:
        raise DataError(f"RetinaMNIST could not be downloaded ({error}); {how}") from None
    finally:
        socket.setdefaulttimeout(before)
