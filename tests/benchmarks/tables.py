"""The tables of docs/performance.md, from pytest-benchmark's JSON.

``python tests/benchmarks/tables.py`` runs all benchmarks, on a machine that does nothing else, and
writes their tables between the markers of docs/performance.md; the prose there is written by hand.
With ``--from FILE`` it takes what ``pytest tests/benchmarks/... --benchmark-json=FILE`` measured.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "performance.md"
DIGITS = 3

Row = Mapping[str, float | str]


def report(benchmark: Any, table: str, row: Row) -> None:
    """Add a row to a table; names of columns say the unit."""
    benchmark.extra_info.update(table=table, row=dict(row))


def rows_by_table(measured: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Return the rows of each table, from pytest-benchmark's JSON, in the order they ran in."""
    found: dict[str, list[Row]] = {}
    for one in measured["benchmarks"]:
        info = one["extra_info"]
        if "table" in info:
            found.setdefault(info["table"], []).append(info["row"])
    return found


def markdown(rows: list[Row]) -> str:
    """Return rows as a Markdown table, the columns in the order in which rows name them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_text(row.get(name, "")) for name in columns] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _text(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 10**DIGITS:
        return f"{value:,.0f}"
    return f"{value:.{DIGITS}g}"


def written(page: str, tables: Mapping[str, list[Row]]) -> str:
    """Return a page with tables between its markers; those that were not measured stay.

    Raises:
        ValueError: the page has no place for a table.
    """
    for name, rows in tables.items():
        place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not place.search(page):
            raise ValueError(f"{PAGE.name} has no place <!-- {name} --> ... <!-- end -->")
        page = place.sub(lambda match, rows=rows: match[1] + markdown(rows) + match[2], page)
    return page


def measure(folder: Path) -> list[Path]:
    """Run all benchmarks, each file in a process of its own; return what they measured.

    One that fails takes no other's figures with it; a bar that was missed is shown by pytest.
    """
    measured = []
    for file in sorted(HERE.glob("test_*.py")):
        measured.append(folder / f"{file.stem}.json")
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                str(file),
                f"--benchmark-json={measured[-1]}",
                "-o",
                "timeout=0",
            ],
            check=False,
        )
    return [one for one in measured if one.exists() and one.stat().st_size]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--from", dest="files", type=Path, nargs="+", help="what pytest-benchmark has written"
    )
    given: list[Path] | None = parser.parse_args().files
    for file in given or []:
        if not file.exists():
            parser.error(f"{file} is not there")
    with tempfile.TemporaryDirectory() as folder:
        files = given or measure(Path(folder))
        page = PAGE.read_text(encoding="utf-8")
        for file in files:
            measured = json.loads(file.read_text(encoding="utf-8"))
            page = written(page, rows_by_table(measured))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
