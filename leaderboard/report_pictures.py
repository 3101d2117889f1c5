"""The pictures of single patients in a report: what leaks most, and what is usual."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from splitsec.errors import DataError
from splitsec.leaderboard.report_rows import ReportRow
from splitsec.records.artifacts import artifact, check_artifact
from splitsec.records.bounded import LARGEST_RECORD
from splitsec.records.image_values import RANKED
from splitsec.records.per_image import load_per_image
from splitsec.records.record import Record
from splitsec.records.store import StoredRecord

_MOST_PICTURES = 8 * LARGEST_RECORD
_SIDE = 160  # pixels that a small image is enlarged to at least

SHOWN = {"originals": "original", "reconstructions": "recovered", "trivial": "blind guess"}
"""Images of a victim that are shown, in order, and what they are called."""


class ShownVictim(NamedTuple):
    """A victim whose pictures are shown."""

    name: str
    file: str | None
    pictures: tuple[tuple[str, Markup], ...]


def shown_victims(row: ReportRow, *, names: bool) -> list[ShownVictim]:
    """Return the pictures of a row's example; none if they are not kept beside its record."""
    kept = kept_pictures(row.example)
    if kept is None:
        return []
    files = _file_names(row.example.record) if names else ()
    return [
        ShownVictim(
            name,
            files[kept["rows"][place]] if len(files) else None,
            tuple((said, embedded(kept[key][place])) for key, said in SHOWN.items()),
        )
        for place, name in enumerate(RANKED)
    ]


def kept_pictures(found: StoredRecord) -> dict[str, NDArray[Any]] | None:
    """Return the pictures of a record's ranked victims.

    Returns:
        ``rows``, (N,), and the bytes of ``originals``, ``reconstructions`` and ``trivial``,
        (N, C, H, W), for each of :data:`splitsec.records.image_values.RANKED`; None if they are
        missing, or the file holds something else.
    """
    record, folder = found
    if folder is None or "pictures" not in record.artifacts:
        return None
    try:
        file = artifact(folder, record, "pictures")
        check_artifact(file)
        if file.stat().st_size > _MOST_PICTURES:
            return None
        with zipfile.ZipFile(file) as archive:  # its reader stops at the size that is said here
            if any(one.file_size > _MOST_PICTURES for one in archive.infolist()):
                return None
        with np.load(file, allow_pickle=False) as arrays:
            kept = {name: arrays[f"ranked_{name}"] for name in ("rows", *SHOWN)}
    except (DataError, OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    size = (len(RANKED), record.spec.channels, record.spec.size, record.spec.size)
    fits = all(kept[name].shape == size and kept[name].dtype == np.uint8 for name in SHOWN)
    rows = kept["rows"]
    return kept if fits and rows.shape == size[:1] and rows.dtype.kind == "i" else None


def _file_names(record: Record) -> Sequence[str]:
    assert record.leakage is not None
    try:
        values = getattr(load_per_image(record), record.leakage.victims)
    except DataError:
        return ()
    images = None if values is None else values.images
    if images is None or images.names is None:
        return ()
    names = images.names if values.attacked is None else images.names[values.attacked]
    return list(map(str, names))


def embedded(image: NDArray[np.uint8], side: int = _SIDE) -> Markup:
    """Return an image as the source of an ``img``, which loads nothing.

    Args:
        image: shape (C, H, W).
        side: height and width that a small image is enlarged to at least, pixels.
    """
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    times = -(-side // max(picture.size))
    if times > 1:
        size = (picture.width * times, picture.height * times)
        picture = picture.resize(size, Image.Resampling.NEAREST)
    held = io.BytesIO()
    picture.save(held, "PNG")
    return Markup("data:image/png;base64," + base64.b64encode(held.getvalue()).decode("ascii"))
