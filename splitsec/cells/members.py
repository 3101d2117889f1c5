"""Mounts the attacks of an ensemble one after the other, and scores victims by the worst of them.

Each member is a cell of its own (:attr:`splitsec.cells.cell.Cell.members`), so it is mounted like
any attack and recovers what it recovers alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from splitsec.cells.attacker import Attacker
from splitsec.cells.cell import Cell
from splitsec.cells.mounting import mount
from splitsec.cells.results import AttackScores, CellResult, MountedAttack, Stopwatch, raised
from splitsec.cells.shared_session import SharedSession
from splitsec.errors import NotApplicable, PluginError, SplitsecError, UsageError
from splitsec.metrics.schema import VictimScores
from splitsec.plugins.ensemble import together
from splitsec.plugins.grants import Access, ThreatModel
from splitsec.progress import Progress
from splitsec.records.members import MemberResult, MemberScores
from splitsec.records.record import Victims


@dataclass(frozen=True)
class _Tried:
    """What a member did.

    Attributes:
        cell: the member's cell.
        result: its result, as far as it got.
        seconds: of its attack.
        error: why it has no scores, or None.
    """

    cell: Cell
    result: CellResult
    seconds: float
    error: SplitsecError | None

    def told(self) -> MemberResult:
        """Return what the record says of it."""
        scores = None if self.error else self.result.scores
        return MemberResult(
            attack=self.cell.spec.attack,
            parameters=self.cell.spec.parameters["attack"],
            status=_status(self.error),
            reason=None if self.error is None else str(self.error),
            training=MemberScores.of(scores.victims.training) if scores else None,
            held_out=MemberScores.of(scores.victims.held_out) if scores else None,
            access=self.result.access,
            convergence=self.result.convergence,
            seconds=round(self.seconds, 3),
        )


def mount_members(
    cell: Cell,
    shared: SharedSession,
    result: CellResult,
    clock: Stopwatch,
    progress: Progress,
) -> Iterator[CellResult]:
    """Mount the members of an ensemble; one that does not apply or fails leaves the others alone.

    Args:
        cell: the ensemble's cell.
        shared: its honest session, which has run.
        result: what the cell has so far.
        clock: collects the seconds of the stages, of all members together.
        progress: receives progress reports.

    Yields:
        The cell's result once all members have been tried.

    Raises:
        NotApplicable: no member applies to this cell.
        PluginError: no member has scores, for other reasons as well.
    """
    tried = []
    for member in cell.members:
        tried.append(_try(member, shared, result, clock, progress))
        shared.release(member)
    result = replace(result, threat=_threat(cell), members=tuple(one.told() for one in tried))
    done = [one.result for one in tried if one.error is None]
    yield _combined(result, done, tried) if done else result
    if not done:
        raise _none_left(cell, tried)


def _try(
    member: Cell,
    shared: SharedSession,
    result: CellResult,
    clock: Stopwatch,
    progress: Progress,
) -> _Tried:
    own, error = Stopwatch(), None
    try:
        for reached in mount(member, shared, result, own, progress):
            result = reached
        if result.scores is None:
            raise NotApplicable(f"{member.attack.label} reconstructs nothing")
    except SplitsecError as raised_error:
        error = raised_error
    for stage, seconds in own.seconds.items():
        clock.add(stage, seconds)
    return _Tried(member, result, own.seconds.get("attack", 0.0), error)


def _status(error: SplitsecError | None) -> Literal["ok", "skipped", "failed"]:
    if error is None:
        return "ok"
    return "skipped" if isinstance(error, NotApplicable | UsageError) else "failed"


def _none_left(cell: Cell, tried: Sequence[_Tried]) -> SplitsecError:
    """Return the error of an ensemble none of whose members has scores."""
    said = "; ".join(f"{one.cell.spec.attack}: {str(one.error).rstrip('.')}" for one in tried)
    kind = (
        NotApplicable if all(isinstance(one.error, NotApplicable) for one in tried) else PluginError
    )
    return kind(f"no member of {cell.attack.label} has a result ({said})")


def _threat(cell: Cell) -> ThreatModel:
    """Return what the members declare together, whether they worked or not."""
    threats = []
    for member in cell.members:
        with suppress(SplitsecError):  # it does not apply with these parameters
            threats.append(Attacker(member).threat)
    return together(threats)


def _combined(
    result: CellResult, done: Sequence[CellResult], tried: Sequence[_Tried]
) -> CellResult:
    """Return the result of the members that have scores, taken as one attack."""
    scores = [one.scores for one in done if one.scores is not None]
    worst = max(scores, key=lambda one: _recovered(getattr(one.victims, one.leakage.victims)))
    flags = [flag for one in done for flag in one.flags]
    return replace(
        result,
        mounted=_mounted(done[scores.index(worst)], done),
        scores=_worst_of_each_set(worst, scores),
        access=_access([one.access for one in done if one.access is not None]),
        curves={
            f"{one.cell.spec.attack}: {name}": values
            for one in tried
            for name, values in (one.result.curves or {}).items()
        },
        flags=(*flags, *raised(ensemble_incomplete=len(done) < len(tried))),
    )


def _worst_of_each_set(worst: AttackScores, scores: Sequence[AttackScores]) -> AttackScores:
    """Return the scores of the worst member, and of its other set of victims those of its worst."""
    if worst.leakage.victims == "training":
        other = max(scores, key=lambda one: _recovered(one.victims.held_out))
        victims = Victims(training=worst.victims.training, held_out=other.victims.held_out)
        return replace(worst, victims=victims, held_out=other.held_out)
    other = max(scores, key=lambda one: _recovered(one.victims.training))
    victims = Victims(training=other.victims.training, held_out=worst.victims.held_out)
    return replace(worst, victims=victims, training=other.training)


def _recovered(scores: VictimScores | None) -> tuple[float, float]:
    """Return what orders members: leakage, and where that is equal or missing, skill by MSE."""
    if scores is None:
        return -1.0, 0.0
    return scores.leakage.mean or 0.0, scores.skill.mse or 0.0


def _mounted(worst: CellResult, done: Sequence[CellResult]) -> MountedAttack | None:
    """Return the sessions of the worst member, with a hijacked client of any member."""
    if worst.mounted is None:
        return None
    known = [one.mounted for one in done if one.mounted is not None]
    weights = next((one.weights for one in (worst.mounted, *known) if one.weights), {})
    return replace(worst.mounted, weights=weights)


def _access(used: Sequence[Access]) -> Access:
    """Return what was used in all: queries add up, images and pairs are the same for all."""
    return Access(
        queries=sum(one.queries for one in used),
        public_images=max(one.public_images for one in used),
        pairs=max(one.pairs for one in used),
    )
