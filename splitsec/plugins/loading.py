"""Finding and loading plug-ins: attacks, defenses, targets and data sources.

The file is the registration. A plug-in is named by ``name`` (built in), ``distribution/name``
(an entry point of an installed package), ``./file.py``, ``./folder``, or any path followed by
``:Class``. Listing reads files as text and imports nothing, so a broken plug-in breaks only
itself.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from splitsec.errors import PluginError, UsageError, unknown_name
from splitsec.plugins.importing import import_source, source_of, source_of_package
from splitsec.plugins.installed import installed_plugins
from splitsec.plugins.module_files import module_file, package_of
from splitsec.plugins.names import (
    FOLDERS,
    KINDS,
    METHODS,
    PLURALS,
    Kind,
    PluginPath,
    may_follow,
    names_in,
    path_of,
    plain_name,
    split_class,
    unknown_plugin,
)
from splitsec.plugins.plugin_classes import BASES, OTHERWISE, own_classes
from splitsec.plugins.reading import watch
from splitsec.plugins.source_code import (
    Source,
    changed_source,
    joint_hash,
    own_files,
    read_source,
)


class PluginListing(NamedTuple):
    """One plug-in that ``splitsec list`` shows."""

    name: str
    summary: str
    origin: str


@dataclass(frozen=True)
class Plugin:
    """A loaded plug-in class and where it came from.

    Attributes:
        kind: attack, defense, target or data.
        name: plain name, such as ``fsha``.
        spec: how it was asked for, such as ``./mine.py:Mine``.
        cls: the class.
        source: its file or folder.
        sha256: of its source.
        code: hash of what its source does, see :func:`.source_code.code_sha256`.
        parts: the defenses of a composition, in order; empty for all else.
    """

    kind: Kind
    name: str
    spec: str
    cls: type[Any]
    source: str
    sha256: str
    code: str
    parts: tuple[Plugin, ...] = ()

    @property
    def label(self) -> str:
        """How errors name it, such as ``attack 'fsha'``."""
        return f"{self.kind} {self.name!r}"


def folder_of(kind: Kind) -> Path:
    """Return the folder of the built-in plug-ins of a kind."""
    spec = importlib.util.find_spec(f"splitsec.{FOLDERS[kind]}")
    if spec is None or not spec.submodule_search_locations:
        raise PluginError(f"the built-in {PLURALS[kind]} are not installed; reinstall splitsec")
    return Path(next(iter(spec.submodule_search_locations)))


def _builtin(kind: Kind) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder_of(kind).iterdir()):
        if path.name.startswith(("_", ".")):
            continue
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            name = path.stem.replace("_", "-")
            if name in found:
                raise PluginError(f"{kind} {name!r} is defined twice: {found[name]} and {path}")
            found[name] = path
    return found


def _installed(kind: Kind) -> Mapping[str, metadata.EntryPoint]:
    return installed_plugins(f"splitsec.{PLURALS[kind]}")


def summary_of(path: Path) -> str:
    """Return the first line of a plug-in's docstring without importing it."""
    file = path / "__init__.py" if path.is_dir() else path
    try:
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    except (SyntaxError, ValueError, OSError) as error:
        return f"(unreadable: {error})"
    return docstring.strip().splitlines()[0] if docstring else ""


def list_plugins(kind: Kind) -> list[PluginListing]:
    """Return all plug-ins of a kind that have a name, importing none of them."""
    builtin = [
        PluginListing(name, summary_of(path), "built in") for name, path in _builtin(kind).items()
    ]
    installed = [
        PluginListing(name, _summary_of_installed(point), name.split("/")[0])
        for name, point in sorted(_installed(kind).items())
    ]
    return builtin + installed


def _summary_of_installed(point: metadata.EntryPoint) -> str:
    """Return the first line of an installed plug-in's docstring, or else its module."""
    try:
        return summary_of(module_file(point.module)) or f"installed: {point.value}"
    except PluginError as error:
        return f"(unreadable: {error})"


def existing_path(what: str, spec: str) -> PluginPath | None:
    """Return :func:`path_of`, of a file or folder that is there.

    Args:
        what: the kind, or another word for it, in errors.
        spec: as for :func:`load_plugin`.

    Raises:
        UsageError: there is none.
        PluginError: what is there cannot be a plug-in's source.
    """
    found = path_of(spec)
    if found is not None:
        if not found.path.exists():
            raise UsageError(f"{what} {spec!r}: there is no {found.path}")
        own_files(found.path)
    return found


def plugin_path(kind: Kind, spec: str) -> Path | None:
    """Return the file or folder that a plug-in is asked for by, or None if it goes by a name.

    Raises:
        UsageError: there is none, or its records would be taken for a built-in one's.
    """
    found = existing_path(kind, spec)
    if found is None:
        return None
    name = plain_name(spec)
    if name in _builtin(kind):
        raise UsageError(
            f"{kind} {spec!r} would be recorded as {name!r}, which is built in; "
            "rename the file, or use the built-in by its name"
        )
    return found.path


def absolute_spec(kind: Kind, spec: str) -> str:
    """Return how a plug-in is asked for from another working folder."""
    file, (_, class_name) = plugin_path(kind, spec), split_class(spec)
    if file is None:
        return spec
    return f"{file.resolve()}:{class_name}" if class_name else str(file.resolve())


def is_builtin(kind: Kind, spec: str) -> bool:
    """Return whether a plug-in is one that splitsec comes with."""
    known = _builtin(kind)
    return all(name in known for name in names_in(kind, spec))


@cache
def builtin_code(kind: Kind, name: str) -> str | None:
    """Return the hash of a built-in plug-in's code, which is not imported; None for others."""
    known, names = _builtin(kind), names_in(kind, name)
    if not may_follow(names) or not all(one in known for one in names):
        return None
    modules = (f"splitsec.{FOLDERS[kind]}.{known[one].stem}" for one in names)
    return joint_hash([source_of(one).code for one in modules])


def entry_point_of(kind: Kind, spec: str) -> metadata.EntryPoint | None:
    """Return the entry point that a plug-in is asked for by, or None; nothing is imported."""
    return _installed(kind).get(split_class(spec)[0])


def load_plugin(kind: Kind, spec: str, sha256: str | None = None) -> Plugin:
    """Load a plug-in.

    Args:
        kind: attack, defense, target or data.
        spec: a name, ``distribution/name``, a path, or a path with ``:Class``.
        sha256: the hash that its source must have, or None for any.

    Returns:
        The class and its origin.

    Raises:
        UsageError: nothing has that name or path.
        PluginError: the file cannot be imported, does not hold exactly one class, or has changed.
    """
    path, class_name = split_class(spec)
    file = plugin_path(kind, spec)
    if len(names_in(kind, spec)) > 1:
        return _load_composition(spec, sha256)

    def checked(source: Source) -> Source:
        if sha256 not in (source.sha256, None):
            raise changed_source(f"{kind} {plain_name(spec)!r}")
        return source

    if file is not None:
        source = checked(_read_path(kind, file))
        module = _import_path(kind, source)
        named = replace(source, path=file)  # not where a link leads
        return _plugin(kind, plain_name(spec), spec, module, class_name, named)
    entry_points = _installed(kind)
    if path in entry_points:
        package = package_of(entry_points[path].module)
        source = checked(source_of_package(package.name, package.source))
        return _load_installed(kind, spec, entry_points[path], source)
    builtin = _builtin(kind)
    if path not in builtin:
        raise unknown_plugin(
            kind, path, [*builtin, *entry_points], f"splitsec list {PLURALS[kind]}"
        )
    module_name = f"splitsec.{FOLDERS[kind]}.{builtin[path].stem}"
    source = checked(source_of(module_name))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise PluginError(f"{kind} {path!r} cannot be loaded: {_says(error)}") from error
    return _plugin(kind, path, spec, module, class_name, source)


def _load_composition(spec: str, sha256: str | None) -> Plugin:
    from splitsec.plugins.composition import check_names, compose  # it imports torch

    check_names(spec, _builtin("defense"))
    parts = tuple(load_plugin("defense", name) for name in names_in("defense", spec))
    source, code = map(joint_hash, ([p.sha256 for p in parts], [p.code for p in parts]))
    if sha256 not in (source, None):
        raise changed_source(f"defense {spec!r}")
    cls = compose({one.name: one.cls for one in parts})
    return Plugin("defense", spec, spec, cls, str(folder_of("defense")), source, code, parts)


def _load_installed(kind: Kind, spec: str, point: metadata.EntryPoint, source: Source) -> Plugin:
    path, class_name = split_class(spec)
    try:
        loaded = point.load()
    except Exception as error:
        raise PluginError(f"{kind} {path!r} cannot be loaded: {_says(error)}") from error
    module = loaded if isinstance(loaded, ModuleType) else sys.modules[loaded.__module__]
    if source.content(str(module.__file__)) is None:
        raise PluginError(
            f"{kind} {path!r} is a class of {module.__name__}, which is outside its own package"
        )
    wanted = loaded.__name__ if inspect.isclass(loaded) else class_name
    return _plugin(kind, path, spec, module, wanted, source)


def only_kind(spec: str, command: str) -> Kind:
    """Return the only kind of :func:`kinds_of`; several are an error that names ``command``."""
    kinds = kinds_of(spec)
    if len(kinds) > 1:
        how = f"splitsec {command} {kinds[0]} {spec}"
        raise UsageError(
            f"{spec!r} is of several kinds ({', '.join(kinds)}); say which, such as {how}"
        )
    return kinds[0]


def kinds_of(spec: str) -> list[Kind]:
    """Return the kinds of which a spec names a plug-in.

    Args:
        spec: as for :func:`load_plugin`.

    Returns:
        Kinds that have that name, or of which the file defines a class; at least one.

    Raises:
        UsageError: nothing has that name or path.
        PluginError: the file cannot be imported, or defines no plug-in.
    """
    found = existing_path("plug-in", spec)
    if found is None:
        name, _ = split_class(spec)
        names = {kind: [*_builtin(kind), *_installed(kind)] for kind in KINDS}
        kinds = [kind for kind, known in names.items() if name in known]
        if not kinds:
            known = {one for several in names.values() for one in several}
            raise unknown_plugin("plug-in", name, known, "splitsec list attacks")
        return kinds
    file, class_name = found
    module = _import_path("plug-in", _read_path("plug-in", file))
    own = {kind: own_classes(kind, module, class_name) for kind in KINDS}
    kinds = [kind for kind in KINDS if own[kind] and (not class_name or class_name in own[kind])]
    if not kinds:
        bases = ", ".join(name for _, name in BASES.values())
        what = f"no plug-in class {class_name}" if class_name else f"no subclass of {bases}"
        raise PluginError(f"{file} defines {what}")
    return kinds


def _says(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _read_path(kind: str, path: Path) -> Source:
    path = path.resolve()
    if path.is_dir() and not (path / "__init__.py").is_file():
        if (path / "pyproject.toml").is_file():
            raise PluginError(
                f"{kind} {path}: the folder is a project, not a plug-in; pip install it, and "
                "name it as distribution/name (splitsec list shows it)"
            )
        images = f"; for your own images write folder:path={path}" if kind == "data" else ""
        raise PluginError(f"{kind} {path}: the folder has no __init__.py{images}")
    return read_source(path)


def _import_path(kind: str, source: Source) -> ModuleType:
    path = source.path
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    stem = re.sub(r"\W", "_", path.stem)
    name = f"splitsec_{kind.replace('-', '_')}_{stem}_{digest}"
    if kind in METHODS:  # a data set reads images, which count by themselves
        watch(name, source)
    try:
        return import_source(name, source)
    except Exception as error:
        raise PluginError(f"{kind} {path} cannot be loaded: {_says(error)}") from error


def _plugin(
    kind: Kind, name: str, spec: str, module: ModuleType, class_name: str | None, read: Source
) -> Plugin:
    source = read.path
    own = own_classes(kind, module, class_name)
    concrete = {key: value for key, value in own.items() if not inspect.isabstract(value)}
    if class_name is not None:
        if class_name not in own:
            raise PluginError(unknown_name(f"{kind} class in {source}:", class_name, concrete))
        cls = own[class_name]
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
            raise PluginError(f"{kind} class {class_name} in {source} does not define {missing}")
    elif len(concrete) == 1:
        cls = next(iter(concrete.values()))
    elif concrete:
        raise PluginError(
            f"{source} defines several {PLURALS[kind]} ({', '.join(sorted(concrete))}); "
            f"name one as {spec}:Class"
        )
    elif own:
        abstract = next(iter(own.values()))
        missing = ", ".join(sorted(getattr(abstract, "__abstractmethods__", ())))
        raise PluginError(f"{kind} class {abstract.__name__} in {source} does not define {missing}")
    else:
        raise PluginError(
            f"{source} defines no subclass of {'.'.join(BASES[kind])}{OTHERWISE.get(kind, '')}"
        )
    return Plugin(kind, name, spec, cls, str(source), read.sha256, read.code)
