"""Decoded images on disk: one memory-mapped array per data set, size and channels.

A cached array is a ``.npy`` file with a ``.json`` file beside it that holds its SHA-256. Both
are written beside their final place and renamed, the ``.json`` last, so a half-written pair
is never taken for a whole one, and processes that build the same array at once replace each
other's equal files.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitsec.data.catalogue import Decoded
from splitsec.progress import Progress

FORMAT = 1
_ARRAYS = ("images", "signatures")


class _Corrupt(Exception):  # noqa: N818 - never leaves this module
    """A cached file does not hold what was written."""


class _Files(NamedTuple):
    images: Path
    signatures: Path
    seal: Path


def cache_root() -> Path:
    """Return the cache folder: ``SPLITSEC_CACHE``, or the platform's folder for caches."""
    given = os.environ.get("SPLITSEC_CACHE")
    if given:
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "splitsec"
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / ".cache") / "splitsec"


def data_root() -> Path:
    """Return the folder of the data sets: ``SPLITSEC_DATA``, or ``data`` in the cache."""
    given = os.environ.get("SPLITSEC_DATA")
    return Path(given).expanduser() if given else cache_root() / "data"


def cached(
    name: str, key: Mapping[str, Any], build: Callable[[], Decoded], progress: Progress
) -> Decoded:
    """Return decoded images from the cache, or build and keep them.

    Args:
        name: of the source; begins the file names.
        key: JSON of everything that decides the pixels.
        build: decodes the images.
        progress: told if a cached file was corrupt, or if the cache cannot be written.

    Returns:
        Images as a read-only memory map, or in memory where the cache cannot be written.
    """
    text = json.dumps([FORMAT, name, key], sort_keys=True, separators=(",", ":"))
    stem = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"
    folder = cache_root() / "images"
    files = _Files(
        folder / f"{stem}.images.npy", folder / f"{stem}.signatures.npy", folder / f"{stem}.json"
    )
    try:
        if files.seal.exists():
            return _read(files)
    except (_Corrupt, OSError) as error:
        progress.message(f"the cached images {files.images} are damaged ({error}); rebuilding them")
    built = build()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(files, built)
        return _read(files)
    except (_Corrupt, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        progress.message(
            f"decoded images are not kept, because the cache folder {folder} cannot be used "
            f"({reason}); SPLITSEC_CACHE can name another"
        )
        return built


def _read(files: _Files) -> Decoded:
    try:
        seal = json.loads(files.seal.read_text(encoding="utf-8"))
        for name in _ARRAYS:
            path: Path = getattr(files, name)
            if _hash_file(path) != seal[name]:
                raise _Corrupt("its contents do not match their hash")
        images = np.load(files.images, mmap_mode="r", allow_pickle=False)
        signatures = np.load(files.signatures, allow_pickle=False)
    except FileNotFoundError:
        raise _Corrupt("a file is missing") from None
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise _Corrupt(str(error) or "unreadable") from None
    return Decoded(images, signatures)


def _write(files: _Files, built: Decoded) -> None:
    hashes = {name: _write_array(getattr(files, name), getattr(built, name)) for name in _ARRAYS}
    seal = json.dumps(hashes, indent=1).encode()
    _replace(files.seal, lambda path: path.write_bytes(seal))


def _write_array(path: Path, values: NDArray[np.uint8]) -> str:
    digests: list[str] = []

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)
        digests.append(_hash_file(temporary))

    _replace(path, write)
    return digests[0]


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name in the same folder, then rename it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
