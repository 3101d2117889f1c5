"""The results that the stages of an evaluation return; :mod:`.writing` makes the record of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray
from torch import Tensor

from splitsec.metrics.label_schema import LabelScores
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import Access, ThreatModel
from splitsec.records.image_values import ImageSetValues
from splitsec.records.members import MemberResult
from splitsec.records.record import Leakage, Utility, Victims

Curves = Mapping[str, list[float]]
"""Name of a curve to its values."""

Pictures = Mapping[str, NDArray[Any]]
"""Name to images, or other arrays, that are kept beside the record."""

Weights = Mapping[str, Mapping[str, Tensor]]
"""Name of an artifact to its weights, by name."""


class Stopwatch:
    """Adds up the seconds of stages.

    Attributes:
        seconds: stage to its seconds.
    """

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds = dict(seconds or {})

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a block to a stage, also when the block fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


class Panel(NamedTuple):
    """The contents of a record's panel, one column per victim.

    Attributes:
        title: names the cell.
        originals: shape (n, C, H, W), in [0, 1].
        reconstructions: the same shape.
        trivial: the same shape; the guesses of the strongest blind attacker.
        scores: measure to its value, once per column.
    """

    title: str
    originals: NDArray[Any]
    reconstructions: NDArray[Any]
    trivial: NDArray[Any]
    scores: list[dict[str, float]]

    def pictures(self) -> Pictures:
        """Return its images by name."""
        return {
            "originals": self.originals,
            "reconstructions": self.reconstructions,
            "trivial": self.trivial,
        }


@dataclass(frozen=True)
class SessionResult:
    """The results of an honest session, as far as it got.

    Attributes:
        exchanges: number of exchanges.
        ended: why a defense ended it, or None.
        curves: loss, and measures on validation images.
        utility: utility of the model, once it is measured.
        notes: sentences for the reader of the utility.
        flags: flags that the session raised.
        held_out: the held-out images and the model's answers, once they are measured.
        pictures: example pictures of the model.
        weights: weights of the trained model.
    """

    exchanges: int
    ended: str | None
    curves: Curves
    utility: Utility | None = None
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    held_out: ImageSetValues | None = None
    pictures: Pictures = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class MountedAttack:
    """Summary of the sessions of an attack.

    Attributes:
        exchanges: number of exchanges in all sessions that it attacked.
        ended: why a defense ended one of them (the first that was ended), or None.
        weights: the clients' weights after an active attack.
    """

    exchanges: int
    ended: str | None
    weights: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class AttackScores:
    """Scores of an attack.

    Attributes:
        victims: scores of both sets of victims.
        leakage: the headline number.
        panel: contents of the panel.
        ranked: pictures of the victims of :data:`splitsec.records.image_values.RANKED`.
        held_out: what was measured of each held-out image.
        training: what was measured of each training victim; None where they are not scored.
        labels: how well labels that clients keep are predicted; None where they keep none.
        flags: flags that the scores raised.
        notes: sentences for the reader.
    """

    victims: Victims
    leakage: Leakage
    panel: Panel
    ranked: Pictures
    held_out: ImageSetValues
    training: ImageSetValues | None
    labels: LabelScores | None = None
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellResult:
    """The results of a cell, as far as it got; stages that it did not reach are None or empty.

    Attributes:
        session: results of its honest session.
        threat: threat model that its attack declares.
        mounted: summary of the attack's sessions.
        scores: scores of the attack.
        access: access that the attack used.
        curves: curves of the attack.
        convergence: its own errors at half and at full length.
        members: the attacks of an ensemble.
        flags: flags that the cell itself raised.
    """

    session: SessionResult | None = None
    threat: ThreatModel | None = None
    mounted: MountedAttack | None = None
    scores: AttackScores | None = None
    access: Access | None = None
    curves: Curves | None = None
    convergence: tuple[Convergence, ...] = ()
    members: tuple[MemberResult, ...] = ()
    flags: tuple[str, ...] = ()


def raised(**flags: bool) -> tuple[str, ...]:
    """Return the names of the flags that are true, with hyphens between words."""
    return tuple(name.replace("_", "-") for name, is_raised in flags.items() if is_raised)
