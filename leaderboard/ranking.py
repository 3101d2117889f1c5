"""Ranks defenses, attacks and targets from records alone.

A board has one setting (target, cut, data, sizes, training, profile) and one kind of access:
attacks with more access than a split-learning server are ranked separately. A row is better than
another if the 95 % interval of their differences, paired by seed, excludes zero; rows that cannot
be told apart share a rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from splitsec.leaderboard.control import counting_attacks
from splitsec.leaderboard.settings import By, plugin_names, settings_of, titles_of
from splitsec.leaderboard.worth import doubt, linear_notes, retained, worth_of
from splitsec.metrics.figures import SHARE, Estimate
from splitsec.metrics.intervals import estimate
from splitsec.records.record import (
    FLAGS,
    INVALIDATING,
    LABELS_SHARED,
    PROTOCOL_VERSION,
    Evidence,
    Record,
)
from splitsec.records.store import standing

UTILITY_FLOOR = 0.5
"""Share of the undefended model's utility below which a defense is not ranked."""

_ACCESS = {
    "server": "attacks with what a split-learning server has",
    "queries": "attacks that may ask the client about images of their own",
    "oracle": "attacks that are handed private pairs or the client's weights",
}


class Board(NamedTuple):
    """One ranked table.

    Attributes:
        title: setting and kind of access, in words.
        rows: one per defense, attack or target; columns as in :func:`rank`.
        notes: sentences that a reader must know, such as attacks that do not count.
        access: access of the attacks: ``server``, ``queries`` or ``oracle``.
        cells: one per cell of the board: ``cell_id`` and the names of its ``attack``,
            ``defense`` and ``target``, as in the rows.
    """

    title: str
    rows: pd.DataFrame
    notes: list[str]
    access: str
    cells: pd.DataFrame


def rank(records: Iterable[Record], by: By, floor: float = UTILITY_FLOOR) -> list[Board]:
    """Rank records, one board per setting and kind of access.

    - Defenses: by their worst case. Per seed, the largest leakage over the attacks that pass
      the positive control (they recover something of undefended images); then over seeds.
    - Attacks: by their leakage, averaged over the defenses of the board.
    - Targets: by the worst case of their undefended cells.

    Args:
        records: any records; cells without an attack do not count.
        by: kind of the rows.
        floor: share of the undefended model's utility that a ranked defense retains.

    Returns:
        Boards whose rows have ``rank`` (missing where ``reason`` says why), ``name``,
        ``leakage`` with ``leakage low`` and ``leakage high``, ``utility`` and its share
        ``retained`` with intervals (not for attacks), ``pareto`` (defenses), ``worst attack``
        (not for attacks), ``cells`` and ``expected``, ``evidence``, see :func:`evidence`, and
        ``reason``. Best first.
    """
    kept = [one for one in records if one.spec.attack != "none"]
    if not kept:
        return []
    frame = _frame(kept, by)
    titles = titles_of(frame["setting"].unique())
    boards = []
    for (setting, access), group in frame.groupby(["setting", "access"], sort=True):
        board = _boarded(group, by, floor)
        if len(board.rows) or board.notes:
            boards.append(
                board._replace(
                    title=f"{titles[str(setting)]}; {_ACCESS[str(access)]}",
                    notes=[*board.notes, *_outdated(int(group["protocol"].iloc[0]))],
                    access=str(access),
                )
            )
    return boards


def _outdated(protocol: int) -> list[str]:
    """Return the note of a board that another version measured."""
    if protocol == PROTOCOL_VERSION:
        return []
    return [
        f"measured under protocol {protocol}; this version of splitsec measures under protocol "
        f"{PROTOCOL_VERSION}, whose numbers may differ"
    ]


def _frame(records: Sequence[Record], by: By) -> pd.DataFrame:
    """Return one row per record, with the columns that ranking needs."""
    names = plugin_names(records)
    rows = []
    for one, setting in zip(records, settings_of(records, by), strict=True):
        invalid = sorted(INVALIDATING & set(one.flags))
        known = one.status == "ok" and not invalid and one.leakage is not None
        leakage = one.leakage.value if known and one.leakage is not None else None
        if leakage is not None and not math.isfinite(leakage):
            leakage = None
        rows.append(
            {
                "cell_id": one.cell_id,
                "setting": setting,
                "protocol": one.protocol,
                "access": _access(one),
                **names(one.spec),
                "seed": one.spec.seed,
                "leakage": leakage,
                "evidence": one.evidence,
                "reason": None if leakage is not None else _reason(one, invalid),
                "labels shared": one.labels_shared() is True,
                "standing": standing(one),
                **worth_of(one),
            }
        )
    return pd.DataFrame(rows)


def _reason(record: Record, invalid: Sequence[str]) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason or 'no reason was given'}"
    return ", ".join(invalid) or "no leakage"


def _access(record: Record) -> str:
    threat = record.threat_model
    if threat is None:  # it failed before it declared one
        return "server"
    if threat.pairs or threat.client_weights:
        return "oracle"
    return "queries" if threat.queries else "server"


def _boarded(group: pd.DataFrame, by: By, floor: float) -> Board:
    notes: list[str] = []
    shared = int(group["labels shared"].sum())
    if shared:
        some = "" if shared == len(group) else f"in {shared} of {len(group)} cells "
        notes.append(some + FLAGS[LABELS_SHARED])
    group = _newest(group, notes)
    seeds = sorted(set(group["seed"].tolist()))
    if by == "attacks":
        rows = _attack_rows(group, seeds)
    else:
        rows = _worst_rows(group, by, seeds, floor, notes)
        notes += linear_notes(group)
    if len(seeds) == 1 and len(rows):
        notes.append("one seed: no row can be told from another")
    cells = group[["cell_id", "attack", "defense", "target"]]
    return Board("", _ranked(rows, lowest_first=by != "attacks"), notes, "", cells)


def _newest(group: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return one cell per attack, defense, target and seed; add a note if others are left out.

    Such cells differ in the code of a plug-in or in the number of threads. Their mean would be of
    no method that anybody ran.
    """
    kept = group.sort_values("standing", kind="stable").drop_duplicates(
        ["attack", "defense", "target", "seed"], keep="last"
    )
    if len(kept) < len(group):
        notes.append(
            f"{len(group) - len(kept)} older cells are left out: of cells that differ only in the "
            "code of a plug-in or in the number of threads, the newest counts"
        )
    return kept.sort_index()


def _worst_rows(
    group: pd.DataFrame, by: By, seeds: list[int], floor: float, notes: list[str]
) -> list[dict[str, Any]]:
    """Return a row per defense or target, with its worst case per seed."""
    counting = counting_attacks(group, notes)
    undefended = group[group["defense"] == "none"]
    names = "defense" if by == "defenses" else "target"
    rows: list[dict[str, Any]] = []
    for name, every in (group if by == "defenses" else undefended).groupby(names, sort=False):
        attacks = counting[str(every["target"].iloc[0])]
        cells = every[every["attack"].isin(attacks)]
        if cells.empty:
            continue
        table = _leakages(cells, "attack").reindex(index=seeds, columns=attacks)
        row = _row(str(name), cells, table, table.max(axis=1))
        row["worst attack"] = None if row["reason"] else str(table.mean().idxmax())
        rows.append(
            row | _columns("utility", estimate(_worth(cells)["utility"].dropna().tolist(), SHARE))
        )
    if by == "defenses":
        _add_retained(rows, group, floor, notes)
    return rows


def _add_retained(
    rows: list[dict[str, Any]], group: pd.DataFrame, floor: float, notes: list[str]
) -> None:
    """Add what each defense retains of the utility; those below the floor have no rank."""
    undefended = _worth(group[group["defense"] == "none"])
    why_not = doubt(undefended)
    if why_not is not None and rows:
        notes.append(f"what a defense retains of the utility is not shown: {why_not}")
    for row in rows:
        worth = _worth(group[group["defense"] == row["name"]])
        share = Estimate(None) if why_not is not None else retained(worth, undefended)
        row.update(_columns("retained", share))
        if row["reason"] is not None:
            continue
        if share.value is None:
            row["reason"] = "what it retains of the utility cannot be told"
        elif share.value < floor:
            row["reason"] = f"retains less than {floor:.0%} of the utility"


def _worth(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the utility of cells by seed; it does not depend on the attack."""
    return cells.groupby("seed")[["utility", "trivial", "error"]].first()


def _attack_rows(group: pd.DataFrame, seeds: list[int]) -> list[dict[str, Any]]:
    """Return a row per attack, with its mean over defenses per seed."""
    defenses = group["defense"].unique()
    rows = []
    for name, cells in group.groupby("attack", sort=False):
        table = _leakages(cells, "defense").reindex(index=seeds, columns=defenses)
        rows.append(_row(str(name), cells, table, table.mean(axis=1)))
    return rows


def _leakages(cells: pd.DataFrame, across: str) -> pd.DataFrame:
    """Return leakage by seed and ``across``, which is ``attack`` or ``defense``."""
    return cells.pivot_table(index="seed", columns=across, values="leakage", dropna=False)


def _row(
    name: str, cells: pd.DataFrame, table: pd.DataFrame, leakage: pd.Series[float]
) -> dict[str, Any]:
    """Return the values that every row has.

    Args:
        name: name of the defense, attack or target.
        cells: its cells.
        table: their leakage, missing if a cell has none.
        leakage: leakage per seed; used if no cell is missing.
    """
    missing = int(table.isna().sum().sum())
    return {
        "name": name,
        "per seed": pd.Series(dtype=float) if missing else leakage,
        "cells": table.size - missing,
        "expected": table.size,
        "evidence": evidence(cells["evidence"]),
        "reason": _missing(cells, table.size, missing),
    }


RERUN = "re-run here"
"""The evidence of a row whose cells were all run by the keeper of the records."""


def evidence(cells: Iterable[Evidence]) -> str:
    """Return in words how many of a row's cells are claims and how many were re-run here.

    Returns:
        ``re-run here``, ``claimed`` or ``2 of 5 re-run``, and how many re-run cells disagree with
        their claims.
    """
    known = list(cells)
    here = [one for one in known if one.origin == "here"]
    if len(here) == len(known):
        words = RERUN
    else:
        words = f"{len(here)} of {len(known)} re-run" if here else "claimed"
    differ = sum(one.agreement == "differs" for one in here)
    return f"{words}, {differ} disagree with the claim" if differ else words


def _missing(cells: pd.DataFrame, expected: int, missing: int) -> str | None:
    """Return why a row is not complete, or None."""
    if not missing:
        return None
    said = list(dict.fromkeys(cells["reason"].dropna()))
    why = f" ({'; '.join(said)})" if said else ""
    return f"{expected - missing} of {expected} cells{why}"


def _columns(name: str, value: Estimate) -> dict[str, float | None]:
    return {name: value.value, f"{name} low": value.low, f"{name} high": value.high}


def _ranked(rows: list[dict[str, Any]], *, lowest_first: bool) -> pd.DataFrame:
    """Rank rows by ``per seed``; those with a reason are last, and have no rank."""
    sign = 1 if lowest_first else -1
    competing = [row for row in rows if row["reason"] is None]
    for row in rows:
        row.update(_columns("leakage", estimate(row["per seed"].dropna().tolist(), SHARE)))
    for row in competing:
        row["rank"] = 1 + sum(_better(other, row, sign) for other in competing)
        if "retained" in row:
            row["pareto"] = not any(_dominates(other, row) for other in competing)
    rows.sort(
        key=lambda row: (
            row["reason"] is not None,
            row.get("rank", 0),
            sign * (row["leakage"] if row["leakage"] is not None else 0.0),
        )
    )
    frame = pd.DataFrame(rows)
    if not len(frame):
        return frame
    shown = [name for name in _COLUMNS if name in frame]
    return frame[shown].astype({"rank": "Int64"}) if "rank" in frame else frame[shown]


_COLUMNS = (
    "rank",
    "name",
    "leakage",
    "leakage low",
    "leakage high",
    "worst attack",
    "utility",
    "utility low",
    "utility high",
    "retained",
    "retained low",
    "retained high",
    "pareto",
    "cells",
    "expected",
    "evidence",
    "reason",
)


def _better(one: dict[str, Any], other: dict[str, Any], sign: int) -> bool:
    """Return whether one row is better than another by their paired differences."""
    differences = sign * (other["per seed"] - one["per seed"])
    low = estimate(differences.dropna().tolist(), SHARE.of_differences()).low
    return low is not None and low > 0


def _dominates(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether one row has no more leakage and no less utility, and one strictly better."""
    leaks = one["leakage"] - other["leakage"]
    worth = one["retained"] - other["retained"]
    return leaks <= 0 <= worth and (leaks, worth) != (0, 0)
