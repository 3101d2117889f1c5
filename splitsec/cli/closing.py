"""What a command says at the end: its cells side by side, and what to type next."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from splitsec.errors import DataError
from splitsec.escaping import one_line, short_name
from splitsec.leaderboard.report_rows import ReportRow, report_rows
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.records.spec import CellSpec
from splitsec.records.store import StoredRecord, folder_of
from splitsec.records.wording import with_interval

_MOST = 24  # rows that are shown side by side


def print_closing(
    records: Sequence[Record], output: Path, console: Console, *, reports: bool
) -> None:
    """Print the cells with a result side by side, with undefended ones that OUTPUT has.

    Args:
        records: of the command.
        output: folder of records.
        console: the console to print on.
        reports: whether the command itself writes a report.
    """
    done = [one for one in records if one.status == "ok" and one.leakage is not None]
    if not done:
        return
    found = {one.cell_id: StoredRecord(one, one.folder) for one in done}
    before = [undefended for one in done for undefended in _before(one, output)]
    found |= {one.cell_id: StoredRecord(one, one.folder) for one in before}
    rows = report_rows(list(found.values()))
    if 1 < len(rows) <= _MOST:
        _print_rows(rows, console)
    if not any(row.undefended for row in rows):
        without = undefended([*done[0].provenance.command])
        _say_next(f"what it leaks and is worth without a defense: {without}", console)
    if not reports:
        said = f"a report for the person who decides: splitsec report {shlex.quote(str(output))}"
        _say_next(said, console)


def _print_rows(rows: Sequence[ReportRow], console: Console) -> None:
    named = {
        "target": len({row.target for row in rows}) > 1,
        "cut": len({row.cut for row in rows}) > 1,
    }
    console.print(Text("Side by side", style="bold underline"))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("defense", *(name for name, several in named.items() if several)):
        table.add_column(name, overflow="fold")
    for name in ("found\nof 100", "leakage", rows[0].measure, "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        where = [short_name(getattr(row, name)) for name, several in named.items() if several]
        table.add_row(
            short_name(row.defense),
            *where,
            f"{100 * (row.identified.value or 0):.0f}",
            with_interval(*row.leakage),
            with_interval(row.utility.value, None, None),
            "" if row.loss is None else with_interval(row.loss.value, None, None),
        )
    console.print(table)
    console.print(
        Text(
            " The attack that recovered most is shown, with the 95 % interval of its leakage. Cost "
            "is what the model loses beside no defense; the report has its interval."
        )
    )
    console.print()


def _say_next(text: str, console: Console) -> None:
    console.print(Text(one_line(f"next: {text}")), soft_wrap=True)


def undefended(words: list[str]) -> str:
    """Return a command without its defense, and without what it says of that defense."""
    if "--defense" not in words[:-1]:
        return "the same with --defense none"
    words[words.index("--defense") + 1] = "none"
    kept: list[str] = []
    for word in words:
        if word.startswith("defense.") and kept and kept[-1] in ("--set", "--sweep"):
            kept.pop()
        else:
            kept.append(word)
    return shlex.join(kept)


def _before(record: Record, output: Path) -> Iterator[Record]:
    """Yield records of the same cell without a defense."""
    spec = record.spec
    if spec.defense == "none":
        return
    changed = {kind: names for kind, names in (spec.changed or {}).items() if kind != "defense"}
    wanted = spec.model_copy(
        update={
            "defense": "none",
            "parameters": spec.parameters | {"defense": {}},
            "changed": changed,
        }
    )
    name = glob.escape(folder_of(output, wanted, "").name)
    for file in sorted(output.glob(f"{name}*/record.json")):
        try:
            found = load_record(file)
        except DataError:
            continue
        same = _settings(found.spec) == _settings(wanted)
        if same and found.status == "ok" and found.data.get("sha256") == record.data.get("sha256"):
            yield found


def _settings(spec: CellSpec) -> dict[str, object]:
    return spec.model_dump(exclude={"changed", "threads"})
