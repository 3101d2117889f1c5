"""Runs the sessions of a cell: the honest one and those that an active attack hijacks.

All start with the same client weights and see the same batches. The honest session gives the
utility and the frozen client that passive attacks work on; cells that differ only in their attack
share it. An active attack takes the server's place from the first exchange of its own sessions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splitsec.cells.attacker import Attacker, Hijacker
from splitsec.cells.cell import Cell, build_model, victims_of
from splitsec.checkpoint import Checkpoints
from splitsec.data.parts import Data
from splitsec.errors import UsageError, blaming
from splitsec.plugins.attack import Hijacking
from splitsec.plugins.defense import Defense
from splitsec.plugins.grants import Holdings, given
from splitsec.plugins.target import SplitModel, Target, smashed_shape
from splitsec.plugins.view import ServerKnowledge, View
from splitsec.progress import Progress
from splitsec.randomness import seeded_global_generator, torch_generator
from splitsec.shapes import SmashedShape
from splitsec.training.client import Client
from splitsec.training.honest_server import HonestServer
from splitsec.training.loop import (
    Hooks,
    Schedule,
    Session,
    exchanges_in,
    exchanges_per_epoch,
    run_session,
)
from splitsec.training.optimizers import decay, make_optimizer
from splitsec.training.release import Sender
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
        smashed: shape of one image's smashed data.
        u_shaped: whether the client keeps the model's head and the labels.
    """

    def __init__(self, cell: Cell, data: Data, checkpoints: Checkpoints | None = None) -> None:
        self.cell = cell
        self.data = data
        self.checkpoints = checkpoints or Checkpoints()
        self.victims = victims_of(data.private, cell.spec.victims)
        self._label = cell.target.label
        with blaming(self._label, "__init__()"):
            target: Target[Any] = cell.target.plugin.cls(cell.target.parameters)
        self.target = target
        model = self.model()
        self.u_shaped = model.head is not None
        with blaming(self._label, "the client's forward()"):
            self.smashed: SmashedShape = smashed_shape(model.client, cell.image)

    def model(self, stage: str = "initialisation") -> SplitModel:
        """Build the split target; each stage name gives its own initial weights."""
        return build_model(self.cell, self.target, self.data.outputs, stage)

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
        model = self.model()
        clients = self._clients(model)
        optimizer = make_optimizer(training, model.server)
        server = HonestServer(model.server, self.target.loss, optimizer, self._label)
        holdings = self.holdings(server=model.server.train())
        for attacker in attackers:
            attacker.seen.add(given(attacker.threat, "training", holdings))
        trained = TrainedSession(model, clients, Session(), server.losses, Traffic(self.victims))
        best = _BestEpoch(clients) if training.keep == "best" else None

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
        optimizers = [optimizer, *(client.optimizer for client in clients)]
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
                before_exchange=lambda step: decay(optimizers, training, step / exchanges),
                after_epoch=after_epoch,
                saving=lambda: self.checkpoints.stage(
                    "honest training",
                    **_state(trained),
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
        model = self.model()
        trained = TrainedSession(
            model,
            self._clients(model, plan.learning_rate),
            Session(),
            [],
            Traffic(self.victims),
            honest=False,
        )
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
                saving=lambda: attacker.attack.checkpoints.stage(
                    f"hijacked session{again}", **_state(trained), attack=attacker.attack
                )
            ),
        )
        trained.losses = trained.session.losses
        return trained

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
            task=self.target.task,
            loss=self.target.loss,
            u_shaped=self.u_shaped,
            server_architecture=self.model("attacker's server").server,
        )
        granted = given(attacker.threat, "start", self.holdings())
        return View(attacker.cell.spec.attack, attacker.threat, known, granted, self.cell.device)

    def holdings(
        self, server: nn.Module | None = None, clients: TrainedSession | None = None
    ) -> Holdings:
        """Return the objects that grants are made from.

        Args:
            server: the honest server's network, while its session runs.
            clients: a session that has ended.
        """
        spec = self.cell.spec
        return Holdings(
            public=self.data.public,
            defense={"name": spec.defense, "parameters": dict(spec.parameters["defense"])},
            fresh_model=lambda: self.model("attacker's copy"),
            fresh_defense=lambda: self._defense("attacker's defense")[0],
            server=server,
            clients=clients,
        )

    def _clients(self, model: SplitModel, learning_rate: float | None = None) -> list[Client]:
        return [
            Client(
                part,
                self._sender(index, model),
                model.head,
                self.target.loss,
                make_optimizer(
                    self.cell.spec.training, model.client, model.head, learning_rate=learning_rate
                ),
            )
            for index, part in enumerate(self.data.private)
        ]

    def _sender(self, index: int, model: SplitModel) -> Sender:
        defense, generator = self._defense("defense", client=index)
        names = self._label, self.cell.defense.label
        return Sender(model.client, defense, generator, index, names, self.cell.device)

    def _defense(self, purpose: str, **draw: Any) -> tuple[Defense[Any], torch.Generator]:
        """Return a defense that has begun, and its generator; each purpose has its own numbers."""
        cell = self.cell
        draw = {
            "session": cell.client_key(),
            **draw,
            "cut": cell.spec.cut,
            "defense": cell.spec.defense,
            "parameters": cell.spec.parameters["defense"],
        }
        generator = torch_generator(purpose, **draw)
        with (
            blaming(cell.defense.label, "begin()"),
            seeded_global_generator(f"{purpose}'s networks", draw),
        ):
            defense: Defense[Any] = cell.defense.plugin.cls(cell.defense.parameters)
            defense.device = cell.device
            defense.begin(cell.image, self.smashed, generator)
        return defense, generator

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
    clients = trained.clients
    return {
        "model": [part for part in trained.model if part is not None],
        "optimizers": [client.optimizer for client in clients],
        "defenses": [client.sender.defense for client in clients],
        "generators": [client.sender.generator for client in clients],
        "session": trained.session,
        "sent": trained.traffic.sent,
        "sent_labels": trained.traffic.labels,
        "sent_feature_gradients": trained.traffic.feature_gradients,
    }


class _BestEpoch:
    """Remembers the weights, defenses and traffic of the epoch with the highest score."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._score = -math.inf
        self._weights: list[dict[str, Tensor]] = []
        self._defenses = [client.sender.copied_defense() for client in clients]
        self._sent: dict[tuple[int, int], Tensor] = {}
        self._gradients: dict[tuple[int, int], Tensor] = {}

    def offer(self, score: float, trained: TrainedSession) -> None:
        """Remember everything if the score is the highest so far."""
        if score > self._score:
            self._score = score
            self._weights = [copy.deepcopy(module.state_dict()) for module in _modules(trained)]
            self._defenses = [client.sender.copied_defense() for client in trained.clients]
            self._sent = dict(trained.traffic.sent)
            self._gradients = dict(trained.traffic.feature_gradients)

    def restore(self, trained: TrainedSession) -> None:
        """Restore the remembered epoch, if there is one."""
        if not self._weights:
            return
        for module, weights in zip(_modules(trained), self._weights, strict=True):
            module.load_state_dict(weights)
        for client, defense in zip(trained.clients, self._defenses, strict=True):
            client.sender.defense = defense
        trained.traffic.sent = self._sent
        trained.traffic.feature_gradients = self._gradients


def _modules(trained: TrainedSession) -> list[nn.Module]:
    return [part for part in trained.model if part is not None]
