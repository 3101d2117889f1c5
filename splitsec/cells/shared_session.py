"""The honest session of cells that differ in their attack alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from splitsec.cells.attacker import Attacker
from splitsec.cells.cell import Cell
from splitsec.cells.example_pictures import examples
from splitsec.cells.private_side import PrivateSide
from splitsec.cells.results import Findings
from splitsec.cells.score_attack import SessionBaselines
from splitsec.cells.score_utility import measure_utility, validation_scores
from splitsec.checkpoint import Checkpoints
from splitsec.data.parts import Data
from splitsec.errors import (
    SplitsecError,
    UsageError,
)
from splitsec.progress import Progress
from splitsec.records.trained_models import HONEST, weights
from splitsec.training.trained import TrainedSession


class SharedSession:
    """The honest session of cells that differ in their attack alone; run once, when needed.

    Args:
        cells: the cells.
        data: their images.
        checkpoints: where the session and its attacks are saved.

    Attributes:
        data: their images.
        side: the private side.
        trained: what the session left behind.
        released: smashed data of the held-out images.
        baselines: what attackers that see nothing reach.
        findings: utility, history and timings, for every cell.
    """

    side: PrivateSide
    trained: TrainedSession
    released: Tensor
    baselines: SessionBaselines

    def __init__(self, cells: Sequence[Cell], data: Data, checkpoints: Checkpoints) -> None:
        self.data = data
        self._checkpoints = checkpoints
        self.findings = Findings()
        self._cells = cells
        self._outcome: SplitsecError | None = None
        self._has_run = False
        self._attackers: dict[int, Attacker | SplitsecError] = {}

    def run(self, progress: Progress) -> None:
        """Run the session, with all passive attacks listening, unless that was done.

        Raises:
            SplitsecError: it failed, now or before.
        """
        if not self._has_run:
            self._has_run = True
            try:
                self._run(progress)
            except SplitsecError as error:
                self._outcome = error
        if self._outcome is not None:
            raise self._outcome

    def attacker(self, cell: Cell) -> Attacker:
        """Return a cell's attack, built with all others of the session when first asked for.

        Raises:
            SplitsecError: it could not be built.
        """
        if not self._attackers:
            self.side = PrivateSide(self._cells[0], self.data, self._checkpoints)
            self.baselines = SessionBaselines(self.data, self.side.victims)
            for one in self._cells:
                self._attackers[id(one)] = self._build(one)
        built = self._attackers[id(cell)]
        if isinstance(built, SplitsecError):
            raise built
        return built

    def release(self, cell: Cell) -> None:
        """End the process of a cell's attack, if it has one."""
        built = self._attackers.get(id(cell))
        if isinstance(built, Attacker):
            built.close()

    def close(self) -> None:
        """End the processes of all attacks."""
        for cell in self._cells:
            self.release(cell)

    def _run(self, progress: Progress) -> None:
        built = [one for one in self._attackers.values() if isinstance(one, Attacker)]
        with self.findings.timed("honest training"):
            self.trained = self.side.honest(
                progress,
                [one for one in built if not one.threat.active],
                self._validate,
                self.findings.timings,
            )
        self.findings.models[HONEST] = weights(self.trained.model)
        # What listeners and validation took is not training.
        elsewhere = sum(one.heard.seconds for one in built)
        elsewhere += self.findings.timings.get("validation", 0)
        before = self.trained.session.seconds_before
        self.findings.timings["honest training"] += before - elsewhere
        self.findings.fields["history"] = {
            "training": {"loss": self.trained.losses, **self.trained.epochs}
        }
        ended = self.trained.session.ended
        self.findings.flag("honest-session-ended", ended is not None)
        self.released = measure_utility(self._cells[0], self.trained, self.data, self.findings)
        self.findings.pictures |= examples(self.trained, self.data)

    def _validate(self, trained: TrainedSession) -> dict[str, float]:
        with self.findings.timed("validation"):
            return validation_scores(trained, self.data)

    def _build(self, cell: Cell) -> Attacker | SplitsecError:
        try:
            attacker = Attacker(cell)
            if cell.attack.plugin.cls.reconstructs and not len(self.data.public):
                raise UsageError(
                    f"{attacker.label} needs public images, and this data set leaves none: what "
                    "a server that sees nothing would guess is made of them"
                )
            attacker.build(self.side.view(attacker), self._checkpoints)
        except SplitsecError as error:
            return error
        return attacker
