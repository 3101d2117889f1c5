"""The source code of plug-ins: its files, the hash of its bytes, and the hash of what it does."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any


def source_files(source: Path) -> dict[str, bytes]:
    """Return a plug-in's Python source, by paths that begin with its file's or folder's name."""
    found = python_files(source)
    return {file.relative_to(source.parent).as_posix(): file.read_bytes() for file in found}


def python_files(source: Path) -> list[Path]:
    """Return the file that a plug-in is, or the Python files of its folder in order."""
    return sorted(source.rglob("*.py")) if source.is_dir() else [source]


def source_sha256(source: Path) -> str:
    """Return the SHA-256 of a plug-in's Python source, the same on every platform.

    It tells whether a source is the very one that a record names.

    Args:
        source: a file, or a folder whose ``.py`` files are hashed in order of their paths.
    """
    digest = hashlib.sha256()
    for name, text in _texts(source):
        digest.update(f"{name}\0{len(text)}\0".encode())
        digest.update(text)
    return digest.hexdigest()


def code_sha256(source: Path) -> str:
    """Return the SHA-256 of what a plug-in's source does: its syntax trees.

    Comments, docstrings and layout are left out, so that rewording a docstring leaves a cell the
    same cell. A file that cannot be parsed counts with its bytes.

    Args:
        source: a file, or a folder of which every ``.py`` file counts.
    """
    digest = hashlib.sha256()
    for name, text in _texts(source):
        digest.update(f"{name}\0{_content(text)}\0".encode())
    return digest.hexdigest()


@lru_cache(maxsize=128)  # a grid loads the same few plug-ins for every cell
def _content(text: bytes) -> str:
    """Return what counts of a file's text."""
    try:
        return json.dumps(_plain(_without_docstrings(ast.parse(text))))
    except (SyntaxError, ValueError, RecursionError):
        return hashlib.sha256(text).hexdigest()


def _texts(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each file's path within the source, and its text with the line ends of Unix."""
    for file in python_files(source):
        relative = file.relative_to(source).as_posix() if source.is_dir() else ""
        yield relative, file.read_bytes().replace(b"\r\n", b"\n")


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
