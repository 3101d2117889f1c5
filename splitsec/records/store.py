"""Results on disk: written so that a file is either whole or not there, and read back."""

from __future__ import annotations

import glob
import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

from splitsec.errors import DataError
from splitsec.escaping import file_name
from splitsec.files import sha256_of, write_atomically, write_text
from splitsec.records.finding import ReadRecord, read_each
from splitsec.records.official import claimant_of
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.records.signatures import seen_with
from splitsec.records.spec import CellSpec

_ID = 10  # characters of a cell's id in the name of its folder
_LONGEST = 120  # characters; some file systems allow 143 in all


def keep_artifact(folder: Path, suffix: str, write: Callable[[Path], None]) -> str:
    """Write a file among a store's artifacts, where it is called by the hash of its content.

    Args:
        folder: of the record that it belongs to, in the store.
        suffix: of the file, such as ``.png``.
        write: writes it to the path that it is given.

    Returns:
        Its path, relative to the record's folder.

    Raises:
        OutputError: the store cannot be written.
    """
    artifacts = folder.parent / "artifacts"
    name = ""

    def named(temporary: Path) -> Path:
        nonlocal name
        name = sha256_of(temporary) + suffix
        return artifacts / name

    write_atomically(artifacts / f"new{suffix}", write, named)
    return f"../{artifacts.name}/{name}"


def keep_record(output: Path, record: Record, files: Mapping[str, bytes]) -> Record:
    """Write a record that was made in another store, and its artifacts first.

    Args:
        output: folder of records.
        record: the record.
        files: contents of its artifacts, by their names in the record.

    Returns:
        The record as written.

    Raises:
        DataError: an artifact is missing, or is not what it was called by.
        OutputError: the store cannot be written.
    """
    folder = record_folder(output, record)
    for name, called in record.artifacts.items():
        content, file = files.get(name, b""), Path(called)
        if hashlib.sha256(content).hexdigest() != file.stem:
            raise DataError(f"{name} of {record.spec.title()} did not arrive whole")
        keep_artifact(folder, file.suffix, partial(_write, content=content))
    return write_record(folder, record)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def record_folder(output: Path, record: Record) -> Path:
    """Return the folder of one record."""
    return folder_of(output, record.spec, record.cell_id)


Rerun = Literal["all", "failed", "never"]
"""Which cells of a request are run again: all of them, those that failed, or none."""


def stored(
    output: Path, spec: CellSpec, cell_id: str, rerun: Rerun, announce: Callable[[str], None]
) -> Record | None:
    """Return a cell's record where it is there and the cell is not to be run again.

    Args:
        output: folder of records.
        spec: the cell's specification.
        cell_id: its id.
        rerun: ``"failed"`` runs again what is neither ok nor skipped.
        announce: told of a record that cannot be believed; its cell is run again.
    """
    if rerun == "all":
        return None
    folder = find_folder(output, spec, cell_id)
    if not (folder / "record.json").exists():
        return None
    try:
        record = load_record(folder)
    except DataError as error:
        announce(f"{error}; the cell is run again")
        return None
    if record.cell_id != cell_id:
        announce(f"{folder} holds the record of another cell; this one is run")
        return None
    return record if rerun == "never" or record.status in ("ok", "skipped") else None


def stored_for_spec(
    output: Path,
    spec: CellSpec,
    id_with: Callable[[str], str],
    rerun: Rerun,
    announce: Callable[[str], None],
) -> Record | None:
    """Return a cell's usable record as :func:`stored` does, without knowing its images.

    Args:
        output: folder of records.
        spec: the cell's specification.
        id_with: returns the cell's id, given the hash of its images: that of the record is taken.
        rerun: as for :func:`stored`.
        announce: told of a record that cannot be believed.
    """
    name = glob.escape(folder_of(output, spec, "").name)
    for folder in sorted(file.parent for file in output.glob(f"{name}*/record.json")):
        try:
            images = load_record(folder).data.get("sha256", "")
        except DataError as error:
            announce(f"{error}; the cell is run again")
            continue
        record = stored(output, spec, id_with(images), rerun, announce)
        if record is not None:
            return record
    return None


def folder_of(output: Path, spec: CellSpec, cell_id: str) -> Path:
    """Return the folder of a cell's record: what a person recognises it by, and its id."""
    plugins = [spec.named(kind) for kind in ("attack", "defense", "target")]
    where = [
        f"cut{spec.cut_name}",
        spec.named("data"),
        f"{spec.size}px",
        f"seed{spec.seed}",
    ]
    name = "-".join([*plugins, *where, *spec.settings()]).replace(":", "-")
    return output / f"{file_name(name, _LONGEST)}-{cell_id[:_ID]}"


def find_folder(output: Path, spec: CellSpec, cell_id: str) -> Path:
    """Return the folder that a cell's record is in, or else would be written to.

    The name of a folder may change though the cell does not, such as with the name of a file of
    weights, so a folder of another name counts if it ends with the id.
    """
    folder = folder_of(output, spec, cell_id)
    if (folder / "record.json").exists():
        return folder
    other = _names(output).get(cell_id[:_ID])
    if other is None:
        return folder
    try:
        return output / other if load_record(output / other).cell_id == cell_id else folder
    except DataError:
        return folder


def _names(output: Path) -> Mapping[str, str]:
    """Return the names of the folders in a store by the part of the cell's id that ends them."""
    try:
        return _names_at(output, output.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=1)
def _names_at(output: Path, modified: int) -> Mapping[str, str]:
    """Return the names in a folder that was last modified then; cached for grids of many cells."""
    return {one.name[-_ID:]: one.name for one in output.iterdir()}


def write_record(folder: Path, record: Record) -> Record:
    """Write ``record.json`` into a record's folder.

    Returns:
        The record as written, with its seal.

    Raises:
        OutputError: the folder cannot be written.
    """
    record = record.sealed().found_in(folder)
    write_text(folder / "record.json", record.model_dump_json(indent=1) + "\n")
    return record


def check_writable(output: Path) -> None:
    """Raise an OutputError unless files can be made in the folder; creates the folder."""
    write_text(output / ".writable", "")
    (output / ".writable").unlink(missing_ok=True)


class StoredRecord(NamedTuple):
    """A record, and the folder that its pictures are named from; None for one of a stream."""

    record: Record
    folder: Path | None


def warn_left_out(problem: str) -> None:
    """Warn of a record that is left out; what readers do unless they are given something else."""
    warnings.warn(f"left out: {problem}", stacklevel=2)


def load_records(
    paths: Iterable[str | Path],
    left_out: Callable[[str], None] = warn_left_out,
    trusted: frozenset[str] = frozenset(),
) -> list[Record]:
    """Read all records there are, each cell once; see :func:`find_records`."""
    return [found.record for found in find_records(paths, left_out, trusted)]


def find_records(
    paths: Iterable[str | Path],
    left_out: Callable[[str], None] = warn_left_out,
    trusted: frozenset[str] = frozenset(),
) -> list[StoredRecord]:
    """Read all records there are, each cell once, with where each is.

    Args:
        paths: folders, searched for ``record.json``; such files; or ``.jsonl`` files, as
            ``splitsec eval --json`` prints them.
        left_out: told of each record that is left out why it cannot be believed, in a sentence.
        trusted: public keys; what none of them signed is a claim. Without keys each record is what
            it says of itself.

    Returns:
        Records, in the order of their paths, see :func:`each_once`.

    Raises:
        DataError: no record is at one of the paths, or none that can be believed.
    """
    return each_once(
        StoredRecord(seen_with(found.record, trusted), found.folder)
        for path in map(Path, paths)
        for found in _believed(path, read_each(path), left_out)
    )


def _believed(
    path: Path, found: Iterable[ReadRecord], left_out: Callable[[str], None]
) -> list[StoredRecord]:
    """Return the records that can be believed, and tell of the others.

    Raises:
        DataError: there is none.
    """
    believed, problem = [], f"there is no record in {path}"
    for one in found:
        if one.record is None:
            problem = one.problem
            left_out(problem)
        else:
            believed.append(StoredRecord(one.record, one.folder))
    if not believed:
        raise DataError(problem)
    return believed


def each_once(found: Iterable[StoredRecord]) -> list[StoredRecord]:
    """Return each cell's official record once, or else each claimant's record of it.

    Of several official records of a cell, or several of one claimant, one that is ok counts, then
    the one whose folder was named first, whatever its date, then the latest.
    """
    every = list(found)
    key = standing([one.record for one in every])
    cells: dict[tuple[str, str | None], StoredRecord] = {}
    for one in every:
        called = one.record.cell_id, claimant_of(one.record)
        known = cells.get(called)
        if known is None or key(one.record) >= key(known.record):
            cells[called] = one
    return [
        one
        for (cell, claimant), one in cells.items()
        if claimant is None or (cell, None) not in cells
    ]


Standing = tuple[bool, int, str]


def standing(records: Sequence[Record]) -> Callable[[Record], Standing]:
    """Return a key by which the record that counts is the largest of several of one method.

    One that is ok counts, then one of the folder that was named first, then the latest: anybody may
    write a date, but whoever reads records says which come first.

    Args:
        records: all of them, in the order in which they were named.
    """
    named = dict.fromkeys(_store_of(record) for record in records)
    folders = [one for one in named if one is not None]
    stores = {store: place for place, store in enumerate([*folders, None])}  # streams are last

    def key(record: Record) -> Standing:
        return record.status == "ok", -stores[_store_of(record)], record.provenance.created

    return key


def _store_of(record: Record) -> Path | None:
    return None if record.folder is None else record.folder.parent
