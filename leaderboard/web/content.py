"""The page's content as plain values: boards of ranked rows and the cells behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from splitsec.leaderboard.boards import cost_in_words, ranks_in_words
from splitsec.leaderboard.ranking import Board
from splitsec.leaderboard.rows import RERUN
from splitsec.leaderboard.settings import By, plugin_name
from splitsec.records.official import key_of
from splitsec.records.record import Record
from splitsec.records.wording import with_interval

KINDS: tuple[By, ...] = ("defenses", "attacks", "targets")
_LIKELY = 0.5  # a share of resamples from which a row is drawn as one of the front
ACCESS = ("server", "queries", "oracle")


class Measure(NamedTuple):
    """A number with its 95 % interval over seeds; no interval for a single seed."""

    value: float
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """The number in words."""
        return with_interval(*self)


class Row(NamedTuple):
    """One row of a board; what could not be measured is None.

    Attributes:
        name: the defense, attack or target, with the parameters in which records differ.
        target: plain name, for filters, like ``cut``; empty if the board has one for all rows.
        cut: index of the client's last layer.
        rank: the first rank that it may have; None if there is a ``reason``.
        ranks: its ranks in words, such as ``1-3``.
        found: share of victims that the server finds.
        leakage: worst case, or the mean over defenses for an attack.
        victim: leakage of the victim who leaks most.
        worst: the attack that leaks most.
        utility: AUC or Jaccard.
        retained: share of the undefended model's utility.
        cost: what it costs of the utility.
        verdict: whether that is within the margin, in words; None if it is not judged.
        pareto: how often, over resampled seeds and images, no other row has both less leakage
            and more utility.
        cells: number of cells with a result.
        expected: number of cells of a complete row.
        evidence: how many of its cells are claims and how many were re-run here.
        reason: why there is no rank.
        members: positions of the row's cells in the gallery's list.
    """

    name: str
    target: str
    cut: str
    rank: int | None
    ranks: str
    found: Measure | None
    leakage: Measure | None
    victim: float | None
    worst: str | None
    utility: Measure | None
    retained: Measure | None
    cost: Measure | None
    verdict: str | None
    pareto: float | None
    cells: int
    expected: int
    evidence: str
    reason: str | None
    members: list[int]


class Table(NamedTuple):
    """A board as it is shown.

    Attributes:
        key: its name in the page.
        heading: short form of the setting.
        setting: the complete setting.
        access: access of the attacks, one of ``ACCESS``.
        target: for filters, like ``cut``, ``data`` and ``profile``; empty if rows have their own.
        cut: index of the client's last layer.
        data: name of the data set.
        profile: profile that gave the settings.
        measure: name of the utility.
        notes: sentences that a reader must know.
        rows: best first.
        claimant: who claims all of its numbers; None for an official board.
        curves: positions of rows that are strengths of one method, weakest parameter first.
    """

    key: str
    heading: str
    setting: str
    access: str
    target: str
    cut: str
    data: str
    profile: str
    measure: str
    notes: list[str]
    rows: list[Row]
    claimant: str | None
    curves: list[list[int]]


def tables(boards: Sequence[Board], by: By, records: Sequence[Record]) -> dict[str, list[Table]]:
    """Return the boards of one ranking by the attacks' access, a realistic server first.

    Args:
        boards: of the records.
        by: kind of the rows.
        records: the records, in the order of the gallery.
    """
    places = {key_of(record): place for place, record in enumerate(records)}
    ordered = sorted(boards, key=lambda board: ACCESS.index(board.access))
    grouped: dict[str, list[Table]] = {}
    for number, board in enumerate(ordered, 1):
        table = _table(f"{by}-{number}", board, by, records, places)
        grouped.setdefault(board.access, []).append(table)
    return grouped


def _table(
    key: str, board: Board, by: By, records: Sequence[Record], places: Mapping[str, int]
) -> Table:
    kind = by.removesuffix("s")
    members: dict[str, list[int]] = {}
    for name, cell in zip(board.cells[kind], board.cells["key"], strict=True):
        members.setdefault(str(name), []).append(places[cell])
    first = records[next(iter(members.values()))[0]]
    spec = first.spec
    rows = []
    for values in board.rows.to_dict("records"):
        mine = sorted(members[values["name"]])
        rows.append(
            _row(
                {str(name): value for name, value in values.items()},
                records[mine[0]] if by == "targets" else None,
                mine,
            )
        )
    where = f"{plugin_name(first, 'data')} at {spec.size} px"
    everywhere = by == "targets"
    return Table(
        key=key,
        heading=where
        if everywhere
        else f"{plugin_name(first, 'target')} cut {spec.cut_name}, {where}",
        setting=board.title.rpartition("; ")[0],
        access=board.access,
        target="" if everywhere else spec.target,
        cut="" if everywhere else str(spec.cut),
        data=spec.data,
        profile=spec.profile,
        measure="AUC" if first.utility is None or first.utility.jaccard is None else "Jaccard",
        notes=board.notes,
        rows=rows,
        claimant=board.claimant,
        curves=_curves([records[row.members[0]] for row in rows], kind),
    )


def _row(values: Mapping[str, Any], example: Record | None, members: list[int]) -> Row:
    """Return a row; ``example`` is one of its cells if rows have targets of their own."""
    ranked = not _missing(values.get("rank"))
    return Row(
        name=values["name"],
        target="" if example is None else example.spec.target,
        cut="" if example is None else str(example.spec.cut),
        rank=int(values["rank"]) if ranked else None,
        ranks=ranks_in_words(values) if ranked else "",
        found=_measure(values, "identified"),
        leakage=_measure(values, "leakage"),
        victim=None if _missing(values.get("worst victim")) else float(values["worst victim"]),
        worst=None if _missing(values.get("worst attack")) else values["worst attack"],
        utility=_measure(values, "utility"),
        retained=_measure(values, "retained"),
        cost=_measure(values, "cost"),
        verdict=None if _missing(values.get("cost verdict")) else cost_in_words(values),
        pareto=None if _missing(values.get("pareto")) else float(values["pareto"]),
        cells=int(values["cells"]),
        expected=int(values["expected"]),
        evidence=values["evidence"],
        reason=None if _missing(values["reason"]) else values["reason"],
        members=members,
    )


def _measure(values: Mapping[str, Any], name: str) -> Measure | None:
    if _missing(values.get(name)):
        return None
    low, high = values[f"{name} low"], values[f"{name} high"]
    value = float(values[name])
    return Measure(value, None, None) if _missing(low) else Measure(value, float(low), float(high))


def _missing(value: object) -> bool:
    return bool(pd.isna(value))  # type: ignore[call-overload]  # for any scalar


def _curves(examples: Sequence[Record], kind: str) -> list[list[int]]:
    """Return positions of rows that differ only in one number, in its order, if several do.

    Args:
        examples: a cell of each row.
        kind: kind of the rows: ``attack``, ``defense`` or ``target`` (whose number is the cut).
    """
    families: dict[str, list[int]] = {}
    for place, record in enumerate(examples):
        families.setdefault(getattr(record.spec, kind), []).append(place)
    curves = []
    for family in families.values():
        settings = [_settings(examples[place], kind) for place in family]
        differing = {
            name
            for one in settings
            for name in one
            if any(one[name] != other.get(name) for other in settings)
        }
        if len(differing) == 1:
            (name,) = differing
            strengths: dict[int, float] = {
                place: value
                for place, one in zip(family, settings, strict=True)
                if isinstance(value := one.get(name), int | float) and not isinstance(value, bool)
            }
            if len(strengths) == len(family):
                curves.append(sorted(family, key=lambda place: strengths[place]))
    return curves


def _settings(record: Record, kind: str) -> dict[str, Any]:
    settings = dict(record.spec.parameters.get(kind, {}))
    return settings | {"cut": record.spec.cut} if kind == "target" else settings


def chart(table: Table) -> dict[str, Any] | None:
    """Return the points of a board's privacy-utility scatter; None for fewer than two, or claims.

    The horizontal axis is the utility retained, or utility itself if rows are targets.
    """
    if table.claimant is not None:
        return None
    retains = any(row.retained for row in table.rows)
    points = {
        place: _point(row, across)
        for place, row in enumerate(table.rows)
        if row.leakage and (across := row.retained if retains else row.utility)
    }
    if len(points) < 2:
        return None
    order = {place: number for number, place in enumerate(points)}
    curves = [[order[place] for place in curve if place in order] for curve in table.curves]
    front = sorted(
        (place for place in points if (table.rows[place].pareto or 0) >= _LIKELY),
        key=lambda place: points[place]["x"][0],
    )
    return {
        "across": "utility retained" if retains else f"utility ({table.measure})",
        "points": list(points.values()),
        "intervals": any(point["y"][1] is not None for point in points.values()),
        "curves": [curve for curve in curves if len(curve) > 1],
        "front": [order[place] for place in front] if retains else [],
    }


def _point(row: Row, across: Measure) -> dict[str, Any]:
    assert row.leakage is not None
    lines = [f"leakage {row.leakage.text}"]
    if row.found:
        lines.append(f"finds {100 * row.found.value:.0f} of 100 victims")
    if row.utility:
        lines.append(f"utility {row.utility.text}")
    if row.retained:
        lines.append(f"retained {row.retained.text}")
    if row.cost:
        lines.append(f"cost {row.cost.text}: {row.verdict}")
    if row.worst:
        lines.append(f"worst attack {row.worst}")
    if row.evidence != RERUN:
        lines.append(row.evidence)
    lines.append(f"not ranked: {row.reason}" if row.rank is None else f"rank {row.ranks}")
    return {
        "name": row.name,
        "x": [rounded(value) for value in across],
        "y": [rounded(value) for value in row.leakage],
        "ranked": row.rank is not None,
        "lines": lines,
    }


def rounded(value: float | None, digits: int = 4) -> float | None:
    """Return a number with this many significant digits, so that machines agree; else None."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def choices(values: Iterable[object]) -> list[str]:
    """Return the choices of a filter: each value once, numbers in their order."""
    texts = {str(value) for value in values}
    return sorted(texts, key=lambda text: (int(text) if text.isdigit() else -1, text))
