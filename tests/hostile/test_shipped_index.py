"""An index that lies beside records may be anybody's: it is never opened."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from splitsec.records import index as indexing
from splitsec.records.index import brief, brief_records, index_of
from splitsec.records.record import Record
from splitsec.records.store import write_record
from support.records import make_record


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path_factory.mktemp("cache")))


def forged(record: Record) -> str:
    assert record.leakage is not None
    leakage = record.leakage.model_copy(update={"value": 0.0})
    return brief(record.model_copy(update={"leakage": leakage})).model_dump_json()


def with_other_scores(store: Path, file: Path) -> None:
    """Make the very index that was read before, with other scores in it."""
    known = brief_records(store, print)
    source = index_of(store)
    with sqlite3.connect(source) as index:
        index.execute("UPDATE records SET brief = ?", (forged(known[0]),))
    source.rename(file)


def with_a_trigger(store: Path, file: Path) -> None:
    with_other_scores(store, file)
    with sqlite3.connect(file) as index:
        index.execute(
            "CREATE TRIGGER more AFTER INSERT ON records BEGIN "
            "UPDATE records SET brief = replace(brief, '0.62', '0.0'); END"
        )
        index.execute("DELETE FROM records")


def endless(store: Path, file: Path) -> None:
    with sqlite3.connect(file) as index:
        index.execute("CREATE TABLE about (version TEXT)")
        index.execute("INSERT INTO about VALUES (?)", (indexing._VERSION,))
        index.execute(
            "CREATE VIEW records AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 "
            "FROM n) SELECT x AS path, '' AS inode, 0, 0, 0, '' FROM n"
        )


SHIPPED: dict[str, Callable[[Path, Path], None]] = {
    "with other scores": with_other_scores,
    "with a trigger": with_a_trigger,
    "with an endless view": endless,
    "that is a FIFO": lambda store, file: os.mkfifo(file),
    "that is a device": lambda store, file: file.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", SHIPPED)
def test_an_index_that_came_with_records_is_not_opened(kind: str, tmp_path: Path) -> None:
    write_record(tmp_path / "cell", make_record())
    file = tmp_path / ".index.sqlite"
    SHIPPED[kind](tmp_path, file)
    before = os.lstat(file)
    told: list[str] = []
    for _ in range(2):
        (found,) = brief_records(tmp_path, told.append)
        assert found.leakage is not None
        assert found.leakage.value == 0.62
    assert told == []
    assert os.lstat(file) == before


def test_an_index_is_of_one_folder(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("other", 2)):
        write_record(tmp_path / name / "cell", make_record(seed=seed))
    seeds = [brief_records(tmp_path / name, print)[0].spec.seed for name in ("one", "other")]
    assert seeds == [1, 2]
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert index_of(tmp_path / "link") == index_of(tmp_path / "one")
    assert index_of(tmp_path / "one") != index_of(tmp_path / "other")
    assert not list(tmp_path.rglob(".index.sqlite"))
