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
    """The seconds of a cell's stages, measured or estimated without running all of it.

    Stages that are missing are not known.
    """

    spec: CellSpec
    timings: dict[str, float]
    status: str = "ok"


class Plan(NamedTuple):
    """The work that is left.

    Attributes:
        cells: number of cells to run.
        trainings: number of honest sessions that they share.
        seconds: time of one worker for the cells that are timed.
        similar: number of cells timed by others of the same size: with another defense, or the
            same attack on another target or cut.
        untimed: number of cells that nothing tells the time of.
    """

    cells: Sequence[Cell]
    trainings: int
    seconds: float
    similar: int
    untimed: int


def make_plan(cells: Sequence[Cell], past: Iterable[Record | MeasuredCell]) -> Plan:
    """Estimate the work of cells.

    Args:
        cells: the cells to run.
        past: records, or measured cells; those with the same target, data, sizes and plug-ins give
            the timings.
    """
    known = [one for one in past if one.status == "ok"]
    sessions, attacks = _medians(known)
    like_sessions, like_attacks = _medians(known, similar=True)
    seconds, similar, untimed = 0.0, 0, 0
    seen: set[str] = set()
    for cell in cells:
        training, attack = sessions(cell.spec), attacks(cell.spec)
        if training is None or attack is None:
            training = like_sessions(cell.spec) if training is None else training
            attack = like_attacks(cell.spec) if attack is None else attack
            if training is None or attack is None:
                untimed += 1
                continue
            similar += 1
        first = cell.session_key() not in seen
        seen.add(cell.session_key())
        seconds += attack + (training if first else 0.0)
    trainings = len({cell.session_key() for cell in cells})
    return Plan(cells, trainings, seconds, similar, untimed)


def _medians(
    past: Sequence[Record | MeasuredCell], *, similar: bool = False
) -> tuple[Callable[[CellSpec], float | None], Callable[[CellSpec], float | None]]:
    """Return functions that give the median seconds of a cell's session and of its attack.

    Args:
        past: what is known.
        similar: whether sessions with any defense, and attacks on any target, tell them.
    """

    def told_by(
        stages: Sequence[str], key: Callable[[CellSpec], Hashable]
    ) -> Callable[[CellSpec], float | None]:
        times: dict[Hashable, list[float]] = {}
        for one in past:
            known = [one.timings[stage] for stage in stages if stage in one.timings]
            if known:
                times.setdefault(key(one.spec), []).append(sum(known))
        return lambda spec: median(times[key(spec)]) if key(spec) in times else None

    of_session, of_attack = (like_session, like_attack) if similar else (session_kind, attack_kind)
    attacks = told_by(_ATTACK, of_attack)
    return (
        told_by(_SESSION, of_session),
        lambda spec: 0.0 if spec.attack == "none" else attacks(spec),
    )


def untimed(cells: Sequence[Cell], past: Iterable[Record | MeasuredCell]) -> list[Cell]:
    """Return the cells whose time the past does not tell."""
    sessions, attacks = _medians([one for one in past if one.status == "ok"])
    return [one for one in cells if None in (sessions(one.spec), attacks(one.spec))]


def session_kind(spec: CellSpec) -> Hashable:
    """Return what the time of a cell's honest session depends on."""
    return (str(spec.parameters["target"]), spec.defense, like_session(spec))


def like_session(spec: CellSpec) -> Hashable:
    """Return what is the same for sessions of a target with any defense."""
    size = (spec.data, spec.size, spec.private, spec.held_out, spec.clients, spec.threads)
    return (spec.target, str(spec.training), *size)


def attack_kind(spec: CellSpec) -> Hashable:
    """Return what the time of a cell's attack depends on."""
    return (spec.target, spec.cut, like_attack(spec))


def like_attack(spec: CellSpec) -> Hashable:
    """Return what is the same for an attack on any target and at any cut."""
    size = (spec.data, spec.size, spec.public, spec.victims, spec.threads)
    return (spec.attack, str(spec.parameters["attack"]), *size)
