"""Runs the sessions of a cell: the honest one and those that an active attack hijacks.

All start with the same client weights and see the same batches. The honest session gives the
utility and the frozen client that passive attacks work on; cells that differ only in their attack
share it. An active attack takes the server's place from the first exchange of its own sessions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from splitsec.cells.attacker import Attacker, Hijacker
from splitsec.cells.cell import Cell, build_model
from splitsec.cells.choosing_victims import choose_held_out_victims, choose_training_victims
from splitsec.cells.clients import (
    check_defense_acts,
    check_sent,
    copy_of_defense,
    granted_copy,
    plan_of,
    refuse_frozen,
    side_of,
    start_clients,
)
from splitsec.checkpoint import Checkpoints
from splitsec.data.parts import Data
from splitsec.errors import UsageError, blaming
from splitsec.isolation import Isolation
from splitsec.isolation.host import Guest
from splitsec.plugins.attack import Hijacking
from splitsec.plugins.grants import Holdings, given
from splitsec.plugins.target import SplitModel, Target, smashed_shape, without_weights
from splitsec.plugins.toolbox.optimization import set_rate
from splitsec.plugins.view import ServerKnowledge, View
from splitsec.progress import Progress
from splitsec.shapes import SmashedShape
from splitsec.training.client import SessionClient
from splitsec.training.honest_server import HonestServer, InferenceServer
from splitsec.training.isolated_clients import IsolatedSide
from splitsec.training.loop import (
    Hooks,
    Schedule,
    Session,
    exchanges_in,
    exchanges_per_epoch,
    run_session,
)
from splitsec.training.optimizers import make_optimizer, rate_after
from splitsec.training.sides import ClientSide, ReleaseSeeds
from splitsec.training.traffic import Traffic
from splitsec.training.trained import TrainedSession
from splitsec.training.wire import Wire


class PrivateSide:
    """Builds clients, senders and servers for cells that differ only in their attack.

    Args:
        cell: one of the cells.
        data: their images.
        checkpoints: saves the sessions.

    Attributes:
        victims: (client, row) of the training victims.
        held_out_victims: rows of the held-out images that are attacked, in order.
        smashed: shape of one image's smashed data.
        u_shaped: whether the client keeps the model's head and the labels.
        trains: whether its sessions train the model, or use it as it is.
        labels_shared: whether clients send labels.
    """

    def __init__(self, cell: Cell, data: Data, checkpoints: Checkpoints | None = None) -> None:
        check_defense_acts(cell)
        self.cell = cell
        self.data = data
        self.checkpoints = checkpoints or Checkpoints()
        self._sides: list[ClientSide | IsolatedSide] = []
        self._started: list[Guest] = []
        self.victims = choose_training_victims(data, cell.spec.victims)
        self.held_out_victims = choose_held_out_victims(data, cell.spec.victims)
        self._label = cell.target.label
        with blaming(self._label, "__init__()"):
            target: Target[Any] = cell.target.plugin.cls(cell.target.parameters)
        self.target = target
        self.trains = cell.spec.training.trains
        self._without_weights = without_weights(target)
        model = self.model()
        if self.trains:
            refuse_frozen(self._label, model.client)
        self.u_shaped = model.head is not None
        self.labels_shared = cell.spec.training.shares_labels(u_shaped=self.u_shaped)
        with blaming(self._label, "the client's forward()"):
            self.smashed: SmashedShape = smashed_shape(model.client, cell.image)

    def model(self) -> SplitModel:
        """Build the split target, with the weights that a session starts from."""
        return build_model(self.cell, self.target, self.data.outputs)

    def _fresh_model(self, stage: str) -> SplitModel:
        """Build it for an attacker: with random weights that no session has, by each stage's name.

        Trained weights that the target reads from a file are left out, since they are granted as
        ``client_weights`` alone.
        """
        return build_model(self.cell, self._without_weights, self.data.outputs, stage)

    def honest(
        self,
        progress: Progress,
        attackers: Sequence[Attacker] = (),
        validate: Callable[[TrainedSession], dict[str, float]] | None = None,
        timings: dict[str, float] | None = None,
    ) -> TrainedSession:
        """Run the honest session.

        Args:
            progress: receives a progress report per exchange.
            attackers: attacks that listen.
            validate: measures the model after each epoch; the first measure chooses the epoch
                if the training keeps the best one.
            timings: collects the seconds spent in ``validate``; saved with the session.

        Raises:
            UsageError: training keeps the best epoch, and the validation images cannot choose it.
        """
        training = self.cell.spec.training
        if training.keep == "best":
            self._refuse_undecided()
        trained = self._new_session()
        model, clients = trained.model, trained.clients
        optimizer = make_optimizer(training, model.server)
        serving = HonestServer if self.trains else InferenceServer
        server = serving(
            model.server,
            self.target.loss,
            optimizer,
            self._label,
            self.cell.client_key(),
            self.cell.spec.precision,
        )
        trained.losses = server.losses
        holdings = self.holdings(server=model.server.train(self.trains))
        for attacker in attackers:
            attacker.seen.add(given(attacker.threat, "training", holdings))
        best = _BestEpoch() if training.keep == "best" else None

        def after_epoch() -> None:
            scores = validate(trained) if validate else {}
            for name, value in scores.items():
                trained.epochs.setdefault(name, []).append(value)
            if best is not None and scores:
                best.offer(next(iter(scores.values())), trained)

        def note() -> str:
            losses = server.losses or trained.session.losses
            return f"loss {losses[-1]:.3f}" if losses else ""

        exchanges = exchanges_in(clients, training)

        def before_exchange(step: int, client: SessionClient) -> None:
            rate = rate_after(training, step / exchanges)
            if rate is not None:
                set_rate(optimizer, rate)
                client.set_rate(rate)

        listeners = [(one.observe, one.threat) for one in attackers]
        run_session(
            "honest training",
            clients,
            Wire(server, listeners, traffic=trained.traffic),
            Schedule(training, self.cell.client_key(), exchanges),
            progress,
            trained.session,
            Hooks(
                note=note,
                before_exchange=before_exchange,
                after_epoch=after_epoch,
                saving=lambda: self.checkpoints.stage(
                    "honest training",
                    **_state(trained),
                    server_model=model.server,
                    server_optimizer=optimizer,
                    server_losses=server.losses,
                    epochs=trained.epochs,
                    best=best,
                    timings=timings,
                    **{f"attack {one.key()}": (one.attack, one.heard) for one in attackers},
                ),
            ),
        )
        trained.losses = server.losses or trained.session.losses
        if best is not None:
            best.restore(trained)
        trained.side.hand_over(model)
        return trained

    def hijacked(
        self, attacker: Attacker, plan: Hijacking, progress: Progress, number: int = 0
    ) -> TrainedSession:
        """Run a session in which an active attack takes the server's place.

        Args:
            attacker: the attack.
            plan: how it runs the session.
            progress: receives a progress report per exchange.
            number: index of the session, from 0; each starts with the same client weights.

        Raises:
            PluginError: the attack broke its contract.
        """
        trained = self._new_session(plan.learning_rate, honest=False)
        again = f" {number + 1}" if number else ""
        run_session(
            f"{attacker.cell.spec.attack} in the server's place{again}",
            trained.clients,
            Wire(
                Hijacker(attacker, number),
                seen=attacker.threat,
                traffic=trained.traffic,
            ),
            Schedule(
                self.cell.spec.training,
                self.cell.client_key(),
                plan.exchanges,
                plan.batch_size,
            ),
            progress,
            trained.session,
            Hooks(
                after_epoch=partial(self._as_if_honest, trained),
                saving=lambda: attacker.attack.checkpoints.stage(
                    f"hijacked session{again}", **_state(trained), attack=attacker.attack
                ),
            ),
        )
        trained.losses = trained.session.losses
        self._as_if_honest(trained, done=True)
        trained.side.hand_over(trained.model)
        return trained

    def _as_if_honest(self, trained: TrainedSession, *, done: bool = False) -> None:
        """Ask clients in a process of their own for what they do in an honest session, too.

        Without this they could tell that an attack is in the server's place. It changes no number.
        """
        if self.cell.apart is None:
            return
        best = self.cell.spec.training.keep == "best"
        if not done:
            trained.release(self.data.validation.all(), "validation")  # what they see of predict()
        if best:
            trained.side.remember()
        if best and done:
            trained.side.recall()

    def check_copies(self, attacker: Attacker, trained: TrainedSession) -> None:
        """Check that the copy of a stranger's defense, if an attack has one, is the clients'.

        Raises:
            PluginError: it is not.
        """
        threat, side = attacker.threat, trained.side
        strange = "defense" in self.cell.descriptions
        if strange and threat.defense and threat.queries and isinstance(side, IsolatedSide):
            shapes = self.data, self.smashed
            check_sent(self.cell, *shapes, trained.model, self.target, side)

    def view(self, attacker: Attacker) -> View:
        """Build the view of an attack before any session."""
        known = ServerKnowledge(
            image_shape=self.cell.image,
            smashed_shape=self.smashed,
            outputs=self.data.outputs,
            clients=len(self.data.private),
            exchanges_per_epoch=exchanges_per_epoch(
                map(len, self.data.private), self.cell.spec.training
            ),
            task=self.target.task_for(self.target.parameters),
            loss=self.target.loss,
            u_shaped=self.u_shaped,
            trains=self.trains,
            labels_shared=self.labels_shared,
            server_architecture=self._fresh_model("attacker's server").server,
        )
        granted = given(attacker.threat, "start", self.holdings(isolated=attacker.cell.isolation))
        return View(attacker.cell.spec.attack, attacker.threat, known, granted, self.cell.device)

    def holdings(
        self,
        server: nn.Module | None = None,
        clients: TrainedSession | None = None,
        isolated: Isolation | None = None,
    ) -> Holdings:
        """Return the objects that grants are made from.

        Args:
            server: the honest server's network, while its session runs.
            clients: a session that has ended.
            isolated: how the attack is isolated; its process builds its copy of the defense.
        """
        spec = self.cell.spec
        session = self.cell, self.data, self.smashed
        return Holdings(
            public=self.data.public,
            defense={"name": spec.defense, "parameters": dict(spec.parameters["defense"])},
            fresh_model=lambda: self._fresh_model("attacker's copy"),
            fresh_defense=(
                partial(copy_of_defense, *session, self._without_weights)
                if isolated is None
                else partial(granted_copy, *session, self.model, self.target)
            ),
            server=server,
            clients=clients,
        )

    def expect_session(self) -> None:
        """Start the process of a session's clients ahead, if they are isolated."""
        if self.cell.apart is not None:
            self._started.append(start_clients(self.cell))

    def close(self) -> None:
        """End the processes of all clients."""
        for one in (*self._sides, *self._started):
            one.close()

    def _new_session(
        self, learning_rate: float | None = None, *, honest: bool = True
    ) -> TrainedSession:
        """Return a session that has not begun, with its clients."""
        model = self.model()
        plan = plan_of(self.cell, self.data, self.smashed, learning_rate)
        guest = self._started.pop(0) if self._started else None
        side = side_of(self.cell, plan, model, self.target, self.data, guest)
        self._sides.append(side)
        seeds = ReleaseSeeds(tuple(one.generator for one in plan.defenses), self.data.sha256)
        traffic = Traffic(self.victims)
        precision = self.cell.spec.precision
        return TrainedSession(
            model, side, seeds, Session(), [], traffic, honest=honest, precision=precision
        )

    def _refuse_undecided(self) -> None:
        """Raise a UsageError if the validation images cannot choose the best epoch."""
        part = self.data.validation
        if self.data.task == "classification" and len(np.unique(part.labels)) < 2:
            raise UsageError(
                "training.keep=best chooses the epoch by the AUC on validation images, and all "
                f"{len(part)} are of one class; ask for more, or for training.keep=last"
            )


def _state(trained: TrainedSession) -> dict[str, object]:
    """Return the state of the private side in a session."""
    return {
        **trained.side.parts_of_state(),
        "session": trained.session,
        "sent": trained.traffic.sent,
        "sent_labels": trained.traffic.labels,
        "sent_feature_gradients": trained.traffic.feature_gradients,
    }


class _BestEpoch:
    """Remembers the weights, defenses and traffic of the epoch with the highest score."""

    def __init__(self) -> None:
        self._score = -math.inf
        self._server: dict[str, Tensor] | None = None
        self._sent: dict[tuple[int, int], Tensor] = {}
        self._gradients: dict[tuple[int, int], Tensor] = {}

    def offer(self, score: float, trained: TrainedSession) -> None:
        """Remember everything if the score is the highest so far."""
        if score > self._score:
            self._score = score
            trained.side.remember()
            self._server = copy.deepcopy(trained.model.server.state_dict())
            self._sent = dict(trained.traffic.sent)
            self._gradients = dict(trained.traffic.feature_gradients)

    def restore(self, trained: TrainedSession) -> None:
        """Restore the remembered epoch, if there is one."""
        if self._server is None:
            return
        trained.side.recall()
        trained.model.server.load_state_dict(self._server)
        trained.traffic.sent = self._sent
        trained.traffic.feature_gradients = self._gradients
