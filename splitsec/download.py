"""Downloads files, with limits on the seconds of silence and on the total time."""

from __future__ import annotations

import hashlib
import threading
import time
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal

Algorithm = Literal["sha256", "md5"]

_BLOCK_BYTES = 1 << 18


class DownloadError(Exception):
    """A download failed or was given up; the text says why."""


@dataclass(frozen=True)
class Patience:
    """Limits on waiting for a network.

    Attributes:
        silence_seconds: limit for a connection or for more bytes.
        total_seconds: limit for everything, from looking up the server's name to the last byte.
    """

    silence_seconds: float = 10.0
    total_seconds: float = 120.0


def download(
    url: str,
    target: Path,
    digest_prefix: str,
    patience: Patience,
    algorithm: Algorithm = "sha256",
) -> None:
    """Download a file, through the proxies and certificates that the environment names.

    Args:
        url: what to download.
        target: path to write it to; its content after an error is invalid.
        digest_prefix: first hexadecimal digits of the file's checksum, or all of them.
        patience: when to give up.
        algorithm: algorithm of the publisher's checksum.

    Raises:
        DownloadError: the server could not be reached, fell silent, took too long, or sent
            another file.
    """
    outcome: list[str | BaseException] = []
    deadline = time.monotonic() + patience.total_seconds

    def work() -> None:
        try:
            outcome.append(_transfer(url, target, algorithm, patience.silence_seconds, deadline))
        except BaseException as error:
            outcome.append(error)

    # A thread, since looking up a name has no time limit of its own; a daemon, so that a thread
    # that hangs does not keep the program alive.
    worker = threading.Thread(target=work, name="download", daemon=True)
    worker.start()
    worker.join(patience.total_seconds)
    if worker.is_alive():
        raise DownloadError(f"not finished after {patience.total_seconds:g} seconds")
    found = outcome[0]
    if isinstance(found, (OSError, HTTPException, ValueError)):
        raise DownloadError(f"{type(found).__name__}: {found}") from None
    if isinstance(found, BaseException):
        raise found
    if not found.startswith(digest_prefix.lower()):
        raise DownloadError(
            f"the {algorithm.upper()} of what came, {found}, does not begin with {digest_prefix}"
        )


def _transfer(
    url: str, target: Path, algorithm: Algorithm, silence_seconds: float, deadline: float
) -> str:
    """Write ``url`` to ``target`` and return its checksum in hexadecimal digits."""
    # Systems under FIPS rules allow MD5 only if it is not used for security.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "splitsec"})
    with (
        urllib.request.urlopen(request, timeout=silence_seconds) as answer,
        target.open("wb") as file,
    ):
        while block := answer.read1(_BLOCK_BYTES):
            if time.monotonic() > deadline:
                raise TimeoutError("took too long")
            file.write(block)
            digest.update(block)
        expected = answer.headers.get("Content-Length")
        if expected is not None and file.tell() != int(expected):
            raise ConnectionError(f"ended after {file.tell()} of {expected} bytes")
    return digest.hexdigest()
