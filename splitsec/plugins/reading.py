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
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

from splitsec.errors import PluginError
from splitsec.plugins.source_code import Source

_FRAMEWORK = f"{__name__.partition('.')[0]}."
_SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/dev", "/opt", "/System"]
_PACKAGES = {"site-packages", "dist-packages"}

_OPENED = {"open": 0, "import": 1, "ctypes.dlopen": 0, "sqlite3.connect": 0}
"""Events that name a file which is read or run, and the place of its path."""

_watched: dict[str, Source] = {}  # by the name of the source's module
_given: set[str] = set()  # files and folders that parameters name; their content is hashed
_made: set[str] = set()  # files that plug-ins made themselves


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
    """Let plug-ins read files or folders that their parameters name."""
    _given.update(os.path.realpath(Path(path).expanduser()) for path in paths)


def _hear(event: str, told: tuple[Any, ...]) -> None:
    if event == "os.rename":
        if _made and os.path.realpath(os.fsdecode(told[0])) in _made:
            _made.add(os.path.realpath(os.fsdecode(told[1])))
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


def _opener(frame: FrameType | None) -> Source | None:
    """Return the source that opens a file, through whatever packages; None if splitsec does."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        owner = _owner(module, frame.f_code.co_filename)
        if owner is not None:
            return owner
        if module.startswith(_FRAMEWORK):
            return None
        frame = frame.f_back
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
    elif reads and Path(file).exists() and not Path(file).is_dir() and not _may_read(file):
        raise PluginError(
            f"{source.path.name} reads {file}, which its hash does not cover; put the file into "
            "the plug-in's folder, or name it with a parameter of the type InputPath"
        )


def _may_read(file: str) -> bool:
    for source in _watched.values():
        if _is_in(file, str(source.path)):
            return source.content(file) is not None or file in _made
    return file in _made or any(_is_in(file, place) for place in (*_places(), *_given))


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
    ours = str(Path(__file__).parents[1])
    found = {os.path.realpath(path) for path in {ours, *pythons, *packages, *caches, *_SYSTEM}}
    return sorted(found - {os.sep})
