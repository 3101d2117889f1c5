"""The page that compares attacks, made from the published records."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from splitsec.records.record import Record
from splitsec.records.store import load_records

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Record]], str]:
    monkeypatch.syspath_prepend(ROOT / "tests" / "evidence")
    import compared  # type: ignore[import-not-found]  # no package: a folder of commands

    monkeypatch.delitem(sys.modules, "compared")
    made: Callable[[Sequence[Record]], str] = compared.page
    return made


def test_each_attack_has_a_row_where_it_ran(page: Callable[[Sequence[Record]], str]) -> None:
    records = list(load_records([ROOT / "leaderboard" / "records"]))
    records = [one for one in records if one.victims is not None and one.leakage is not None]
    made = page(records)
    tables = re.split(r"^## ", made, flags=re.MULTILINE)[1:]
    assert len(tables) == len({(one.spec.defense, one.spec.cut) for one in records})
    rows = re.findall(r"^\| `([\w-]+)`\*? \| (\d\.\d\d) ", made, flags=re.MULTILINE)
    assert {name for name, _ in rows} == {one.spec.attack for one in records}
    for table in tables:
        found = [float(one) for one in re.findall(r"^\| `[\w-]+`\*? \| ([\d.]+) ", table, re.M)]
        assert found == sorted(found, reverse=True)
        assert found


def test_an_attack_that_failed_says_why(page: Callable[[Sequence[Record]], str]) -> None:
    records = load_records([ROOT / "leaderboard" / "records"])
    some = next(one for one in records if one.spec.attack == "adra")
    spec = some.spec.model_copy(update={"attack": "sdar"})
    told = {"spec": spec, "status": "failed", "reason": "it broke", "victims": None, "flags": ()}
    failed = some.model_copy(update=told)
    made = page([some, failed])
    assert "| `sdar` | failed: it broke |" in made
    again = some.model_copy(update={**told, "spec": some.spec, "flags": some.flags})
    assert "failed" not in page([some, again]), "another seed was scored"
