"""Ranks defenses, attacks and targets from records alone.

A board has one setting (target, cut, data, sizes, training, profile) and one kind of access:
attacks with more access than a split-learning server are ranked separately. Ranks have simultaneous
95 % intervals over seeds and images, see :func:`splitsec.metrics.two_level.rank_intervals`; rows
that cannot be told apart share a rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from splitsec.leaderboard.control import counting_attacks
from splitsec.leaderboard.label_notes import label_notes
from splitsec.leaderboard.placing import columns_of, placed
from splitsec.leaderboard.samples import Resampler, completed, identified, stacked
from splitsec.leaderboard.settings import By, plugin_names, settings_of, titles_of
from splitsec.leaderboard.worth import (
    UTILITY_FLOOR,
    Rules,
    add_worth,
    linear_notes,
    samples_of_worth,
    worth_of,
)
from splitsec.metrics.figures import SHARE, Estimate
from splitsec.metrics.intervals import MINIMUM_SEEDS
from splitsec.metrics.two_level import Floats, Sample, over_seeds_and_images
from splitsec.records.record import (
    FLAGS,
    INCOMPLETE,
    INVALIDATING,
    LABELS_SHARED,
    PROTOCOL_VERSION,
    Evidence,
    Record,
)
from splitsec.records.store import standing

_ACCESS = {
    "server": "attacks with what a split-learning server has",
    "queries": "attacks that may ask the client about images of their own",
    "oracle": "attacks that are handed private pairs or the client's weights",
}


class RowSamples(NamedTuple):
    """What the verdicts on a row come from.

    Attributes:
        leakage: over seeds and images; of no seed if the row is not complete.
        loss: of utility against the undefended model, paired by seed and image; None where it
            is not known.
        measure: of that utility, ``auc`` or ``jaccard``; None if the board has none.
    """

    leakage: Sample
    loss: Sample | None
    measure: str | None


class Board(NamedTuple):
    """One ranked table.

    Attributes:
        title: setting and kind of access, in words.
        rows: one per defense, attack or target; columns as in :func:`rank`.
        notes: sentences that a reader must know, such as attacks that do not count.
        access: access of the attacks: ``server``, ``queries`` or ``oracle``.
        cells: one per cell of the board: ``cell_id`` and the names of its ``attack``,
            ``defense`` and ``target``, as in the rows.
        samples: from the name of each row to what its verdicts come from.
    """

    title: str
    rows: pd.DataFrame
    notes: list[str]
    access: str
    cells: pd.DataFrame
    samples: Mapping[str, RowSamples]


def rank(
    records: Iterable[Record],
    by: By,
    floor: float = UTILITY_FLOOR,
    margin: float | None = None,
) -> list[Board]:
    """Rank records, one board per setting and kind of access.

    - Defenses: by their worst case. Per seed, the largest leakage over the attacks that pass
      the positive control (they recover something undefended or behind any defense); then over
      seeds.
    - Attacks: by their leakage, averaged over the defenses of the board.
    - Targets: by the worst case of their undefended cells.

    Args:
        records: any records; cells without an attack do not count.
        by: kind of the rows.
        floor: share of the undefended model's utility that a ranked defense retains.
        margin: largest loss of utility that counts as none; 0.02 of an AUC and 0.01 of a
            Jaccard by default.

    Returns:
        Boards whose rows have ``rank`` (missing where ``reason`` says why) and ``rank last``, the
        interval of their rank; ``name``, ``leakage`` with ``leakage low`` and ``leakage high``,
        ``utility`` (not for attacks) and its share ``retained`` with intervals (defenses);
        ``cost``, the utility lost, with its interval, ``margin`` and ``cost verdict``
        (defenses); ``pareto``, the share of resamples in which a row is on the front (defenses);
        ``worst attack`` (not for attacks), ``cells`` and ``expected``, ``evidence``, see
        :func:`evidence`, and ``reason``. Best first.

    Raises:
        DataError: a brief record's file can no longer be read.
    """
    kept = [completed(one) for one in records if one.spec.attack != "none"]
    if not kept:
        return []
    frame = _frame(kept, by)
    titles = titles_of(frame["setting"].unique())
    boards = []
    for (setting, access), group in frame.groupby(["setting", "access"], sort=True):
        board = _boarded(group, by, kept, Rules(floor, margin))
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
    for place, (one, setting) in enumerate(zip(records, settings_of(records, by), strict=True)):
        invalid = sorted(INVALIDATING & set(one.flags))
        known = one.status == "ok" and not invalid and one.leakage is not None
        leakage = one.leakage.value if known and one.leakage is not None else None
        if leakage is not None and not math.isfinite(leakage):
            leakage = None
        rows.append(
            {
                "place": place,
                "cell_id": one.cell_id,
                "setting": setting,
                "protocol": one.protocol,
                "access": _access(one),
                **names(one.spec),
                "seed": one.spec.seed,
                "leakage": leakage,
                "identified": identified(one) if known else None,
                "evidence": one.evidence,
                "reason": None if leakage is not None else _reason(one, invalid),
                "labels shared": one.labels_shared() is True,
                "incomplete": INCOMPLETE in one.flags,
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


def _boarded(group: pd.DataFrame, by: By, records: Sequence[Record], rules: Rules) -> Board:
    notes: list[str] = []
    shared = int(group["labels shared"].sum())
    if shared:
        some = "" if shared == len(group) else f"in {shared} of {len(group)} cells "
        notes.append(some + FLAGS[LABELS_SHARED])
    incomplete = int(group["incomplete"].sum())
    if incomplete:
        notes.append(f"in {incomplete} of {len(group)} cells {FLAGS[INCOMPLETE]}")
    group = _newest(group, notes)
    seeds = sorted(set(group["seed"].tolist()))
    resampler = Resampler({one: records[one] for one in group["place"]})
    if by == "attacks":
        rows = _attack_rows(group, seeds, resampler)
    else:
        rows = _worst_rows(group, by, seeds, resampler, notes)
        notes += linear_notes(group)
        notes += label_notes(records[place] for place in group["place"])
    if by == "defenses":
        add_worth(rows, group, resampler, rules, notes)
    if rows:
        notes += _about_intervals(group, len(seeds), resampler)
    cells = group[["cell_id", "attack", "defense", "target"]]
    measure = next(iter(group["measure"].dropna()), None)
    samples = {row["name"]: RowSamples(row["sample"], row.get("loss"), measure) for row in rows}
    return Board("", placed(rows, lowest_first=by != "attacks"), notes, "", cells, samples)


_FEW = {1: "one seed", 2: "two seeds"}


def _about_intervals(group: pd.DataFrame, seeds: int, resampler: Resampler) -> list[str]:
    """Return what a reader must know of intervals and ranks: what they are not over."""
    measured = group.dropna(subset=["leakage"])
    unknown = sum(resampler.leakage(one) is None for one in measured["place"])
    which = "" if unknown == len(measured) else f"{unknown} of {len(measured)} cells have "
    lacking = "no values per image that give the leakage" if unknown else ""
    if seeds < MINIMUM_SEEDS:
        said = f"{_FEW[seeds]}: no row can be told from another"
        if not lacking:
            return [f"{said}; intervals of leakage are over images alone"]
        return [f"{said}, and there are no intervals over images: {which}{lacking}"]
    if not lacking:
        return []
    of = "" if unknown == len(measured) else " of their rows"
    return [f"intervals of leakage{of} are over seeds alone: {which or 'there are '}{lacking}"]


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
    group: pd.DataFrame, by: By, seeds: list[int], resampler: Resampler, notes: list[str]
) -> list[dict[str, Any]]:
    """Return a row per defense or target, with its worst case per seed."""
    columns = {"leakage": resampler.leakage, "identified": resampler.identified}

    def sample_of(cells: pd.DataFrame, name: str) -> Sample:
        return stacked(
            cells[name], [columns[name](one) for one in cells["place"]], resampler.victims
        )

    counting = counting_attacks(group, sample_of, notes)
    undefended = group[group["defense"] == "none"]
    names = "defense" if by == "defenses" else "target"
    rows: list[dict[str, Any]] = []
    for name, every in (group if by == "defenses" else undefended).groupby(names, sort=False):
        attacks = counting[str(every["target"].iloc[0])]
        cells = every[every["attack"].isin(attacks)]
        if cells.empty:
            continue
        table = _leakages(cells, "attack").reindex(index=seeds, columns=attacks)
        row = _row(str(name), cells, table) | {"sample": _sample(cells, table, resampler, np.max)}
        row["worst attack"] = None if row["reason"] else str(table.mean().idxmax())
        rows.append(row | columns_of("utility", _utility(cells, resampler)))
    return rows


def _utility(cells: pd.DataFrame, resampler: Resampler) -> Estimate:
    seeds = sorted(set(cells.dropna(subset=["utility"])["seed"]))
    if not seeds:
        return Estimate(None)
    return over_seeds_and_images(samples_of_worth(cells, resampler, seeds)[0], SHARE)


def _attack_rows(
    group: pd.DataFrame, seeds: list[int], resampler: Resampler
) -> list[dict[str, Any]]:
    """Return a row per attack, with its mean over defenses per seed."""
    defenses = group["defense"].unique()
    rows = []
    for name, cells in group.groupby("attack", sort=False):
        table = _leakages(cells, "defense").reindex(index=seeds, columns=defenses)
        row = _row(str(name), cells, table)
        rows.append(row | {"sample": _sample(cells, table, resampler, np.mean)})
    return rows


def _leakages(cells: pd.DataFrame, across: str) -> pd.DataFrame:
    """Return leakage by seed and ``across``, which is ``attack`` or ``defense``."""
    return cells.pivot_table(index="seed", columns=across, values="leakage", dropna=False)


def _sample(
    cells: pd.DataFrame,
    table: pd.DataFrame,
    resampler: Resampler,
    combined: Callable[..., Floats],
) -> Sample:
    """Return a row's leakage over seeds; of no seed if a cell has none.

    Args:
        cells: the row's cells.
        table: their leakage, by seed and by what is combined.
        resampler: of the board.
        combined: ``numpy.max`` for the worst case, or ``numpy.mean``.
    """
    if table.isna().to_numpy().any():
        return Sample(np.empty(0))
    resampled: list[Floats | None] = []
    for seed in table.index:
        known = [resampler.leakage(one) for one in cells.loc[cells["seed"] == seed, "place"]]
        complete = [one for one in known if one is not None]
        resampled.append(combined(complete, axis=0) if len(complete) == len(known) else None)
    per_seed = combined(table.to_numpy(float), axis=1)
    return stacked(pd.Series(per_seed), resampled, resampler.victims)


def _row(name: str, cells: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    """Return the values that every row has.

    Args:
        name: name of the defense, attack or target.
        cells: its cells.
        table: their leakage, missing if a cell has none.
    """
    missing = int(table.isna().sum().sum())
    return {
        "name": name,
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
