"""Mounts the attacks of an ensemble one after the other, and scores victims by the worst of them.

Each member is a cell of its own (:attr:`splitsec.cells.cell.Cell.members`), so it is mounted like
any attack and recovers what it recovers alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from splitsec.cells.attacker import Attacker
from splitsec.cells.cell import Cell
from splitsec.cells.mounting import mount
from splitsec.cells.results import AttackScores, CellResult, MountedAttack, Stopwatch
from splitsec.cells.shared_session import SharedSession
from splitsec.errors import NotApplicable, PluginError, SplitsecError, UsageError
from splitsec.metrics.label_schema import LabelScores
from splitsec.metrics.schema import VictimScores
from splitsec.plugins.ensemble import together
from splitsec.plugins.grants import Access, ThreatModel
from splitsec.progress import Progress
from splitsec.records.members import MemberResult, MemberScores
from splitsec.records.record import INCOMPLETE, Victims


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

    @property
    def scores(self) -> AttackScores:
        """Its scores, if it has no error."""
        assert self.result.scores is not None, "a member without scores has an error"
        return self.result.scores

    def told(self) -> MemberResult:
        """Return what the record says of it."""
        scores = None if self.error else self.scores
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
    if all(one.error is not None for one in tried):
        yield result
        raise _none_left(cell, tried)
    yield _combined(result, tried)


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
    except SplitsecError as raised:
        error = type(raised)(str(raised))  # without a traceback, which would keep the attack
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


def _combined(result: CellResult, tried: Sequence[_Tried]) -> CellResult:
    """Return the result of the members that have scores, taken as one attack."""
    done = [one for one in tried if one.error is None]
    results = [one.result for one in done]
    worst = max(done, key=lambda one: _recovered(one.scores, one.scores.leakage.victims))
    return replace(
        result,
        mounted=_mounted(worst.result, results),
        scores=replace(
            _of_each_set(worst, [one.scores for one in done]),
            labels=LabelScores.worst_of(
                [one.scores.labels for one in done if one.scores.labels is not None]
            ),
        ),
        access=_access([one.access for one in results if one.access is not None]),
        curves={
            f"{one.cell.spec.attack}: {name}": values
            for one in done
            for name, values in (one.result.curves or {}).items()
        },
        flags=(
            *(flag for one in results for flag in one.flags),
            *([INCOMPLETE] if len(done) < len(tried) else []),
        ),
    )


def _of_each_set(worst: _Tried, scores: Sequence[AttackScores]) -> AttackScores:
    """Return the scores of the worst member, with its other victims scored by their worst."""
    own = worst.scores
    named = own.leakage.model_copy(update={"member": worst.cell.spec.attack})
    sets: dict[str, AttackScores] = {
        victims: own
        if victims == named.victims
        else max(scores, key=partial(_recovered, victims=victims))
        for victims in ("training", "held_out")
    }
    return replace(
        own,
        victims=Victims(**{name: getattr(one.victims, name) for name, one in sets.items()}),
        leakage=named,
        training=sets["training"].training,
        held_out=sets["held_out"].held_out,
    )


def _recovered(scores: AttackScores, victims: str) -> tuple[float, float]:
    """Return what orders members: leakage, and where that is equal or missing, skill by MSE."""
    found: VictimScores | None = getattr(scores.victims, victims)
    if found is None:
        return -1.0, 0.0
    return found.leakage.mean or 0.0, found.skill.mse or 0.0


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
