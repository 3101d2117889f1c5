"""What the stages of a cell's evaluation return; :mod:`.writing` makes the record of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray
from torch import Tensor

from splitsec.plugins.grants import Access, ThreatModel
from splitsec.records.record import Leakage, Utility, Victims

Curves = Mapping[str, list[float]]
"""Name of a curve to its values."""

Pictures = Mapping[str, NDArray[Any]]
"""Name to images, or other arrays, that are kept beside the record."""

Weights = Mapping[str, Mapping[str, Tensor]]
"""Name of an artifact to its weights, by name."""


class Stopwatch:
    """Adds up what stages take.

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
    """What the panel of a record shows, a column per victim.

    Attributes:
        title: names the cell.
        originals: shape (n, C, H, W), in [0, 1].
        reconstructions: of the same shape.
        trivial: what the strongest blind attacker guesses, of the same shape.
        scores: measure to its value, once per column.
    """

    title: str
    originals: NDArray[Any]
    reconstructions: NDArray[Any]
    trivial: NDArray[Any]
    scores: list[dict[str, float]]

    def pictures(self) -> Pictures:
        """Return the images that it shows."""
        return {
            "originals": self.originals,
            "reconstructions": self.reconstructions,
            "trivial": self.trivial,
        }


@dataclass(frozen=True)
class SessionResult:
    """What an honest session yielded, as far as it got.

    Attributes:
        exchanges: how many there were.
        ended: why a defense ended it, or None.
        curves: loss, and measures on validation images.
        utility: what the model is worth, once that is measured.
        flags: raised by the session.
        pictures: of the model at work.
        weights: of the trained model.
    """

    exchanges: int
    ended: str | None
    curves: Curves
    utility: Utility | None = None
    flags: tuple[str, ...] = ()
    pictures: Pictures = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class MountedAttack:
    """How the sessions of an attack went.

    Attributes:
        exchanges: of all the sessions that it attacked.
        ended: why a defense ended the first of them that was ended, or None.
        weights: of the clients, as an active attack left them.
    """

    exchanges: int
    ended: str | None
    weights: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class AttackScores:
    """What an attack recovered.

    Attributes:
        victims: scores of both sets of victims.
        leakage: the headline.
        panel: what the panel shows.
        flags: raised by the scores.
        notes: sentences for the reader.
    """

    victims: Victims
    leakage: Leakage
    panel: Panel
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellResult:
    """What a cell has yielded, as far as it got; what is missing was not reached.

    Attributes:
        session: its honest session.
        threat: what its attack declares.
        mounted: how the attack's sessions went.
        scores: what the attack recovered.
        access: what the attack used.
        curves: the attack's own.
        flags: raised by the cell itself.
    """

    session: SessionResult | None = None
    threat: ThreatModel | None = None
    mounted: MountedAttack | None = None
    scores: AttackScores | None = None
    access: Access | None = None
    curves: Curves | None = None
    flags: tuple[str, ...] = ()


def raised(**flags: bool) -> tuple[str, ...]:
    """Return the names of the flags that are raised, words joined by hyphens."""
    return tuple(name.replace("_", "-") for name, is_raised in flags.items() if is_raised)
