"""The folders that splitsec reads from and writes to by default."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """Return the cache folder, for files that can be made again: decoded images, weights.

    ``SPLITSEC_CACHE`` names it. Otherwise it is ``splitsec`` in the user's cache folder:
    ``XDG_CACHE_HOME`` or ``~/.cache`` on Linux and other Unix systems, ``~/Library/Caches``
    on macOS, ``LOCALAPPDATA`` (or ``~/AppData/Local``) on Windows. It is not created here.
    """
    if named := os.environ.get("SPLITSEC_CACHE"):
        return Path(named).expanduser()
    return user_cache_path("splitsec", appauthor=False, opinion=False)


def data_folder() -> Path:
    """Return the folder in which data sets are searched.

    ``SPLITSEC_DATA`` names it. Otherwise it is ``data`` in :func:`cache_folder`. It is not
    created here.
    """
    if named := os.environ.get("SPLITSEC_DATA"):
        return Path(named).expanduser()
    return cache_folder() / "data"


def medmnist_folder() -> Path:
    """Return the folder of the medmnist package's downloads."""
    return Path("~/.medmnist").expanduser()
