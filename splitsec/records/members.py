"""What the attacks of an ensemble did, in the form of a record."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from splitsec.metrics.schema import Identification, Skill, VictimScores
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import Access


class MemberScores(BaseModel):
    """The scores of one set of victims.

    Attributes:
        leakage: mean leakage; None where LPIPS is missing.
        skill: the four skills.
        identification: how often a victim is told from others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    leakage: float | None
    skill: Skill
    identification: Identification

    @classmethod
    def of(cls, scores: VictimScores | None) -> MemberScores | None:
        """Return the scores in short; None if there are none."""
        if scores is None:
            return None
        found = scores.privacy.identification
        return cls(leakage=scores.leakage.mean, skill=scores.skill, identification=found)


class MemberResult(BaseModel):
    """What one attack of an ensemble did.

    Attributes:
        attack: its name.
        parameters: all its parameters.
        status: ``"ok"``; ``"skipped"`` if it does not apply to this cell; ``"failed"`` if it
            raised, diverged or exceeded its time.
        reason: one sentence, where the status is not ``"ok"``.
        training: scores of training victims, None where they are not scored.
        held_out: scores of held-out victims.
        access: how much of its grants it used.
        convergence: its own errors at half and at full length of its training.
        seconds: time of its sessions and its training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    parameters: dict[str, Any]
    status: Literal["ok", "skipped", "failed"]
    reason: str | None = None
    training: MemberScores | None = None
    held_out: MemberScores | None = None
    access: Access | None = None
    convergence: tuple[Convergence, ...] = ()
    seconds: float = Field(ge=0)

    @property
    def converged(self) -> bool:
        """Whether none of its errors still fell; True also if it reports none."""
        return all(one.reached for one in self.convergence)
