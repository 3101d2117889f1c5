"""Imports plug-ins from the very bytes that are hashed, and never from bytecode.

Python would run what it finds in ``__pycache__``, a ``.pyc`` or an extension module instead of the
source. A :class:`.Source` is read once; its modules are compiled from it and hashed from it. This
holds for plug-ins of a path, of installed packages, and for those that splitsec comes with.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from splitsec.errors import PluginError
from splitsec.plugins.names import FOLDERS
from splitsec.plugins.source_code import Source, read_source

_OURS = f"{__name__.partition('.')[0]}."
_ROOMS = frozenset(_OURS + room for room in FOLDERS.values())
_TOOLBOX = f"{__package__}.toolbox"


class _Loader(SourceFileLoader):
    """Compiles a module from a source that has been read."""

    def __init__(self, name: str, path: str, source: Source) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the source, whatever bytecode lies beside it."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code

    def get_data(self, path: str | bytes) -> bytes:
        """Return a file of the source; others are missing."""
        content = self._source.content(str(path))
        if content is None:
            raise FileNotFoundError(f"{path!r} is not part of the plug-in's source")
        return content


class _Finder:
    """Finds the modules of sources; it is asked before all other finders."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of a module, or None if it belongs to no source.

        Raises:
            ModuleNotFoundError: the module's package is a source, which has no such module.
            PluginError: what Python would import lies in a plug-in's folder, but is not hashed.
        """
        if _is_built_in(name) and name not in self.sources:
            _read_built_in(self.sources, name, path)
        for root, source in self.sources.items():
            if name == root or name.startswith(f"{root}."):
                found = _module(name, source, "/".join(name.split(".")[root.count(".") + 1 :]))
                if found is None:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
                return found
        return self._by_path(name, path)

    def _by_path(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Find a module of a source that goes by another name, as its folder is on the path."""
        outside = [source for root, source in self.sources.items() if not _is_ours(root)]
        found = PathFinder.find_spec(name, path) if outside else None
        if found is None or not found.has_location or found.origin is None:
            return None
        for source in outside:
            if not Path(found.origin).is_relative_to(source.path):
                continue
            if found.origin.endswith(".py") and source.content(found.origin) is not None:
                return _specification(name, source, found.origin, found.submodule_search_locations)
            raise PluginError(
                f"{source.path.name} imports {found.origin}, which is not part of its source: only "
                "Python files that are hashed are imported"
            )
        return None


FINDER = _Finder()


def install() -> None:
    """Have modules of plug-ins compiled from their sources from now on, in this process."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)


def import_source(name: str, source: Source) -> ModuleType:
    """Import a source under a module's name, anew if it was imported before.

    Raises:
        Exception: whatever its code raises.
    """
    install()
    _forget(name)
    FINDER.sources[name] = source
    return importlib.import_module(name)


def source_of(name: str) -> Source:
    """Return the source that a built-in plug-in, or the toolbox, is imported from in this process.

    Args:
        name: the module's name.
    """
    install()
    if name not in FINDER.sources:
        parent = importlib.import_module(name.rpartition(".")[0])
        _read_built_in(FINDER.sources, name, parent.__path__)
    return FINDER.sources[name]


def source_of_package(name: str, place: Path) -> Source:
    """Return the source that an installed package is imported from in this process.

    What was imported of it before, by other code and perhaps from bytecode, is forgotten.

    Args:
        name: name of the package.
        place: its file or folder.
    """
    if _is_ours(f"{name}."):
        raise PluginError("an installed plug-in is not a part of splitsec itself")
    install()
    known = FINDER.sources.get(name)
    if known is None or known.path != place:
        _forget(name)
        known = FINDER.sources[name] = read_source(place)
    return known


def _forget(name: str) -> None:
    for loaded in [name, *(key for key in sys.modules if key.startswith(f"{name}."))]:
        sys.modules.pop(loaded, None)


def _is_ours(root: str) -> bool:
    return root.startswith(_OURS)


def _is_built_in(name: str) -> bool:
    return name == _TOOLBOX or name.rpartition(".")[0] in _ROOMS


def _read_built_in(known: dict[str, Source], name: str, path: Sequence[str] | None) -> None:
    """Read the source of a built-in plug-in at its first import."""
    stem = name.rpartition(".")[2]
    for folder in map(Path, path or ()):
        for place in (folder / stem, folder / f"{stem}.py"):
            if (place / "__init__.py").is_file() or place.is_file():
                known[name] = read_source(place)
                return


def _module(name: str, source: Source, inside: str) -> ModuleSpec | None:
    """Return the specification of a module at a path within a source."""
    if "" in source.files:
        return None if inside else _specification(name, source, str(source.path), None)
    folder = f"{inside}/" if inside else ""
    places = [str(source.path / inside)]
    if f"{folder}__init__.py" in source.files:
        file = str(source.path / folder / "__init__.py")
        return _specification(name, source, file, places)
    if f"{inside}.py" in source.files:
        return _specification(name, source, str(source.path / f"{inside}.py"), None)
    if any(file.startswith(folder) for file in source.files):  # a folder without __init__.py
        spaces = ModuleSpec(name, None, is_package=True)
        spaces.submodule_search_locations = places
        return spaces
    return None


def _specification(
    name: str, source: Source, file: str, places: Sequence[str] | None
) -> ModuleSpec | None:
    return spec_from_file_location(
        name,
        file,
        loader=_Loader(name, file, source),
        submodule_search_locations=None if places is None else list(places),
    )
