"""The index of a folder's records: always what the records say, and never in the way."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from splitsec.errors import DataError
from splitsec.records import index as indexing
from splitsec.records.index import brief_records, index_of, load_brief_records
from splitsec.records.record import Record
from splitsec.records.store import load_records, write_record
from support.records import make_record


def store(folder: Path, count: int = 3) -> list[Record]:
    return [
        write_record(
            folder / f"cell{i}", make_record(seed=i).model_copy(update={"cell_id": f"{i:064x}"})
        )
        for i in range(count)
    ]


def leakages(records: list[Record]) -> list[float | None]:
    return [None if one.leakage is None else one.leakage.value for one in records]


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_it_gives_what_ranks_the_records(tmp_path: Path, told: list[str]) -> None:
    records = store(tmp_path)
    for _ in range(2):
        briefs = brief_records(tmp_path, told.append)
        for full, brief in zip(records, briefs, strict=True):
            for name in (
                "cell_id",
                "status",
                "spec",
                "threat_model",
                "leakage",
                "utility",
                "flags",
            ):
                assert getattr(brief, name) == getattr(full, name)
            assert brief.victims is None
    assert load_brief_records([tmp_path], told.append) == briefs
    assert not told


def test_records_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path)
    brief_records(tmp_path, print)
    read: list[Path] = []
    original = indexing.read_file
    monkeypatch.setattr(indexing, "read_file", lambda file: read.append(file) or original(file))
    brief_records(tmp_path, print)
    assert not read
    changed = make_record(seed=1).model_copy(
        update={"cell_id": f"{1:064x}", "flags": ["in-process", "randomised-defense"]}
    )
    write_record(tmp_path / "cell1", changed)
    briefs = brief_records(tmp_path, print)
    assert read == [tmp_path / "cell1" / "record.json"]
    assert briefs[1].flags == ["in-process", "randomised-defense"]


def test_what_is_gone_is_gone(tmp_path: Path) -> None:
    store(tmp_path)
    assert len(brief_records(tmp_path, print)) == 3
    (tmp_path / "cell0" / "record.json").unlink()
    assert [one.cell_id for one in brief_records(tmp_path, print)] == [
        f"{one:064x}" for one in (1, 2)
    ]
    write_record(tmp_path / "deeper" / "cell9", make_record(seed=9))
    assert len(brief_records(tmp_path, print)) == 3


def test_a_record_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    store(tmp_path)
    brief_records(tmp_path, print)
    file = tmp_path / "cell0" / "record.json"
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 77'))
    told: list[str] = []
    assert len(brief_records(tmp_path, told.append)) == 2
    (sentence,) = told
    assert sentence.startswith(f"left out: {file} is not what was written")


def test_a_record_of_equal_size_and_time_is_read_again(tmp_path: Path) -> None:
    store(tmp_path)
    file = tmp_path / "cell0" / "record.json"
    before = brief_records(tmp_path, print)[0]
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    other = make_record(seed=7).model_copy(update={"cell_id": f"{0:064x}"})
    write_record(tmp_path / "cell0", other)
    os.utime(file, ns=times)
    after = brief_records(tmp_path, print)[0]
    assert (before.spec.seed, after.spec.seed) == (0, 7)


@pytest.mark.parametrize("damage", ["text", "version", "empty"])
def test_a_damaged_index_is_made_again(damage: str, tmp_path: Path, told: list[str]) -> None:
    records = store(tmp_path)
    brief_records(tmp_path, told.append)
    file = index_of(tmp_path)
    if damage == "text":
        file.write_text("no database, but a text that is long enough to be looked at" * 20)
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        with sqlite3.connect(file) as index:
            index.execute("UPDATE about SET version = 'another'")
            index.execute("UPDATE records SET brief = '{}'")
    assert leakages(brief_records(tmp_path, told.append)) == leakages(records)
    assert not told


def test_where_there_can_be_no_index_all_records_are_read(tmp_path: Path, told: list[str]) -> None:
    records = store(tmp_path)
    index_of(tmp_path).mkdir(parents=True)
    assert leakages(brief_records(tmp_path, told.append)) == leakages(records)
    assert "all records are read" in told[0]


def test_nothing_there(tmp_path: Path) -> None:
    for read in (lambda: load_brief_records([tmp_path], print), lambda: load_records([tmp_path])):
        with pytest.raises(DataError, match=r"no record\.json"):
            read()
