"""Finds the file of a module without importing anything."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from splitsec.errors import PluginError


def module_file(name: str) -> Path:
    """Return the file of a module, without importing the packages that it is in.

    Args:
        name: such as ``package.module``.

    Raises:
        PluginError: there is no such module.
    """
    found, path = None, None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        found = _find(".".join(parts[:depth]), path)
        if found is None:
            break
        path = found.submodule_search_locations
    if found is None or found.origin is None:
        raise PluginError(f"there is no module {name}")
    return Path(found.origin)


def _find(name: str, path: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        found: ModuleSpec | None = finder.find_spec(name, path)
        if found is not None:
            return found
    return None
