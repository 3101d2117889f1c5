"""Finds a plug-in's source without running any of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from splitsec.errors import PluginError
from splitsec.plugins.loading import Plugin
from splitsec.plugins.source_code import changed_source, read_source


def unchanged_files(plugins: Iterable[Plugin]) -> list[Path]:
    """Return the files that must be visible to load plug-ins: those that are hashed, no others.

    Raises:
        PluginError: a source no longer has the hash in its cell's id, or is missing.
    """
    files: list[Path] = []
    for plugin in (part for one in plugins for part in one.parts or (one,)):
        try:
            source = read_source(Path(plugin.source).resolve())
        except (OSError, PluginError):
            source = None
        if source is None or source.sha256 != plugin.sha256:
            raise changed_source(plugin.label)
        files += source.places
    return files
