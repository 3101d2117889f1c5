"""Boards of families: a defense at several strengths is judged as one curve, never as a point.

A family's figure is what it leaks where its curve retains 95 % of the undefended model's utility,
see :mod:`splitsec.metrics.frontier`. Families are compared with the undefended model and with the
noise that every defense must beat, not each with each: the fewer tests, the more each can tell.
The undefended model at deeper cuts is a family, too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import compress
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from splitsec.leaderboard.placing import columns_of
from splitsec.leaderboard.ranking import Board, RowSamples
from splitsec.leaderboard.worth import UNKNOWN_WORTH
from splitsec.metrics.figures import SHARE, Estimate
from splitsec.metrics.frontier import Curve
from splitsec.metrics.intervals import LEVEL, MINIMUM_SEEDS
from splitsec.metrics.two_level import (
    Sample,
    chance_of_difference,
    holm,
    over_seeds_and_images,
)
from splitsec.records.record import Record
from splitsec.records.spec import CellSpec, value_in_words

SHARES = (0.95, 0.8)
"""Shares of the undefended model's utility at which families are compared, the first first."""

DEEPER = "move the cut"
"""Name of the family of undefended models at deeper cuts."""

NOISE = "gaussian-noise"
"""The family that every other one is compared with."""


class Strong(NamedTuple):
    """One strength of a family.

    Attributes:
        value: the strength, or the cut.
        samples: its row on a board of defenses.
    """

    value: float
    samples: RowSamples


class Family(NamedTuple):
    """One defense at several strengths, or the undefended model at several cuts.

    Attributes:
        name: of the defense, with its other parameters; the cut where boards have several.
        parameter: the one that is its strength.
        strengths: from weak to strong.
        undefended: the model without it.
    """

    name: str
    parameter: str
    strengths: Sequence[Strong]
    undefended: RowSamples

    @property
    def curve(self) -> Curve:
        """Its curve, which begins undefended."""
        points = [self.undefended, *(one.samples for one in self.strengths)]
        return Curve([_retained(one) for one in points], [one.leakage for one in points])

    @property
    def rates(self) -> Curve | None:
        """The curve of how many victims are identified; None where that is not known."""
        points = [self.undefended, *(one.samples for one in self.strengths)]
        rates = [one.rates for one in points if one.rates is not None]
        if len(rates) < len(points):
            return None
        return Curve([_retained(one) for one in points], rates)

    def at(self, share: float) -> float | None:
        """Return the strength that retains a share of the utility; None if none tried does.

        Between two strengths that were tried it is interpolated, on a scale of logarithms where
        all are positive.
        """
        place = self.curve.place(share)
        if place < 1:
            return None
        values = np.array([one.value for one in self.strengths])
        if (values > 0).all() and self.parameter != "cut":
            return float(np.exp(np.interp(place - 1, range(len(values)), np.log(values))))
        return float(np.interp(place - 1, range(len(values)), values))


class FamilyBoard(NamedTuple):
    """A table of families.

    Attributes:
        title: the setting and the attacks' access, in words.
        access: the attacks' access.
        families: the families, in the order of the rows.
        rows: a row per family, see :func:`family_boards`.
        notes: what a reader must know.
    """

    title: str
    access: str
    families: Sequence[Family]
    rows: pd.DataFrame
    notes: Sequence[str]


def family_boards(boards: Iterable[Board]) -> list[FamilyBoard]:
    """Return the boards of families, from boards of defenses.

    Args:
        boards: of :func:`splitsec.leaderboard.ranking.rank`, by defenses; claims are left out.

    Returns:
        Rows have ``name``, ``strengths`` (their number), and for each share of :data:`SHARES`, such
        as 95: ``leakage at 95`` with its interval, ``identified at 95`` and ``strength at 95``,
        all missing where no strength that was tried retains so much; then ``area``, the mean
        leakage between 50 and 100 % retained, ``against none`` and ``against noise`` (the
        difference at the first share, if that is reached, with ``... verdict``: ``lower``,
        ``higher`` or ``cannot be told``), and ``time``, how often as long an exchange takes as
        undefended. Those that leak least at the first share come first, those that do not reach it
        last. A board without rows has a note that says why.
    """
    grouped: dict[str, list[Board]] = {}
    apart: list[FamilyBoard] = []
    for board in boards:
        if board.claimant is not None:
            continue
        none = board.samples.get("none")
        if none is None or not len(none.leakage.per_seed):
            why = "it has no undefended cells that are complete"
        elif none.retained is None:
            why = next(one for one in board.notes if one.startswith(UNKNOWN_WORTH))
        else:
            key = f"{board.access} {_but_for_cut(none.records[0])}"
            grouped.setdefault(key, []).append(board)
            continue
        apart.append(FamilyBoard(board.title, board.access, (), pd.DataFrame(), [why]))
    made = [_made(one) for one in grouped.values()]
    return [*(one for one in made if one.families), *apart]


def _but_for_cut(record: Record) -> str:
    """Return what undefended models at several cuts share, as text."""
    spec = record.spec
    values = spec.model_dump(mode="json")
    left_out = ("cut", "cut_name", "seed", "threads", "changed", "attack", "defense")
    kept = {name: value for name, value in values.items() if name not in left_out}
    kept["parameters"] = {name: spec.parameters.get(name) for name in ("target", "data")}
    kept |= {"protocol": record.protocol, "images": record.data.get("sha256")}
    kept["source"] = record.provenance.plugins.get("target", {}).get("code")
    return json.dumps(kept, sort_keys=True)


def _made(boards: Sequence[Board]) -> FamilyBoard:
    """Return the board of families of several boards that differ in their cut."""
    notes: list[str] = []
    families = [one for board in boards for one in _families(board, len(boards) > 1, notes)]
    defended = [board for board in boards if len(board.samples) > 1]
    for board in defended or boards[:1]:
        families += _deeper(board, boards, len(defended) > 1)
    rows = [_row(one) for one in families]
    seeds = len(families[0].undefended.leakage.per_seed) if families else 0
    if families:
        _compare(families, rows, notes)
    leaked = [row[f"leakage at {in_percent()}"] for row in rows]
    order = sorted(
        range(len(rows)), key=lambda place: math.inf if leaked[place] is None else leaked[place]
    )
    first = (defended or boards)[0]
    if 0 < seeds < MINIMUM_SEEDS:
        notes.append(f"{seeds} of the {MINIMUM_SEEDS} seeds from which families can be told apart")
    return FamilyBoard(
        first.title,
        first.access,
        [families[place] for place in order],
        pd.DataFrame([rows[place] for place in order]),
        notes,
    )


def _families(board: Board, with_cut: bool, notes: list[str]) -> Iterator[Family]:
    """Yield the families of a board of defenses; say which of its rows are in none."""
    none = board.samples["none"]
    seeds = len(none.leakage.per_seed)
    methods: dict[str, list[RowSamples]] = {}
    for name, samples in board.samples.items():
        if name == "none":
            continue
        whole = samples.retained is not None and len(samples.retained.per_seed) == seeds
        if not whole or len(samples.leakage.per_seed) != seeds:
            notes.append(f"not all cells of {name} have a leakage and a utility, so it is left out")
            continue
        methods.setdefault(name.partition(":")[0], []).append(samples)
    for label, rows in methods.items():
        strength = _strength(rows)
        alike: dict[str, list[Strong]] = {}
        for samples in rows:
            given = dict(samples.records[0].spec.parameters["defense"])
            value = float(given.pop(strength.parameter, 0.0))
            alike.setdefault(json.dumps(given, sort_keys=True), []).append(Strong(value, samples))
        for strengths in alike.values():
            name = _named(label, strengths[0].samples.records[0].spec, strength.parameter)
            if with_cut:
                name += f" at cut {none.records[0].spec.cut_name}"
            ordered = sorted(strengths, key=lambda one: one.value, reverse=strength.falls)
            yield Family(name, strength.parameter, ordered, none)


class _Strength(NamedTuple):
    """What makes a method strong.

    Attributes:
        parameter: its parameter; empty for a method that has none.
        falls: whether lower values are stronger.
    """

    parameter: str = ""
    falls: bool = False


def _strength(rows: Sequence[RowSamples]) -> _Strength:
    """Return what makes a method with several rows strong.

    That of a built-in defense is known. Any other one's is the one number in which its rows differ,
    and the end that retains less of the utility is the strong one; without such a number each row
    is a family of its own.
    """
    spec = rows[0].records[0].spec
    known = _declared(spec.defense)
    if known is not None:
        return known
    given = [row.records[0].spec.parameters["defense"] for row in rows]
    differing = {name for name in given[0] if len({json.dumps(one[name]) for one in given}) > 1}
    if len(differing) == 1:
        (name,) = differing
        values = [one[name] for one in given]
        if all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
            order = np.argsort(values)
            lowest, highest = (_retained(rows[order[end]]).mean for end in (0, -1))
            return _Strength(name, falls=lowest < highest)
    return _Strength()


@cache
def _declared(name: str) -> _Strength | None:
    """Return what a built-in defense says makes it strong; None for others."""
    from splitsec.plugins.loading import is_builtin, load_plugin  # imports torch, seldom needed

    if not (re.fullmatch(r"[a-z0-9+-]+", name) and is_builtin("defense", name)):
        return None
    strength = load_plugin("defense", name).cls.strength
    if strength is None:
        return _Strength()
    return _Strength(strength.parameter, strength.values[0] > strength.values[-1])


def _named(label: str, spec: CellSpec, strength: str) -> str:
    """Return a method's name with the parameters that are no defaults, but for its strength."""
    changed = (spec.changed or {}).get("defense", ())
    given = spec.parameters["defense"]
    shown = [f"{name}={value_in_words(given[name])}" for name in changed if name != strength]
    return f"{label}:{','.join(shown)}" if shown else label


def _deeper(board: Board, boards: Sequence[Board], with_cut: bool) -> Iterator[Family]:
    """Yield the family of undefended models at cuts that are deeper than a board's."""
    none = board.samples["none"]
    cut = none.records[0].spec.cut
    deeper = [
        Strong(float(own.records[0].spec.cut), own)
        for other in boards
        if (own := other.samples["none"]).records[0].spec.cut > cut
        and len(own.leakage.per_seed) == len(none.leakage.per_seed)
    ]
    if deeper:
        name = f"{DEEPER} from {none.records[0].spec.cut_name}" if with_cut else DEEPER
        yield Family(name, "cut", sorted(deeper, key=lambda one: one.value), none)


def _retained(samples: RowSamples) -> Sample:
    assert samples.retained is not None, "a family has only such rows"
    return samples.retained


def in_percent(share: float = SHARES[0]) -> str:
    """Return a share as names of columns have it, such as ``95``."""
    return f"{100 * share:.0f}"


def _row(family: Family) -> dict[str, Any]:
    curve, rates = family.curve, family.rates
    row: dict[str, Any] = {"name": family.name, "strengths": len(family.strengths)}
    for share in SHARES:
        percent, strength = in_percent(share), family.at(share)
        leaked = found = Estimate(None)
        if strength is not None:
            leaked = over_seeds_and_images(curve.at(share), SHARE)
            if rates is not None:
                found = over_seeds_and_images(rates.at(share), SHARE)
        row |= columns_of(f"leakage at {percent}", leaked)
        row |= columns_of(f"identified at {percent}", found)
        row[f"strength at {percent}"] = strength
    row |= columns_of("area", over_seeds_and_images(curve.area(), SHARE))
    row["time"] = _time(family)
    return row


def _time(family: Family) -> float | None:
    """Return how often as long an exchange takes as undefended, at the strongest strength."""
    with_it, without = (
        [taken for one in samples.records if (taken := _seconds(one)) is not None]
        for samples in (family.strengths[-1].samples, family.undefended)
    )
    return median(with_it) / median(without) if with_it and without else None


def _seconds(record: Record) -> float | None:
    exchanges = record.session.get("honest_exchanges")
    taken = record.timings.get("honest training")
    return taken / exchanges if exchanges and taken else None


def _compare(families: Sequence[Family], rows: Sequence[dict[str, Any]], notes: list[str]) -> None:
    """Add how families differ from the undefended model and from noise at the same cut.

    Those that do not reach the first share are not compared: between the undefended model and a
    strength that breaks it lies no defense that anybody ran.
    """
    first = SHARES[0]
    reached = [row[f"strength at {in_percent()}"] is not None for row in rows]
    families, rows = list(compress(families, reached)), list(compress(rows, reached))
    curves = [one.curve.at(first) for one in families]
    noises = {
        id(one.undefended): curve
        for one, curve in zip(families, curves, strict=True)
        if one.name.split(" ")[0] == NOISE
    }
    tests: list[tuple[dict[str, Any], str, Sample]] = []
    for family, row, curve in zip(families, rows, curves, strict=True):
        tests.append((row, "against none", curve.minus(family.undefended.leakage)))
        noise = noises.get(id(family.undefended))
        if noise is not None and noise is not curve:
            tests.append((row, "against noise", curve.minus(noise)))
    if not noises:
        notes.append(f"no family is compared with {NOISE}, which is not among them")
    limits = SHARE.of_differences()
    chances = holm([chance_of_difference(difference) for _, _, difference in tests])
    for (row, name, difference), chance in zip(tests, chances, strict=True):
        row.update(columns_of(name, over_seeds_and_images(difference, limits)))
        told = chance < 1 - LEVEL
        row[f"{name} verdict"] = (
            ("lower" if difference.mean < 0 else "higher") if told else "cannot be told"
        )
