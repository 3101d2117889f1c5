"""Writes files atomically, and hashes them."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from splitsec.errors import OutputError


def write_atomically(
    path: Path,
    write: Callable[[Path], None],
    named: Callable[[Path], Path] | None = None,
    flush: bool = True,
) -> None:
    """Write a file beside its place, flush it to the disk, and move it there in one step.

    Args:
        path: path of the file.
        write: writes the file to the path in its argument.
        named: returns the file's path after writing, if its content decides the path.
        flush: whether to wait for the disk. Without it, a power cut may leave a file that is not
            whole, so whoever reads it must check it.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            if flush:
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(named(temporary) if named else path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically.

    Raises:
        OutputError: the folder cannot be written.
    """

    def write(there: Path) -> None:
        there.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically.

    Raises:
        OutputError: the folder cannot be written.
    """

    def write(there: Path) -> None:
        there.write_bytes(content)

    write_atomically(path, write)


def sha256_of_content(path: Path) -> str:
    """Return the SHA-256 of a file's content, or of a folder's files and their names.

    Raises:
        OSError: it is missing, unreadable, or neither a file nor a folder.
    """
    if path.is_file():
        return sha256_of(path)
    if not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such file or folder", str(path))
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
