"""Makes the record of a cell from its results, and writes it with its artifacts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitsec.cells.cell import Cell
from splitsec.cells.clients import new_defense
from splitsec.cells.panel import draw_curves, draw_panel
from splitsec.cells.results import CellResult
from splitsec.data.parts import Data
from splitsec.files import write_bytes
from splitsec.records.guarantees import BROKEN, guarantee_of, is_broken
from splitsec.records.image_values import PerImageValues
from splitsec.records.per_image import PER_IMAGE, per_image_bytes
from splitsec.records.record import (
    INVALIDATING,
    LABELS_SHARED,
    PROTOCOL_VERSION,
    Provenance,
    Record,
    Status,
)
from splitsec.records.store import keep_artifact, record_folder, write_record
from splitsec.records.trained_models import write_weights

CURVE_VALUES = 2000
"""Values that the curves of a record have together; a record stays under 100 KB."""

NO_IMAGES = ""
"""Stands for the hash of the images in the id of a cell whose data set does not apply."""


class Ending(NamedTuple):
    """The status of a cell, and the reason if it is not ``"ok"``."""

    status: Status
    reason: str | None = None


def make_record(
    cell: Cell,
    data: Data | None,
    ending: Ending,
    provenance: Provenance,
    result: CellResult,
    seconds: Mapping[str, float],
) -> Record:
    """Return the record of a cell.

    Args:
        cell: the cell.
        data: its images, or None if there are none.
        ending: how it ended.
        provenance: what ran where.
        result: its results; stages that it did not reach are missing in the record, too.
        seconds: stage to its seconds.
    """
    session, scores = result.session, result.scores
    history = {}
    if session is not None:
        history["training"] = dict(session.curves)
    if result.curves is not None:
        history["attack"] = dict(result.curves)
    flags = [
        *(session.flags if session else ()),
        *(scores.flags if scores else ()),
        *result.flags,
    ]
    record = Record(
        protocol=PROTOCOL_VERSION,
        cell_id=cell.cell_id(data.sha256 if data else NO_IMAGES),
        status=ending.status,
        reason=ending.reason,
        spec=cell.spec,
        threat_model=result.threat,
        data={} if data is None else _images(data),
        victims=scores.victims if scores else None,
        leakage=scores.leakage if scores else None,
        labels=scores.labels if scores else None,
        utility=session.utility if session else None,
        access=result.access,
        session=_session(result),
        history=_bounded(history),
        convergence=result.convergence,
        members=result.members,
        flags=sorted(set(flags), key=_prominence),
        notes=[*(session.notes if session else ()), *(scores.notes if scores else ())],
        provenance=provenance,
        timings={name: round(taken, 3) for name, taken in seconds.items()},
        peak_memory_bytes=_peak_memory_bytes(),
    )
    return _with_guarantee(record, cell)


def _with_guarantee(record: Record, cell: Cell) -> Record:
    """Return a record with what its defense proves, and with a flag if the attack refutes it.

    A stranger's defense proves nothing: its code is not known here.
    """
    if not record.session or "defense" in cell.descriptions:
        return record
    u_shaped = record.session["labels"] == "private"
    guarantee = guarantee_of(cell.spec, new_defense(cell), u_shaped=u_shaped)
    if guarantee is None:
        return record
    known = record.model_copy(
        update={"guarantee": guarantee, "notes": [*record.notes, guarantee.in_words()]}
    )
    flags = [*known.flags, *([BROKEN] if is_broken(known) else [])]
    return known.model_copy(update={"flags": sorted(flags, key=_prominence)})


def _bounded(history: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, list[float]]]:
    """Return curves of :data:`CURVE_VALUES` values in all, so that a record stays small.

    Where there are more, long curves are divided into equal stretches, of which they keep the mean.
    """
    lengths = [len(values) for named in history.values() for values in named.values()]
    if sum(lengths) <= CURVE_VALUES:
        return history
    most = CURVE_VALUES // len(lengths)
    return {
        stage: {
            name: values
            if len(values) <= most
            else [float(stretch.mean()) for stretch in np.array_split(np.array(values), most)]
            for name, values in named.items()
        }
        for stage, named in history.items()
    }


def _images(data: Data) -> dict[str, Any]:
    """Return the record's fields about the images."""
    return {
        "sha256": data.sha256,
        "classes": list(data.classes),
        "balance": data.balance(),
        "disclosures": list(data.disclosures),
    }


def _prominence(flag: str) -> tuple[bool, bool, str]:
    """Return the place of a flag: first what leaks without an attack, then what invalidates."""
    return flag != LABELS_SHARED, flag not in INVALIDATING, flag


def _session(result: CellResult) -> dict[str, Any]:
    """Return the record's fields about the sessions: their lengths, and who had the labels."""
    session, mounted = result.session, result.mounted
    lasted: dict[str, Any] = {}
    if session is not None and result.threat is not None:
        lasted = {
            "honest_exchanges": session.exchanges,
            "honest_ended": session.ended,
            "labels": "shared" if LABELS_SHARED in session.flags else "private",
        }
    if mounted is not None:
        lasted |= {"attacked_exchanges": mounted.exchanges, "ended": mounted.ended}
    return lasted


def _peak_memory_bytes() -> int | None:
    """Return this process's largest resident size so far; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def write_cell(store: Path, record: Record, result: CellResult, keep_models: bool) -> Record:
    """Write a cell's artifacts and then its record, so that a record always has its artifacts.

    Args:
        store: folder in which the record's own folder is made.
        record: the record.
        result: holds the artifacts.
        keep_models: whether trained models are kept.

    Returns:
        The record as written.
    """
    folder = record_folder(store, record)
    made: dict[str, str] = {}

    def keep(name: str, suffix: str, write: Callable[[Path], None]) -> None:
        made[name] = keep_artifact(folder, suffix, write)

    values = _per_image(result)
    if values is not None:
        content = per_image_bytes(values)
        keep(PER_IMAGE, ".npz", lambda path: write_bytes(path, content))
    panel = result.scores.panel if result.scores else None
    pictures = dict(result.session.pictures) if result.session else {}
    if result.scores is not None:
        pictures |= {**result.scores.panel.pictures(), **result.scores.ranked}
    if pictures:
        arrays = {name: _bytes(images) for name, images in pictures.items()}
        keep("pictures", ".npz", lambda path: _save(path, arrays))
    if panel is not None:
        keep("panel", ".png", lambda path: draw_panel(path, **panel._asdict()))
    if record.history:
        keep("curves", ".png", lambda path: draw_curves(path, record))
    if keep_models:
        for stage in (result.session, result.mounted):
            for name, named in (stage.weights if stage else {}).items():
                keep(name, ".safetensors", partial(write_weights, named=named))
    return write_record(folder, record.model_copy(update={"artifacts": made}))


def _per_image(result: CellResult) -> PerImageValues | None:
    """Return the values per image of a cell, or None if it measured none."""
    held_out = result.session.held_out if result.session else None
    if held_out is None:
        return None
    scores = result.scores
    if scores is None:
        return PerImageValues(held_out=held_out)
    return PerImageValues(scores.training, replace(scores.held_out, utility=held_out.utility))


def _bytes(images: NDArray[Any]) -> NDArray[Any]:
    """Return images in [0, 1] as bytes; other arrays unchanged."""
    if images.dtype != np.float32:
        return images
    scaled: NDArray[Any] = np.rint(255 * images).clip(0, 255).astype(np.uint8)
    return scaled


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    named: dict[str, Any] = dict(arrays)
    with path.open("wb") as file:
        np.savez_compressed(file, **named)
