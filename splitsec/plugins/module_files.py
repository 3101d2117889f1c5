"""Finds the file of a module without importing anything."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NamedTuple

from splitsec.errors import PluginError
from splitsec.plugins.importing import FINDER


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


class Package(NamedTuple):
    """What a hash of an installed plug-in covers.

    Attributes:
        name: name of a package or module.
        source: its folder, or its file if it is a single one.
    """

    name: str
    source: Path


def package_of(module: str) -> Package:
    """Return the outermost package of a module that is not shared with other distributions.

    Args:
        module: such as ``package.module``.

    Raises:
        PluginError: there is no such module.
    """
    parts = module.split(".")
    found: PluginError | None = None
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        try:
            file = module_file(name)
        except PluginError as error:  # a namespace, which others share
            found = error
            continue
        return Package(name, file.parent if file.name == "__init__.py" else file)
    raise found or PluginError(f"there is no module {module}")


def _find(name: str, path: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if finder is FINDER:  # which remembers what was imported, not what is there
            continue
        found: ModuleSpec | None = finder.find_spec(name, path)
        if found is not None:
            return found
    return None
