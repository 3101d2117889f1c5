"""Finds a plug-in's source without running any of it."""

from __future__ import annotations

from pathlib import Path

from splitsec.errors import PluginError
from splitsec.plugins.loading import Plugin, entry_point_of
from splitsec.plugins.module_files import module_file
from splitsec.plugins.source_code import source_sha256


def source_of_module(name: str) -> Path:
    """Return the source that a plug-in's hash covers: the module's file, or a package's folder."""
    file = module_file(name)
    return file.parent if file.name == "__init__.py" else file


def shown_of(plugin: Plugin) -> Path:
    """Return the file or folder that must be visible to load a plug-in."""
    point = entry_point_of(plugin.kind, plugin.spec)
    if point is None:
        return Path(plugin.source).resolve()
    return source_of_module(point.module.split(".")[0])


def check_unchanged(plugin: Plugin) -> None:
    """Check that a plug-in's source still has the hash in its cell's id.

    Raises:
        PluginError: the source has changed or is missing.
    """
    try:
        same = source_sha256(Path(plugin.source)) == plugin.sha256
    except OSError:
        same = False
    if not same:
        raise PluginError(
            f"the source of {plugin.kind} {plugin.name!r} has been changed since the run began; "
            "run it again"
        )
