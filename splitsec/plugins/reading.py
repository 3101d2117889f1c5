"""Refuses files that a plug-in reads although its hash does not cover them.

A method that reads its weights from a file that nobody hashes could be another method tomorrow.
Python tells an audit hook of every file that it opens and every library that it loads. This finds
mistakes and plain tricks; code that means harm can read a file without Python, and what it can read
then is up to the sandbox.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.machinery import all_suffixes
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from splitsec.errors import PluginError
from splitsec.plugins.names import FOLDERS
from splitsec.plugins.source_code import Source

_FRAMEWORK = f"{__name__.partition('.')[0]}."
_ROOT = str(Path(__file__).parents[1])
_SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/dev", "/opt", "/System"]
_CODE = tuple(all_suffixes())
_PACKAGES = {"site-packages", "dist-packages"}

_OPENED = {"open": 0, "import": 1, "ctypes.dlopen": 0, "sqlite3.connect": 0}
"""Events that name a file which is read or run, and the place of its path."""

_MOVED = {"os.mkdir": 1, "os.remove": 1, "os.rename": 2, "os.link": 2}
"""Events that make, move or remove files, and how many paths they begin with."""

_watched: dict[str, Source] = {}  # by the name of the source's module
_given: set[str] = set()  # files and folders that parameters name; their content is hashed
_made: set[str] = set()  # files and folders that plug-ins made themselves
_only_plugins = False  # whether threads of this process are started by plug-ins alone


def watch(name: str, source: Source) -> None:
    """Refuse files that this source reads and does not have in its hash, from now on.

    Args:
        name: the module that the source is imported as.
        source: the source.
    """
    _places()  # as they are before any of its code runs
    if not _watched:
        sys.addaudithook(_hear)  # for good: Python has no way to remove one
    _watched[name] = source
    _owner.cache_clear()


def give(paths: Iterable[str]) -> None:
    """Let plug-ins read files or folders: what their parameters name, or an empty one of theirs."""
    _given.update(os.path.realpath(Path(path).expanduser()) for path in paths)


def expect_only_plugins() -> None:
    """Count threads in which no code of splitsec runs as the plug-in's: so in a guest's process."""
    global _only_plugins  # noqa: PLW0603 - of the process, like the hook
    _only_plugins = True


def _hear(event: str, told: tuple[Any, ...]) -> None:
    if event in _MOVED:
        _hear_of_a_move(event, told)
        return
    opened = _OPENED.get(event)
    file = told[opened] if opened is not None else None
    # A library's name without a folder is the system's; the rest of "import" events have no file.
    if not isinstance(file, str | bytes) or (event == "ctypes.dlopen" and os.sep not in str(file)):
        return
    source = _opener(sys._getframe(1))
    if source is not None:
        mode, flags = told[1:3] if event == "open" else ("r", 0)
        _check(source, os.path.realpath(os.fsdecode(file)), mode, flags)


def _hear_of_a_move(event: str, told: tuple[Any, ...]) -> None:
    """Follow files and folders that a plug-in makes, moves, links to or removes."""
    source = _opener(sys._getframe(2))
    if source is None or isinstance(told[0], int):
        return
    paths = [os.path.realpath(os.fsdecode(path)) for path in told[: _MOVED[event]]]
    if event == "os.mkdir":
        if not os.path.lexists(paths[0]):
            _made.add(paths[0])
    elif event == "os.remove":
        _made.discard(paths[0])
    elif Path(paths[0]).exists():
        _refuse_unknown(source, paths[0])
        _made.add(paths[1])


def _opener(frame: FrameType | None) -> Source | None:
    """Return the source that opens a file, through whatever packages; None if splitsec does.

    A thread may have been told to open a file by code that is not among its callers.
    """
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        owner = _owner(module, frame.f_code.co_filename)
        if owner is not None:
            return owner
        if module.startswith(_FRAMEWORK) and frame.f_code.co_filename.startswith(_ROOT):
            return None
        frame = frame.f_back
    if _only_plugins and threading.current_thread() is not threading.main_thread():
        return next(iter(_watched.values()), None)
    return None


@lru_cache(maxsize=4096)
def _owner(module: str, file: str) -> Source | None:
    """Return the source that a module's code is from."""
    for name, source in _watched.items():
        if f"{module}.".startswith(f"{name}."):
            return source
        if module != "__main__" and source.content(file) is not None:
            return source
    return None


def _check(source: Source, file: str, mode: str | None, flags: int) -> None:
    writes = not set(mode).isdisjoint("wxa") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))
    empties = not set(mode).isdisjoint("wx") if mode else bool(flags & (os.O_TRUNC | os.O_EXCL))
    reads = "r" in mode or "+" in mode if mode else not flags & os.O_WRONLY
    if writes and (empties or not os.path.lexists(file)):
        _made.add(file)
    elif reads and Path(file).exists() and (mode is None or not Path(file).is_dir()):
        _refuse_unknown(source, file)  # os.open() of a folder leads to the files in it


def _refuse_unknown(source: Source, file: str) -> None:
    if _may_read(file):
        return
    advice = (
        "install the package that it belongs to, or put it into the plug-in's folder"
        if file.endswith(_CODE)
        else "put the file into the plug-in's folder, or name it with a parameter of the type "
        "InputPath"
    )
    raise PluginError(f"{source.path.name} reads {file}, which its hash does not cover; {advice}")


def _may_read(file: str) -> bool:
    for source in _watched.values():
        if _is_in(file, str(source.path)):
            return source.content(file) is not None or file in _made
    return any(_is_in(file, place) for place in (*_made, *_places(), *_given))


def _is_in(file: str, place: str) -> bool:
    return file == place or file.startswith(place + os.sep)


@cache
def _places() -> list[str]:
    """Return the places of Python, its packages, splitsec, the system, and packages' caches."""
    pythons = {
        sys.prefix,
        sys.base_prefix,
        *sysconfig.get_paths().values(),
        *site.getsitepackages(),
    }
    packages = {path for path in sys.path if Path(path).name in _PACKAGES}
    home = Path("~").expanduser() if "HOME" in os.environ else None
    caches = {str(path) for path in home.glob(".*") if path.is_dir()} if home else set()
    rooms = [find_spec(f"{_FRAMEWORK}{room}") for room in FOLDERS.values()]
    ours = {
        _ROOT,
        *(path for room in rooms if room for path in room.submodule_search_locations or ()),
    }
    found = {os.path.realpath(path) for path in {*ours, *pythons, *packages, *caches, *_SYSTEM}}
    return sorted(found - {os.sep})
