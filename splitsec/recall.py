"""A finished request is known again without resolving it.

Resolving imports torch and every plug-in, and a cell's id needs its images; neither is needed to
see that nothing was changed since. What a request led to is kept in the store, with the hashes of
all that it depends on: the code, the plug-ins' sources, the fingerprints of the data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from splitsec.data.source import Source
from splitsec.data.sources import get_source
from splitsec.data.spec import DataSpec
from splitsec.errors import DataError, SplitsecError
from splitsec.parameters import Parameters
from splitsec.plugins import KINDS, folder_of, source_sha256
from splitsec.record import Record, load_record
from splitsec.storage import folder_of as record_folder_of
from splitsec.storage import write_text

if TYPE_CHECKING:
    from splitsec.cell import Cell


class _Data(BaseModel):
    spec: DataSpec
    fingerprint: str


class _Known(BaseModel):
    """What a request led to.

    Attributes:
        plugins: source file or folder to its hash.
        data: with their fingerprints.
        cells: folder of the record to the cell's id.
    """

    model_config = ConfigDict(extra="forbid")

    plugins: dict[str, str]
    data: list[_Data]
    cells: dict[str, str]


def recall(store: Path, request: Mapping[str, Any]) -> list[Record] | None:
    """Return the records of a request that was finished before, if nothing was changed since.

    Args:
        store: folder of records.
        request: JSON values that decide the cells.

    Returns:
        Records that are all ok or skipped, in the order of the cells; else None.
    """
    file = _file(store, request)
    try:
        known = _Known.model_validate_json(file.read_text(encoding="utf-8"))
        if any(source_sha256(Path(path)) != digest for path, digest in known.plugins.items()):
            return None
        if any(_fingerprint(one.spec) != one.fingerprint for one in known.data):
            return None
        records = [load_record(store / folder) for folder in known.cells]
    except (OSError, UnicodeDecodeError, ValidationError, SplitsecError):
        return None  # the long way says what is wrong
    for record, cell_id in zip(records, known.cells.values(), strict=True):
        if record.cell_id != cell_id or record.status not in ("ok", "skipped"):
            return None
    return records


def remember(
    store: Path, request: Mapping[str, Any], cells: Sequence[Cell], records: Sequence[Record]
) -> None:
    """Keep what a finished request led to.

    Args:
        store: folder of records.
        request: JSON values that decide the cells.
        cells: all of its cells.
        records: theirs, in any order; nothing is kept unless all are there, ok or skipped.

    Raises:
        OutputError: the store cannot be written.
    """
    by_spec = {one.spec.model_dump_json(): one for one in records}
    ordered = [by_spec.get(cell.spec.model_dump_json()) for cell in cells]
    done = [one for one in ordered if one is not None and one.status in ("ok", "skipped")]
    if len(done) < len(cells):
        return
    specs = {cell.data_spec().model_dump_json(): cell.data_spec() for cell in cells}
    chosen = [one.plugin for cell in cells for one in cell.chosen]
    try:
        data = [_Data(spec=spec, fingerprint=_fingerprint(spec)) for spec in specs.values()]
    except DataError:  # it was there when the cells ran
        return
    known = _Known(
        plugins={str(Path(one.source).resolve()): one.sha256 for one in chosen},
        data=data,
        cells={record_folder_of(Path(), one.spec, one.cell_id).name: one.cell_id for one in done},
    )
    write_text(_file(store, request), known.model_dump_json(indent=1) + "\n")


def _file(store: Path, request: Mapping[str, Any]) -> Path:
    folders = [Path(__file__).parent, *(folder_of(kind) for kind in KINDS)]
    depends = {
        "request": request,
        "code": [source_sha256(folder) for folder in folders],
        "profiles": hashlib.sha256((folders[0] / "profiles.toml").read_bytes()).hexdigest(),
        "from": str(Path.cwd()),  # paths of plug-ins are relative to it
    }
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    return store / ".requests" / f"{digest[:24]}.json"


def _fingerprint(spec: DataSpec) -> str:
    source: Source[Parameters] = get_source(spec.source, spec.parameters)
    return source.catalogue(spec).fingerprint
