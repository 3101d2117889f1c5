"""The record of a cell, and what is kept beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitsec.cells.cell import Cell
from splitsec.cells.panel import draw_curves, draw_panel
from splitsec.cells.results import Findings
from splitsec.data.parts import Data
from splitsec.records.record import INVALIDATING, PROTOCOL_VERSION, Provenance, Record, Status
from splitsec.records.store import keep_artifact, write_record
from splitsec.records.trained_models import write_weights


def make_record(
    cell: Cell,
    data: Data,
    status: Status,
    reason: str | None,
    provenance: Provenance,
    findings: Findings,
) -> Record:
    """Return the record of a cell from what it yielded."""
    return Record(
        protocol=PROTOCOL_VERSION,
        cell_id=cell.cell_id(data.sha256),
        status=status,
        reason=reason,
        spec=cell.spec,
        data={
            "sha256": data.sha256,
            "classes": list(data.classes),
            "balance": data.balance(),
            "disclosures": list(data.disclosures),
        },
        provenance=provenance,
        flags=sorted(findings.flags, key=lambda name: (name not in INVALIDATING, name)),
        notes=findings.notes,
        timings={name: round(seconds, 3) for name, seconds in findings.timings.items()},
        peak_memory_bytes=_peak_memory_bytes(),
        **findings.fields,
    )


def _peak_memory_bytes() -> int | None:
    """Return this process's largest resident size so far; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def write_cell(folder: Path, record: Record, findings: Findings) -> Record:
    """Write what a cell leaves behind, and the record last: one that is there has its artifacts."""
    made: dict[str, str] = {}

    def keep(name: str, suffix: str, write: Callable[[Path], None]) -> None:
        made[name] = keep_artifact(folder, suffix, write)

    pictures = {name: _bytes(images) for name, images in findings.pictures.items()}
    if pictures:
        keep("pictures", ".npz", lambda path: _save(path, pictures))
    if findings.panel:
        keep("panel", ".png", lambda path: draw_panel(path, **findings.panel))
    if record.history:
        keep("curves", ".png", lambda path: draw_curves(path, record))
    for name, named in findings.models.items():
        keep(name, ".safetensors", partial(write_weights, named=named))
    return write_record(folder, record.model_copy(update={"artifacts": made}))


def _bytes(images: NDArray[Any]) -> NDArray[Any]:
    """Return images in [0, 1] as bytes; other arrays as they are."""
    if images.dtype != np.float32:
        return images
    scaled: NDArray[Any] = np.rint(255 * images).clip(0, 255).astype(np.uint8)
    return scaled


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
