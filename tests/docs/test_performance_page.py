"""The tables of docs/performance.md are written from what benchmarks measure, into their places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks.tables import PAGE, markdown, rows_by_table, written

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def measured(table: str, *rows: dict[str, float | str]) -> dict[str, object]:
    """Return what pytest-benchmark writes, as far as it is used."""
    reported = [{"extra_info": {"table": table, "row": row}} for row in rows]
    return {"benchmarks": [*reported, {"extra_info": {}}]}


def test_rows_become_a_table_in_its_place() -> None:
    tables = rows_by_table(measured("start", {"what": "a", "ms": 12.3456}, {"what": "b", "s": 1}))
    page = "before\n<!-- start -->\nold\n<!-- end -->\nbetween <!-- other -->\nkept\n<!-- end -->\n"
    assert written(page, tables) == page.replace(
        "old\n", "| what | ms | s |\n| --- | --- | --- |\n| a | 12.3 |  |\n| b |  | 1 |\n"
    )


def test_numbers_have_three_digits() -> None:
    row: dict[str, float | str] = {
        "a": 0.00012345,
        "b": 0.5,
        "c": 987.6,
        "d": 123456.7,
        "e": 10_000,
    }
    assert markdown([row]).splitlines()[-1] == "| 0.000123 | 0.5 | 988 | 123,457 | 10,000 |"


def test_a_table_without_a_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place <!-- nowhere -->"):
        written("text", rows_by_table(measured("nowhere", {"what": "a"})))


def test_every_table_of_the_benchmarks_has_a_place() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in BENCHMARKS.glob("test_*.py"))
    names = set(re.findall(r'(?<!_)report\(\s*benchmark,\s*"([^"]+)"', text))
    places = re.findall(r"<!-- ([a-z-]+) -->\n.*?<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert names == set(places)
    assert len(places) == len(names), "each has one place"
