"""Estimates the cells, trainings and time of a grid before it runs, from past records."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from statistics import median
from typing import NamedTuple

from splitsec.cells.cell import Cell
from splitsec.records.record import Record
from splitsec.records.spec import CellSpec

_SESSION = ("honest training", "validation", "test", "utility")
_ATTACK = ("attack", "scoring")


class MeasuredCell(NamedTuple):
    """The seconds of a cell's stages, measured or estimated without running all of it."""

    spec: CellSpec
    timings: dict[str, float]
    status: str = "ok"


class Plan(NamedTuple):
    """The work that is left.

    Attributes:
        cells: number of cells to run.
        trainings: number of honest sessions that they share.
        seconds: time of one worker for the cells of kinds that past records time.
        untimed: number of cells of other kinds.
    """

    cells: Sequence[Cell]
    trainings: int
    seconds: float
    untimed: int


def make_plan(cells: Sequence[Cell], past: Iterable[Record | MeasuredCell]) -> Plan:
    """Estimate the work of cells.

    Args:
        cells: the cells to run.
        past: records, or measured cells; those with the same target, data, sizes and plug-ins give
            the timings.
    """
    sessions, attacks = _medians([one for one in past if one.status == "ok"])
    seconds, untimed = 0.0, 0
    seen: set[str] = set()
    for cell in cells:
        training, attack = sessions(cell.spec), attacks(cell.spec)
        if training is None or attack is None:
            untimed += 1
            continue
        first = cell.session_key() not in seen
        seen.add(cell.session_key())
        seconds += attack + (training if first else 0.0)
    trainings = len({cell.session_key() for cell in cells})
    return Plan(cells, trainings, seconds, untimed)


def _medians(
    past: Sequence[Record | MeasuredCell],
) -> tuple[Callable[[CellSpec], float | None], Callable[[CellSpec], float | None]]:
    """Return functions that give the median seconds of a cell's session and of its attack."""

    def told_by(
        stages: Sequence[str], key: Callable[[CellSpec], Hashable]
    ) -> Callable[[CellSpec], float | None]:
        times: dict[Hashable, list[float]] = {}
        for one in past:
            spent = sum(one.timings.get(stage, 0.0) for stage in stages)
            times.setdefault(key(one.spec), []).append(spent)
        return lambda spec: median(times[key(spec)]) if key(spec) in times else None

    return told_by(_SESSION, _session_kind), told_by(_ATTACK, _attack_kind)


def kind_of(spec: CellSpec) -> Hashable:
    """Return what the time of a cell depends on."""
    return _session_kind(spec), _attack_kind(spec)


def untimed(cells: Sequence[Cell], past: Iterable[Record | MeasuredCell]) -> list[Cell]:
    """Return the cells whose time the past does not tell."""
    sessions, attacks = _medians([one for one in past if one.status == "ok"])
    return [one for one in cells if None in (sessions(one.spec), attacks(one.spec))]


def _session_kind(spec: CellSpec) -> Hashable:
    size = (spec.data, spec.size, spec.private, spec.held_out, spec.clients, spec.threads)
    return (spec.target, str(spec.parameters["target"]), spec.defense, str(spec.training), *size)


def _attack_kind(spec: CellSpec) -> Hashable:
    size = (spec.data, spec.size, spec.public, spec.victims, spec.threads)
    return (spec.target, spec.cut, spec.attack, str(spec.parameters["attack"]), *size)
