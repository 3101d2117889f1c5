"""Downloads MedMNIST's files from the addresses in the installed medmnist package."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from splitsec.datasets.medmnist.sets import SIZES, MedMnistSet
from splitsec.download import DownloadError, Patience, download
from splitsec.errors import DataError, reason


def package_is_here() -> bool:
    """Return whether the medmnist package, which has the files' addresses, is installed."""
    return importlib.util.find_spec("medmnist") is not None


def fetch(known: MedMnistSet, pixels: int, file: Path, patience: Patience) -> None:
    """Download a set from the address in the installed medmnist package.

    Args:
        known: the set.
        pixels: size of its images.
        file: path to keep it at; written only if complete and with the MD5 that medmnist states.
        patience: when to give up.

    Raises:
        DataError: medmnist cannot be used, the folder cannot be written, or the download failed.
    """
    hint = f"put {known.file_name(pixels)} (medmnist.com) at {file} yourself"
    suffix = "" if pixels == SIZES[0] else f"_{pixels}"
    try:
        from medmnist import INFO

        stated = INFO[known.name]
        url, md5 = stated[f"url{suffix}"], stated[f"MD5{suffix}"]
    except (ImportError, KeyError) as error:
        raise DataError(
            f"the medmnist package does not say where {known.title} is ({reason(error)}); {hint}"
        ) from error
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A temporary folder, so that an abandoned download cannot write after it is removed.
        with tempfile.TemporaryDirectory(dir=file.parent, ignore_cleanup_errors=True) as folder:
            part = Path(folder) / file.name
            download(url, part, md5, patience, "md5")
            part.replace(file)
    except DownloadError as error:
        raise DataError(f"cannot download {known.title} from {url} ({error}); {hint}") from None
    except OSError as error:
        raise DataError(f"cannot keep {known.title} in {file.parent}: {reason(error)}") from None
