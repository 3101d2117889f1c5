"""Says in words what boards of families show: a sentence, and a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from splitsec.leaderboard.boards import Printed
from splitsec.leaderboard.families import SHARES, FamilyBoard, in_percent
from splitsec.metrics.intervals import MINIMUM_SEEDS
from splitsec.records.wording import with_interval


def printed(board: FamilyBoard) -> Printed:
    """Return a board of families as it is printed, with its answer below it."""
    measures = [*(_leaked(share) for share in SHARES), "area"]
    notes = [*([answer(board)] if board.families else []), *board.notes]
    return Printed(board.title, notes, board.rows, words_of(board), measures)


def words_of(board: FamilyBoard) -> pd.DataFrame:
    """Return a board's rows as text."""
    return pd.DataFrame([_line(row) for row in board.rows.to_dict("records")])


def answer(board: FamilyBoard) -> str:
    """Return which family leaks least where it retains 95 % of the utility, and how surely."""
    first, count = in_percent(), len(board.families)
    rows = board.rows.to_dict("records")
    several = f"{count} families" if count > 1 else "the one family"
    where = f"at {first} % of the utility"
    reached = [row for row in rows if not pd.isna(row[f"strength at {first}"])]
    shown = [row for row in reached if row["against none verdict"] == "lower"]
    seeds = len(board.families[0].undefended.leakage.per_seed)
    if not shown and (seeds >= MINIMUM_SEEDS or not reached):
        which = f"none of {several} is" if count > 1 else "the one family is not"
        return f"{where}, {which} shown to leak less than the undefended model"
    best = (shown or reached)[0]
    figure = with_interval(*(best[f"leakage at {first}{end}"] for end in _ENDS))
    undefended = board.families[rows.index(best)].undefended.leakage.mean
    rate = best[f"identified at {first}"]
    found = "" if pd.isna(rate) else f", with {rate:.0%} of the patients identified"
    told = f"fewer than {MINIMUM_SEEDS} seeds show nothing of other seeds"
    if shown:
        are = "is" if len(shown) == 1 else "are"
        told = f"{len(shown)} of {several} {are} shown to leak less than that"
    return (
        f"{where}, {best['name']} leaks least: {figure}{found}; undefended it is "
        f"{undefended:.2f}; {told}"
    )


def _leaked(share: float) -> str:
    return f"{'leakage ' if share == SHARES[0] else ''}at {in_percent(share)} %"


_VERDICTS = {"lower": "less", "higher": "more", "cannot be told": "unclear"}


def _line(row: Mapping[Any, Any]) -> dict[str, str]:
    line = {"": str(row["name"])}
    first = in_percent()
    rate, strength = row[f"identified at {first}"], row[f"strength at {first}"]
    line["identified"] = "-" if pd.isna(rate) or pd.isna(strength) else f"{rate:.0%}"
    for share in SHARES:
        percent = in_percent(share)
        figure = with_interval(*(row[f"leakage at {percent}{end}"] for end in _ENDS))
        reached = not pd.isna(row[f"strength at {percent}"])
        line[_leaked(share)] = figure if reached else "not reached"
    line["strength"] = "-" if pd.isna(strength) else f"{strength:.3g}"
    for name in ("none", "noise"):
        line[f"against {name}"] = _VERDICTS.get(str(row.get(f"against {name} verdict")), "-")
    line["area"] = with_interval(*(row[f"area{end}"] for end in _ENDS))
    line["time"] = "-" if pd.isna(row["time"]) else f"{row['time']:.2g}x"
    return line


_ENDS = ("", " low", " high")
