"""The picture that a record is published with: who leaks most, and who is typical."""

from __future__ import annotations

import io
import struct
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from splitsec.errors import DataError
from splitsec.leaderboard.report_pictures import SHOWN, kept_pictures
from splitsec.records.bounded import read_regular
from splitsec.records.image_values import RANKED
from splitsec.records.store import StoredRecord

PICTURES = "pictures"
"""Folder of the pictures inside the page."""

RANKED_PICTURE = "ranked"
"""Artifact of a published record: the images of :data:`RANKED` victims without any text, a column
each; originals, what was recovered, and the best blind guesses in rows."""

PANEL = "panel"
"""Artifact that older published records have instead: the first victims, with their scores."""

_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST_PICTURE = 20_000_000  # bytes
_PNG_HEAD = 24  # bytes, the last eight of which are width and height


class Picture(NamedTuple):
    """A record's picture: a PNG, named after the hash of its content.

    Attributes:
        artifact: :data:`RANKED_PICTURE` or :data:`PANEL`.
        content: the file.
        width: pixels.
        height: pixels.
    """

    artifact: str
    content: bytes
    width: int
    height: int

    @property
    def file(self) -> str:
        """Its path inside the page."""
        return f"{PICTURES}/{sha256(self.content).hexdigest()}.png"


def picture_of(found: StoredRecord) -> Picture | None:
    """Return a record's picture; None if it has none or the file is missing.

    Raises:
        DataError: it names a file that is not a PNG, or is neither in its own folder nor beside
            it; a submitted record must not publish other files.
    """
    known = _read(found, RANKED_PICTURE)
    if known is not None:
        if known.width % len(RANKED) or known.height % len(SHOWN):
            name = found.record.artifacts[RANKED_PICTURE]
            raise DataError(f"{found.folder}: its picture {name!r} is not of {len(RANKED)} victims")
        return known
    kept = kept_pictures(found)
    return _read(found, PANEL) if kept is None else _ranked(kept)


def _ranked(kept: dict[str, NDArray[np.uint8]]) -> Picture:
    """Return the picture of arrays (N, C, H, W)."""
    rows = [np.concatenate(list(kept[name]), axis=-1) for name in SHOWN]
    pixels = np.concatenate(rows, axis=-2)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())
    held = io.BytesIO()
    picture.save(held, "PNG", optimize=True)
    return Picture(RANKED_PICTURE, held.getvalue(), *picture.size)


def _read(found: StoredRecord, name: str) -> Picture | None:
    file = file_of(found, name, "its picture")
    if file is None:
        return None
    try:
        content = read_regular(file, _LARGEST_PICTURE)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the picture {file}: {error}") from None
    if not content.startswith(_PNG) or len(content) < _PNG_HEAD:
        raise DataError(
            f"{found.folder}: its picture {found.record.artifacts[name]!r} is not a PNG"
        )
    width, height = struct.unpack(">II", content[16:_PNG_HEAD])
    return Picture(name, content, width, height)


def file_of(found: StoredRecord, name: str, what: str) -> Path | None:
    """Return the path of a record's artifact; None if it has none or the file is missing.

    Args:
        found: a record with its folder.
        name: of the artifact.
        what: the same in words, for the error.

    Raises:
        DataError: it is neither in the record's folder nor beside it.
    """
    record, folder = found
    said = record.artifacts.get(name)
    if said is None or folder is None:
        return None
    file = (folder / said).resolve()
    if not file.is_file():
        return None
    if not file.is_relative_to(folder.resolve().parent):
        raise DataError(f"{folder}: {what} {said!r} is not among the records")
    return file
