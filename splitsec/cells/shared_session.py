"""Runs the honest session once for all cells that differ only in their attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from splitsec.cells.attacker import Attacker
from splitsec.cells.cell import Cell
from splitsec.cells.clients import refuse_unknown
from splitsec.cells.example_pictures import examples
from splitsec.cells.image_lists import held_out_images
from splitsec.cells.private_side import PrivateSide
from splitsec.cells.results import SessionResult, Stopwatch, raised
from splitsec.cells.score_attack import SessionBaselines
from splitsec.cells.score_utility import score_utility, validation_scores
from splitsec.checkpoint import Checkpoints
from splitsec.data.parts import Data
from splitsec.errors import NotApplicable, SplitsecError, UsageError
from splitsec.progress import Progress
from splitsec.records.image_values import ImageSetValues
from splitsec.records.record import Utility
from splitsec.records.trained_models import HONEST, weights
from splitsec.training.trained import TrainedSession

_GUESSING = 0.5  # AUC of an answer that ignores the image


def _are_swapped(utility: Utility) -> bool:
    """Return whether a model is surely worse than guessing, as one with other class indices is."""
    interval = utility.auc_interval
    return interval is not None and interval[1] < _GUESSING


class SharedSession:
    """The honest session of cells that differ only in their attack; it runs once, when needed.

    Args:
        cells: the cells; of an ensemble's cell the members attack.
        data: their images.
        checkpoints: saves the session and its attacks.

    Attributes:
        data: their images.
        side: the private side.
        trained: the trained session.
        released: smashed data of the held-out images.
        baselines: scores of blind attackers.
        result: its results, as far as it got; None before training.
        clock: seconds of its stages.
    """

    side: PrivateSide
    trained: TrainedSession
    released: Tensor
    baselines: SessionBaselines

    def __init__(self, cells: Sequence[Cell], data: Data, checkpoints: Checkpoints) -> None:
        self.data = data
        self.result: SessionResult | None = None
        self.clock = Stopwatch()
        self._checkpoints = checkpoints
        self._cells = [one for cell in cells for one in cell.members or (cell,)]
        self._outcome: SplitsecError | None = None
        self._has_run = False
        self._attackers: dict[int, Attacker | SplitsecError] = {}
        self._is_built = False

    def run(self, progress: Progress) -> SessionResult:
        """Run the session with all attacks that listen; later calls return its result.

        Raises:
            SplitsecError: the session failed, now or in an earlier call.
        """
        if not self._has_run:
            self._has_run = True
            self._build()
            try:
                self._train(progress)
                self._measure()
            except SplitsecError as error:
                self._outcome = error
        if self._outcome is not None:
            raise self._outcome
        assert self.result is not None, "it has run"
        return self.result

    def attacker(self, cell: Cell) -> Attacker:
        """Return a cell's attack; the first call builds all attacks of the session.

        Raises:
            SplitsecError: it could not be built.
        """
        self._build()
        built = self._attackers[id(cell)]
        if isinstance(built, SplitsecError):
            raise built
        return built

    def release(self, cell: Cell) -> None:
        """Forget a cell's attack, and end its process if it has one."""
        built = self._attackers.pop(id(cell), None)
        if isinstance(built, Attacker):
            built.close()

    def close(self) -> None:
        """End the processes of all attacks and clients."""
        for cell in self._cells:
            self.release(cell)
        if self._is_built:
            self.side.close()

    def _build(self) -> None:
        """Build all attacks of the session, once."""
        if self._is_built:
            return
        self.side = PrivateSide(self._cells[0], self.data, self._checkpoints)
        self._is_built = True
        self.side.expect_session()
        self.baselines = SessionBaselines(
            self.data, self.side.victims, self.side.held_out_victims, self._cells[0].device
        )
        for one in self._cells:
            self._attackers[id(one)] = self._built(one)

    def _train(self, progress: Progress) -> None:
        """Run the honest training, and keep its result."""
        built = [one for one in self._attackers.values() if isinstance(one, Attacker)]
        if any(one.threat.active for one in built):
            self.side.expect_session()
        with self.clock.timed("honest training"):
            self.trained = self.side.honest(
                progress, [one for one in built if one.listens], self._validate, self.clock.seconds
            )
        session = self.trained.session
        # The time of listeners and validation does not count as training.
        elsewhere = sum(one.heard.seconds for one in built)
        elsewhere += self.clock.seconds.get("validation", 0)
        self.clock.add("honest training", session.seconds_before - elsewhere)
        self.result = SessionResult(
            exchanges=session.exchanges,
            ended=session.ended,
            curves={"loss": self.trained.losses, **self.trained.epochs},
            flags=raised(
                labels_shared=self.side.labels_shared,
                training_images_unknown=self._has_unknown_past(),
                honest_session_ended=session.ended is not None,
            ),
            weights={HONEST: weights(self.trained.model)},
        )

    def _has_unknown_past(self) -> bool:
        """Return whether the model has trained weights of images that nobody named."""
        target = self._cells[0].target
        weights = [getattr(target.parameters, name) for name in target.plugin.cls.weights_from]
        return any(weights) and not self.data.training_known

    def _measure(self) -> None:
        """Measure the utility of the trained model, and add it to the result."""
        assert self.result is not None, "it is trained first"
        cell, images = self._cells[0], self.data.held_out.all()
        if not self.side.target.knows_server:
            self.released = self.trained.release(images, "held-out")
            values = ImageSetValues(held_out_images(self.data))
            self.result = replace(self.result, held_out=values)
            return
        with self.clock.timed("test"):
            self.released, outputs = self.trained.predict(images, "held-out")
        with self.clock.timed("utility"):
            score = score_utility(cell.target.label, self.released, outputs, self.data)
        undefended = cell.spec.defense == "none"
        flags = raised(
            classes_swapped=_are_swapped(score.utility),
            target_never_learned=undefended and not score.learned,
            defense_broke_utility=not undefended and not score.learned,
        )
        self.result = replace(
            self.result,
            utility=score.utility,
            notes=score.notes,
            flags=self.result.flags + flags,
            held_out=ImageSetValues(held_out_images(self.data), utility=score.answers),
            pictures=examples(self.trained, self.data),
        )

    def _validate(self, trained: TrainedSession) -> dict[str, float]:
        if not self.side.target.knows_server:
            return {}
        with self.clock.timed("validation"):
            return validation_scores(trained, self.data)

    def _built(self, cell: Cell) -> Attacker | SplitsecError:
        try:
            attacker = Attacker(cell)
            if not self.side.target.knows_server:
                refuse_unknown(attacker.label, attacker.threat)
            if attacker.threat.active and not cell.spec.training.trains:
                raise NotApplicable(
                    f"{attacker.label} steers the client in training, and nothing is trained here "
                    "(training.mode=inference)"
                )
            if cell.attack.plugin.cls.reconstructs and not len(self.data.public):
                raise UsageError(
                    f"{attacker.label} needs public images, and this data set leaves none: what "
                    "a server that sees nothing would guess is made of them"
                )
            attacker.build(self.side.view(attacker), self._checkpoints)
        except SplitsecError as error:
            return error
        return attacker
