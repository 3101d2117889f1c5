"""Ranks defenses, attacks and targets from records alone.

A board has one setting (target, cut, data, sizes, training, profile) and one kind of access:
attacks with more access than a split-learning server are ranked separately. Ranks have simultaneous
95 % intervals over seeds and images, see :func:`splitsec.metrics.two_level.rank_intervals`; rows
that cannot be told apart share a rank. Claims have boards of their own, without ranks, one for each
claimant, and enter no other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from splitsec.leaderboard.label_notes import label_notes
from splitsec.leaderboard.methods import Methods
from splitsec.leaderboard.placing import placed
from splitsec.leaderboard.rows import CLAIMED, attack_rows, counting, worst_rows
from splitsec.leaderboard.samples import (
    Resampler,
    completed,
    identified,
    identified_rate,
    worst_leakage,
)
from splitsec.leaderboard.settings import By, plugin_names, settings_of, titles_of
from splitsec.leaderboard.worth import (
    UTILITY_FLOOR,
    Rules,
    add_worth,
    linear_notes,
    worth_of,
)
from splitsec.metrics.intervals import MINIMUM_SEEDS
from splitsec.metrics.two_level import Sample
from splitsec.records.official import claimant_of, key_of
from splitsec.records.record import (
    FLAGS,
    INCOMPLETE,
    INVALIDATING,
    LABELS_SHARED,
    PROTOCOL_VERSION,
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
        retained: the share of the undefended model's utility; None where it is not known.
        rates: per seed, the share of victims that are identified; None where it is not known.
        records: of its cells.
    """

    leakage: Sample
    loss: Sample | None
    measure: str | None
    retained: Sample | None
    rates: Sample | None
    records: Sequence[Record]


class Board(NamedTuple):
    """One ranked table.

    Attributes:
        title: setting and kind of access, in words.
        rows: one per defense, attack or target; columns as in :func:`rank`.
        notes: sentences that a reader must know, such as attacks that do not count.
        access: access of the attacks: ``server``, ``queries`` or ``oracle``.
        cells: one per cell of the board: its ``key``, see
            :func:`splitsec.records.official.key_of`, and the names of its ``attack``, ``defense``
            and ``target``, as in the rows.
        samples: from the name of each row to what its verdicts come from.
        claimant: who claims all of its numbers; None for an official board.
    """

    title: str
    rows: pd.DataFrame
    notes: list[str]
    access: str
    cells: pd.DataFrame
    samples: Mapping[str, RowSamples]
    claimant: str | None = None


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
        The official boards, then those of claims. Rows of official boards have ``rank`` (missing
        where ``reason`` says why) and ``rank last``, the interval of their rank; ``name``;
        ``identified``, the share of victims that the server finds, with its interval, and
        ``worst victim``, the leakage of the one who leaks most, both missing where they are not
        known; ``leakage`` with ``leakage low`` and ``leakage high``, ``utility`` (not for attacks)
        and its share ``retained`` with intervals (defenses); ``cost``, the utility lost, with its
        interval, ``margin`` and ``cost verdict`` (defenses); ``pareto``, the share of resamples in
        which a row is on the front (defenses); ``worst attack`` (not for attacks), ``cells`` and
        ``expected``, ``evidence`` and ``reason``. Best first. Rows of claims have no rank, no place
        on the front and no verdict on their cost; all attacks in them count.

    Raises:
        DataError: a brief record's file can no longer be read.
    """
    sides: dict[str | None, list[Record]] = {None: []}  # None is the official one
    for one in records:
        if one.spec.attack != "none":
            sides.setdefault(claimant_of(one), []).append(completed(one))
    methods, rules = Methods(sides[None]), Rules(floor, margin)
    there = {one.cell_id for one in sides[None]}
    boards = _boards(sides.pop(None), by, methods, rules, None)
    for claimant, claims in sides.items():
        left = [one for one in claims if one.cell_id not in there]
        boards += _boards(left, by, methods, rules, claimant)
    return boards


def _boards(
    records: Sequence[Record], by: By, methods: Methods, rules: Rules, claimant: str | None
) -> list[Board]:
    """Return the boards of official records, or of those of one claimant."""
    if not records:
        return []
    frame = _frame(records, by, methods)
    titles = titles_of(frame["setting"].unique())
    said = "" if claimant is None else f"{_claimed_by(claimant)}: "
    boards = []
    for (setting, access), group in frame.groupby(["setting", "access"], sort=True):
        board = _boarded(group, by, records, rules, claimant)
        if len(board.rows) or board.notes:
            boards.append(
                board._replace(
                    title=f"{said}{titles[str(setting)]}; {_ACCESS[str(access)]}",
                    notes=[*board.notes, *_outdated(int(group["protocol"].iloc[0]))],
                    access=str(access),
                )
            )
    return boards


def _claimed_by(claimant: str) -> str:
    return f"CLAIMED by {claimant or 'somebody'}, not re-run here"


def _outdated(protocol: int) -> list[str]:
    """Return the note of a board that another version measured."""
    if protocol == PROTOCOL_VERSION:
        return []
    return [
        f"measured under protocol {protocol}; this version of splitsec measures under protocol "
        f"{PROTOCOL_VERSION}, whose numbers may differ"
    ]


def _frame(records: Sequence[Record], by: By, methods: Methods) -> pd.DataFrame:
    """Return one row per record, with the columns that ranking needs."""
    names, counts_more = plugin_names(records, methods), standing(records)
    settings = settings_of(records, by, methods)
    rows = []
    for place, (one, setting) in enumerate(zip(records, settings, strict=True)):
        invalid = sorted(INVALIDATING & set(one.flags))
        known = one.status == "ok" and not invalid and one.leakage is not None
        leakage = one.leakage.value if known and one.leakage is not None else None
        if leakage is not None and not math.isfinite(leakage):
            leakage = None
        rows.append(
            {
                "place": place,
                "key": key_of(one),
                "setting": setting,
                "protocol": one.protocol,
                "access": _access(one),
                **names(one),
                "seed": one.spec.seed,
                "leakage": leakage,
                "identified": identified(one) if known else None,
                "rate": identified_rate(one) if known else None,
                "worst": worst_leakage(one) if known else None,
                "evidence": one.evidence,
                "reason": None if leakage is not None else _reason(one, invalid),
                "labels shared": one.labels_shared() is True,
                "incomplete": INCOMPLETE in one.flags,
                "standing": counts_more(one),
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


def _boarded(
    group: pd.DataFrame, by: By, records: Sequence[Record], rules: Rules, claimant: str | None
) -> Board:
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
    complete = seeds if claimant is None else None
    if by == "attacks":
        rows = attack_rows(group, complete, resampler)
    else:
        attacks = counting(group, resampler, claimant, notes)
        rows = worst_rows(group, by, complete, resampler, attacks)
        notes += linear_notes(group)
        notes += label_notes(records[place] for place in group["place"])
    reasons = [row["reason"] for row in rows]
    if by == "defenses":
        add_worth(rows, group, resampler, rules, notes)
    if rows:
        notes += _about_intervals(group, len(seeds), resampler)
    cells = group[["key", "attack", "defense", "target"]]
    measure = next(iter(group["measure"].dropna()), None)
    places = group.groupby(by.removesuffix("s"))["place"].apply(list)
    samples = {
        row["name"]: RowSamples(
            row["sample"],
            row.get("loss"),
            measure,
            row.get("retained sample"),
            row.get("rates"),
            [records[place] for place in places[row["name"]]],
        )
        for row in rows
    }
    if claimant is not None:
        for row, reason in zip(rows, reasons, strict=True):
            row |= {"evidence": CLAIMED, "reason": reason}  # what it is worth is not judged
    table = placed(rows, lowest_first=by != "attacks", ranked=claimant is None)
    return Board("", table, notes, "", cells, samples, claimant)


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

    Such cells differ in the number of threads, so their mean would be of no cell that ran.
    """
    kept = group.sort_values("standing", kind="stable").drop_duplicates(
        ["attack", "defense", "target", "seed"], keep="last"
    )
    if len(kept) < len(group):
        notes.append(
            f"{len(group) - len(kept)} cells are left out: of cells that differ only in the number "
            "of threads, the first named folder's newest counts"
        )
    return kept.sort_index()
