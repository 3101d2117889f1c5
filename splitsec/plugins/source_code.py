"""The source of plug-ins: its files, the hash of their bytes, and the hash of what they do."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from splitsec.errors import PluginError

_MOST_FILE_BYTES = 64 << 20
_MOST_FILES = 1000
_COMPILED = {
    ".pyc",
    ".pyo",
    ".so",
    ".pyd",
    ".dll",
    ".dylib",
    ".pth",
    ".zip",
    ".egg",
    ".whl",
    ".pyz",
}
_BYTECODE_FOLDER = "__pycache__"


@dataclass(frozen=True)
class Source:
    """A plug-in's source as it was read once: what is hashed is what is compiled.

    Attributes:
        path: its file or folder.
        files: content of each file, by its path within the folder; a single file's is empty.
    """

    path: Path
    files: Mapping[str, bytes]

    @cached_property
    def sha256(self) -> str:
        """See :func:`source_sha256`."""
        digest = hashlib.sha256()
        for name, content in self._texts():
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    @cached_property
    def code(self) -> str:
        """See :func:`code_sha256`."""
        digest = hashlib.sha256()
        for name, content in self._texts():
            digest.update(f"{name}\0{_counted(name, content)}\0".encode())
        return digest.hexdigest()

    @property
    def places(self) -> list[Path]:
        """Where its files are."""
        return [self.path / inside if inside else self.path for inside in self.files]

    def content(self, file: str) -> bytes | None:
        """Return the content of a file of it by its whole path, or None if it has no such file."""
        place = Path(file)
        if not place.is_relative_to(self.path):
            return None
        inside = place.relative_to(self.path).as_posix()
        return self.files.get("" if inside == "." else inside)

    def _texts(self) -> Iterator[tuple[str, bytes]]:
        """Yield each file with its path; Python files have the line ends of Unix."""
        for name, content in self.files.items():
            is_python = not name or name.endswith(".py")
            yield name, content.replace(b"\r\n", b"\n") if is_python else content


def read_source(path: Path) -> Source:
    """Read a plug-in's source.

    Raises:
        PluginError: see :func:`own_files`.
        OSError: a file cannot be read.
    """
    files = {file.relative_to(path).as_posix(): file.read_bytes() for file in own_files(path)}
    return Source(path, {"" if name == "." else name: content for name, content in files.items()})


def own_files(source: Path) -> list[Path]:
    """Return the files that a plug-in consists of, in order: its code and what it reads.

    Of a folder these are all files, except in hidden folders and those of bytecode, and except
    hidden files: a plug-in can neither import nor read them.

    Raises:
        PluginError: a link that leads elsewhere, a device, compiled code, or too much.
    """
    home = source if source.is_dir() and not source.is_symlink() else source.parent
    _check_file(source, home)
    if not source.is_dir():
        if source.exists() and source.suffix != ".py":
            raise PluginError(f"{source} is not Python source; a plug-in is a .py file or a folder")
        return [source]
    found: list[Path] = []
    for place, folders, files in os.walk(source):
        folders[:] = [one for one in folders if not one.startswith(".") and one != _BYTECODE_FOLDER]
        for name in folders:
            if (folder := Path(place, name)).is_symlink():
                raise PluginError(f"{folder} is a link to a folder; a plug-in's files are its own")
        found += [Path(place, name) for name in files if not name.startswith(".")]
        if len(found) > _MOST_FILES:
            raise PluginError(f"{source} holds more than {_MOST_FILES:,} files")
    for file in found:
        _check_file(file, source)
        if file.suffix.lower() in _COMPILED:
            raise PluginError(
                f"{file} is compiled code or an archive, which nobody can review; a plug-in's code "
                "is Python source"
            )
    return sorted(found)


def _check_file(file: Path, home: Path) -> None:
    """Refuse what may have other files read, or be read for ever."""
    if not file.resolve().is_relative_to(home.resolve()):
        raise PluginError(f"{file} is a link to somewhere else; a plug-in's files are its own")
    if not file.is_file() and not (file.is_dir() and file.suffix != ".py"):
        raise PluginError(f"{file} is no file that can be read")
    if file.stat().st_size > _MOST_FILE_BYTES:
        raise PluginError(f"{file} is larger than {_MOST_FILE_BYTES:,} bytes")


def joint_hash(hashes: Sequence[str]) -> str:
    """Return one hash of several, in order; of one itself."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def changed_source(label: str) -> PluginError:
    """Return the error about a source that is no longer the one that was hashed."""
    return PluginError(f"the source of {label} has been changed since the run began; run it again")


def source_files(source: Path) -> dict[str, bytes]:
    """Return a plug-in's files, by paths that begin with its file's or folder's name."""
    read = read_source(source)
    return {Path(source.name, name).as_posix(): content for name, content in read.files.items()}


def source_sha256(source: Path) -> str:
    """Return the SHA-256 of a plug-in's source, the same on every platform.

    It tells whether a source is the very one that a record names.

    Args:
        source: a file, or a folder whose files are hashed in order of their paths.

    Raises:
        PluginError: see :func:`own_files`.
    """
    return read_source(source).sha256


def code_sha256(source: Path) -> str:
    """Return the SHA-256 of what a plug-in's source does: its syntax trees and its other files.

    Comments, docstrings and layout are left out, so that rewording a docstring leaves a cell the
    same cell. A file that is no Python source, or cannot be parsed, counts with its bytes.

    Args:
        source: a file, or a folder of which every file counts.

    Raises:
        PluginError: see :func:`own_files`.
    """
    return read_source(source).code


def _counted(name: str, content: bytes) -> str:
    """Return what counts of a file."""
    if not name or name.endswith(".py"):
        return _of_code(content)
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=128)  # a grid loads the same few plug-ins for every cell
def _of_code(text: bytes) -> str:
    """Return what counts of a file's code."""
    try:
        return json.dumps(_plain(_without_docstrings(ast.parse(text))))
    except (SyntaxError, ValueError, RecursionError):
        return hashlib.sha256(text).hexdigest()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """Take out texts that stand alone: docstrings, and descriptions of constants."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                setattr(node, name, [one for one in body if not _is_text(one)])
    return tree


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _plain(node: Any) -> Any:
    """Return a syntax tree as JSON values, the same under every version of Python.

    Fields that are empty are left out: later versions of Python have some that earlier ones lack.
    """
    if isinstance(node, ast.AST):
        fields = {name: _plain(value) for name, value in ast.iter_fields(node) if name != "kind"}
        filled = {name: value for name, value in fields.items() if value not in (None, [])}
        return [type(node).__name__, filled]
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if node is None or isinstance(node, str):
        return node
    return [type(node).__name__, repr(node)]
