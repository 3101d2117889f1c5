"""Records from folders, files and streams."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from splitsec.errors import DataError
from splitsec.record import Record, load_record, read_record


def load_records(paths: Iterable[str | Path]) -> list[Record]:
    """Read all records there are, each cell once.

    Args:
        paths: folders, searched for ``record.json``; such files; or ``.jsonl`` files, as
            ``splitsec eval --json`` prints them.

    Returns:
        Records, in the order of their paths. Of a cell that is there several times, one that
        is ok wins, then the latest.

    Raises:
        DataError: nothing is there, or a record cannot be read.
    """
    found: dict[str, Record] = {}
    for path in map(Path, paths):
        for record in _read(path):
            known = found.get(record.cell_id)
            if known is None or _standing(record) >= _standing(known):
                found[record.cell_id] = record
    return list(found.values())


def _standing(record: Record) -> tuple[bool, str]:
    return record.status == "ok", record.provenance.created


def _read(path: Path) -> list[Record]:
    if path.suffix == ".jsonl":
        return _read_lines(path)
    if not path.is_dir():
        return [load_record(path)]
    files = sorted(path.rglob("record.json"))
    if not files:
        raise DataError(f"there is no record.json under {path}")
    return [load_record(file) for file in files]


def _read_lines(path: Path) -> list[Record]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read records at {path}: {error}") from None
    records = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        records.append(read_record(line, f"{path}, line {number},"))
    return records
