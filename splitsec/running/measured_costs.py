"""Measures what stages of a cell cost, by timing a few steps of each on images drawn at random.

A dry run uses it where no record tells the time. It reads nothing of the data set, writes nothing,
and looks at no number of a measured session.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from splitsec.cells.attacker import Attacker
from splitsec.cells.cell import Cell
from splitsec.cells.private_side import PrivateSide
from splitsec.checkpoint import Checkpoints
from splitsec.data.parts import Data, Part
from splitsec.errors import NotApplicable, SplitsecError
from splitsec.plugins.grants import given
from splitsec.progress import Progress, Silent, Stage
from splitsec.running.estimate import MeasuredCell, attack_kind, like_attack, session_kind
from splitsec.training.trained import TrainedSession

_DRAWN = 256  # images; more are repetitions of these
_STEPS, _SECONDS = 6, 2.0  # of a stage that are timed, whichever comes first
_MOST_SECONDS = 60.0  # for all kinds of cells together


def measure(cells: Sequence[Cell]) -> list[MeasuredCell]:
    """Measure each kind of attack and of honest session once, for at most a minute.

    Args:
        cells: resolved cells.

    Returns:
        Cells with the seconds of their honest training, of their attack, or of both; kinds that
        there was no time for are left out. The time of scoring is not in them, nor that of later
        stages of a passive attack's ``fit``.
    """
    until = time.monotonic() + _MOST_SECONDS
    threads = torch.get_num_threads()
    found: list[MeasuredCell] = []
    attacks = {attack_kind(one.spec): one for one in cells}
    firsts = {like_attack(one.spec): one for one in attacks.values()}
    attacks = {attack_kind(one.spec): one for one in firsts.values()} | attacks  # each once, first
    timed: set[Hashable] = set()
    for cell, whole in (
        *((one, True) for one in attacks.values()),
        *((one, False) for one in cells),
    ):
        if time.monotonic() > until:
            break
        session = session_kind(cell.spec)
        if not whole and session in timed:
            continue
        torch.set_num_threads(cell.spec.threads)
        try:
            found.append(_measure(cell) if whole else _measure_session(cell))
            timed.add(session)
        except SplitsecError:
            continue  # what cannot be measured has no estimate, and is counted as such
        finally:
            torch.set_num_threads(threads)
    return found


def _measure_session(cell: Cell) -> MeasuredCell:
    with _built(cell) as (_, side):
        seconds = _seconds(lambda progress: side.honest(progress, []))
    return MeasuredCell(cell.spec, {"honest training": seconds})


def _measure(cell: Cell) -> MeasuredCell:
    if cell.members:
        members = [one.timings for one in map(_measure_member, cell.members) if one is not None]
        if not members:
            raise NotApplicable("no attack of the ensemble applies")
        attack = sum(one.get("attack", 0.0) for one in members)
        return MeasuredCell(cell.spec, {**members[0], "attack": attack})
    with _built(cell) as (attacker, side):
        listeners = [attacker] if attacker.listens else []
        timings = {"honest training": _seconds(lambda progress: side.honest(progress, listeners))}
        if attacker.attack.reconstructs:
            timings["attack"] = _attack_seconds(cell, attacker, side)
    return MeasuredCell(cell.spec, timings)


def _measure_member(member: Cell) -> MeasuredCell | None:
    """Measure an attack of an ensemble, or return None if the ensemble runs without it."""
    try:
        return _measure(member)
    except NotApplicable:
        return None


@contextmanager
def _built(cell: Cell) -> Iterator[tuple[Attacker, PrivateSide]]:
    """Build both sides of a cell, and close them; an attack that does not apply says so here."""
    with closing(PrivateSide(cell, _random_data(cell, cell.spec.private))) as side:
        attacker = Attacker(cell)
        attacker.build(side.view(attacker), Checkpoints())
        with closing(attacker):
            yield attacker, side


def _attack_seconds(cell: Cell, attacker: Attacker, side: PrivateSide) -> float:
    """Return the seconds of an attack's own sessions, and of the first stage of its ``fit``."""
    if attacker.threat.active:
        return sum(
            (
                _seconds(partial(side.hijacked, attacker, plan, number=number))
                for number, plan in enumerate(attacker.plans())
            ),
            start=0.0,
        )
    trained, short = _short_session(cell, attacker)
    try:
        attacker.seen.add(given(attacker.threat, "end", short.holdings(clients=trained)))
        return _seconds(attacker.attack.fit)
    finally:
        short.close()


def _short_session(cell: Cell, attacker: Attacker) -> tuple[TrainedSession, PrivateSide]:
    """Run an honest session of a few exchanges, to which the attack listens."""
    training = cell.spec.training.model_copy(update={"epochs": 1, "keep": "last"})
    count = max(2 * training.batch_size, 2 * cell.spec.clients)
    spec = cell.spec.model_copy(update={"training": training, "private": count, "victims": 2})
    short = PrivateSide(replace(cell, spec=spec), _random_data(cell, count))
    return short.honest(Silent(), [attacker]), short


class _EnoughError(BaseException):
    """A stage has been timed; not an Exception, so that no plug-in is blamed for it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def _seconds(run: Callable[[Progress], object]) -> float:
    """Return the seconds of a function that reports its progress, from the steps of one stage."""
    start = time.perf_counter()
    try:
        run(_Sampler())
    except _EnoughError as enough:
        return enough.seconds
    return time.perf_counter() - start


class _Sampler(Silent):
    """A progress that ends a stage once a few of its steps have been timed."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Yield a stage that ends by an exception, unless it is done before."""
        yield _SampledStage(total)


class _SampledStage:
    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._start = self._first = time.perf_counter()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count steps; the first one has costs of its own, and counts for itself."""
        if not steps:
            return
        now = time.perf_counter()
        self._done += steps
        if self._done == steps:
            self._first = now
            return
        if self._done >= _STEPS or now - self._first >= _SECONDS:
            each = (now - self._first) / (self._done - 1)
            raise _EnoughError(self._first - self._start + each * (self._total - 1))


class _RepeatedPart(Part):
    """A part of many images that repeats a few."""

    def batch(self, rows: Sequence[int]) -> Tensor:
        return super().batch([row % len(self.images) for row in rows])

    def targets(self, rows: Sequence[int]) -> Tensor:
        return super().targets([row % len(self.images) for row in rows])


def _random_data(cell: Cell, private: int) -> Data:
    """Return images drawn at random in place of a cell's, as many of each part."""
    spec, clients = cell.spec, cell.spec.clients
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (_DRAWN, *cell.image), dtype=np.uint8)
    labels = np.arange(_DRAWN, dtype=np.int64) % 2
    masks = None
    if cell.target.plugin.cls.task_for(cell.target.parameters) == "segmentation":
        masks = generator.integers(0, 2, (_DRAWN, 1, *cell.image[1:]), dtype=np.uint8)

    def part(count: int) -> Part:
        rows = np.arange(count, dtype=np.int64)
        if cell.apart is None:
            return _RepeatedPart(images, labels, rows, masks)
        drawn = rows % _DRAWN  # another process gets all of them
        return Part(images[drawn], labels[drawn], rows, None if masks is None else masks[drawn])

    shares = [private // clients + (one < private % clients) for one in range(clients)]
    return Data(
        spec=cell.data_spec(),
        classes=("0", "1"),
        sha256="",
        images_sha256="",
        private=tuple(map(part, shares)),
        public=part(spec.public),
        validation=part(max(2, spec.validation)),
        held_out=part(spec.held_out),
        disclosures=(),
    )
