"""Writes boards as text: a table of words, CSV, JSON, Markdown and LaTeX."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from splitsec.escaping import for_latex, for_markdown
from splitsec.leaderboard import tables
from splitsec.leaderboard.ranking import Board
from splitsec.leaderboard.rows import RERUN
from splitsec.records.wording import with_interval

FOUND = "found of 100"
"""Column of how many victims in 100 the server finds."""

MEASURES = (FOUND, "leakage", "utility", "retained")
"""Columns that are numbers with intervals."""


def in_words(board: Board) -> pd.DataFrame:
    """Return a board's rows as text, measures with their intervals.

    Empty columns are left out: who is found and the worst victim where nobody knows, the evidence
    if all cells were run here, and the reasons if all rows are ranked.
    """
    lines: list[dict[str, str]] = []
    for row in board.rows.to_dict("records"):
        ranked = "rank" in row and not pd.isna(row["rank"])
        line = {"rank": ranks_in_words(row) if ranked else "-"}
        if board.claimant is not None:
            line.clear()  # a claim earns none
        line[""] = row["name"]
        line[FOUND] = found_in_words(row)
        line["leakage"] = with_interval(row["leakage"], row["leakage low"], row["leakage high"])
        line["worst victim"] = with_interval(row["worst victim"], None, None)
        for name in ("utility", "retained"):
            if name in row:
                line[name] = with_interval(row[name], row[f"{name} low"], row[f"{name} high"])
        if "worst attack" in row:
            line["worst attack"] = "-" if pd.isna(row["worst attack"]) else row["worst attack"]
        if "cost verdict" in row:
            line["cost"] = cost_in_words(row)
        if "pareto" in row:
            line["Pareto front"] = "-" if pd.isna(row["pareto"]) else f"{row['pareto']:.0%}"
        line["cells"] = f"{row['cells']} of {row['expected']}"
        line["evidence"] = row["evidence"]
        line["unranked because"] = "" if pd.isna(row["reason"]) else row["reason"]
        lines.append(line)
    words = pd.DataFrame(lines)
    for name, usual in (
        (FOUND, "-"),
        ("worst victim", "-"),
        ("evidence", RERUN),
        ("unranked because", ""),
    ):
        if lines and (words[name] == usual).all():
            words = words.drop(columns=name)
    return words


def found_in_words(row: Mapping[Any, Any]) -> str:
    """Return how many victims in 100 the server finds, such as ``97 (95 to 99)``."""
    value, low, high = (
        None if pd.isna(share := row[name]) else 100 * float(share)
        for name in ("identified", "identified low", "identified high")
    )
    return with_interval(value, low, high, ".0f")


def ranks_in_words(row: Mapping[Any, Any]) -> str:
    """Return the interval of a row's rank, such as ``1-3``, or its rank if that is known."""
    first, last = row["rank"], row["rank last"]
    return str(first) if first == last else f"{first}-{last}"


def cost_in_words(row: Mapping[Any, Any]) -> str:
    """Return the verdict on what a defense costs, such as ``within 0.02``."""
    verdict = row["cost verdict"]
    if pd.isna(verdict):
        return "-"
    return "unclear" if verdict == "cannot be told" else f"{verdict} {row['margin']:g}"


class Printed(NamedTuple):
    """A table as it is printed, of whichever rows.

    Attributes:
        title: above it.
        notes: below it.
        rows: as numbers.
        words: as text.
        measures: columns of ``words`` that are numbers with intervals.
    """

    title: str
    notes: Sequence[str]
    rows: pd.DataFrame
    words: pd.DataFrame
    measures: Sequence[str] = MEASURES


def printed(board: Board) -> Printed:
    """Return a board as it is printed."""
    return Printed(board.title, board.notes, board.rows, in_words(board))


def to_csv(boards: Sequence[Printed]) -> str:
    """Return the rows of all boards as CSV, with the board of each."""
    frames = [board.rows.assign(board=board.title) for board in boards]
    return tables.to_csv(pd.concat(frames, ignore_index=True))


def to_json(boards: Sequence[Printed]) -> str:
    """Return boards as JSON."""
    content = [
        {
            "title": board.title,
            "notes": list(board.notes),
            "rows": json.loads(board.rows.to_json(orient="records")),
        }
        for board in boards
    ]
    return json.dumps(content, indent=1) + "\n"


def to_markdown(boards: Sequence[Printed]) -> str:
    """Return boards as Markdown tables with their notes."""
    parts = []
    for board in boards:
        notes = "".join(f"\n- {for_markdown(note)}" for note in board.notes)
        table = tables.to_markdown(board.words) if len(board.rows) else "Nothing to rank.\n"
        parts.append(f"**{for_markdown(board.title)}**\n\n{table}{notes}")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def to_latex(boards: Sequence[Printed]) -> str:
    """Return boards as LaTeX tabulars."""
    return "\n".join(
        f"% {for_latex(board.title)}\n{tables.to_latex(board.words)}"
        for board in boards
        if len(board.rows)
    )


FORMS: dict[str, Callable[[Sequence[Printed]], str]] = {
    "csv": to_csv,
    "json": to_json,
    "markdown": to_markdown,
    "latex": to_latex,
}
"""Format to the function that writes it."""
