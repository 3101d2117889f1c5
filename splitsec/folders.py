"""The folders that splitsec reads from and writes to on its own account."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for files that splitsec can make again: decoded images, weights.

    ``SPLITSEC_CACHE`` names it. Otherwise it is ``splitsec`` in the user's cache folder:
    ``XDG_CACHE_HOME`` or ``~/.cache`` on Linux and other Unix systems, ``~/Library/Caches``
    on macOS, ``LOCALAPPDATA`` (or ``~/AppData/Local``) on Windows. It is not created here.
    """
    if named := os.environ.get("SPLITSEC_CACHE"):
        return Path(named).expanduser()
    return _user_cache() / "splitsec"


def data_folder() -> Path:
    """Return the folder where data sets are looked for.

    ``SPLITSEC_DATA`` names it. Otherwise it is ``data`` in :func:`cache_folder`. It is not
    created here.
    """
    if named := os.environ.get("SPLITSEC_DATA"):
        return Path(named).expanduser()
    return cache_folder() / "data"


def _user_cache() -> Path:
    # Compared through a variable, since type checkers prune the branches of other systems.
    system = str(sys.platform)
    if system == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if system == "darwin":
        return Path.home() / "Library" / "Caches"
    named = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification says that a relative path is to be ignored.
    return Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
