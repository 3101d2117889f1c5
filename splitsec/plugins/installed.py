"""Plug-ins of installed packages, by the entry points that the packages declare."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path


def installed_plugins(group: str) -> Mapping[str, metadata.EntryPoint]:
    """Return the entry points of a group, as ``distribution/name``; nothing is imported.

    The metadata of all packages are read again only if the path of modules, or a folder on it,
    has changed: reading them takes longer than loading a plug-in, and a grid loads thousands.
    """
    return _on(group, tuple((folder, _changed(folder)) for folder in sys.path))


@lru_cache(maxsize=16)
def _on(group: str, path: tuple[tuple[str, int | None], ...]) -> Mapping[str, metadata.EntryPoint]:
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=group):
        distribution = point.dist.name if point.dist else "unknown"
        found[f"{distribution}/{point.name}"] = point
    return found


def _changed(folder: str) -> int | None:
    """Return when files were last added to a folder or taken away, or None if there is none."""
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return None
