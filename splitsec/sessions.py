"""The two sessions of a cell: the honest one, and the one under attack.

Both start from the same client and see the same batches. The honest session gives the utility,
and the frozen client that passive attacks are mounted on; an active attack gets a session of
its own, in the server's place from the first exchange.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from splitsec.attack import Attack
from splitsec.cell import Cell
from splitsec.data import Data, Part
from splitsec.defense import Defense
from splitsec.errors import PluginError, SessionEnded, blaming
from splitsec.images import Shape
from splitsec.progress import Progress
from splitsec.randomness import derive_seed, seeded_global_generator, torch_generator
from splitsec.target import SplitModel, Target, smashed_shape
from splitsec.threat import ThreatModel, View
from splitsec.wire import (
    Client,
    Exchange,
    HonestServer,
    Message,
    Session,
    Traffic,
    Wire,
    exchanges_in,
    make_optimizer,
    release_in_evaluation,
    run_session,
)


@dataclass
class Trained:
    """One side's view after a session, held by the framework only.

    Attributes:
        client: the client's half, in training mode.
        server: the honest server's half, or None after an active attack.
        defense: the defense as the session left it.
        session: how the session went.
        losses: the honest task loss of every exchange, or empty.
        traffic: what was last sent for each training victim.
    """

    client: nn.Module
    server: nn.Module | None
    defense: Defense[Any]
    session: Session
    losses: list[float]
    traffic: Traffic

    def oracle(self) -> Callable[[Tensor], Tensor]:
        """Return what answers queries: it holds the client and its defense, nothing else."""
        client, defense = self.client, self.defense
        return lambda images: release_in_evaluation(client, defense, images)

    def release(self, images: Tensor) -> Tensor:
        """Return the released smashed data of images, client in evaluation mode."""
        return release_in_evaluation(self.client, self.defense, images)


class PrivateSide:
    """Builds the private side of a cell's sessions.

    Args:
        cell: the cell.
        data: its images.
        victims: (client, row) of the training victims.

    Attributes:
        seen: the view that the attack was given; set by ``attack()``, and the only one that
            later grants and the record go by, whatever the attack does to its own reference.
    """

    seen: View

    def __init__(self, cell: Cell, data: Data, victims: Sequence[tuple[int, int]]) -> None:
        self.cell = cell
        self.data = data
        self.victims = victims
        target: Target[Any] = cell.target.plugin.cls(cell.target.parameters)
        self.target = target
        self.smashed: Shape = smashed_shape(self.model().client, cell.image)

    def model(self, stage: str = "initialisation") -> SplitModel:
        """Build the split target; another stage name gives other initial weights."""
        classes = len(self.data.classes)
        with (
            blaming(self.cell.target.label, "split()"),
            seeded_global_generator(stage, self.cell.client_key()),
        ):
            return self.target.split(self.cell.image, classes, self.cell.spec.cut)

    def _begin(self, model: nn.Module, rate: float | None) -> tuple[list[Client], Defense[Any]]:
        cell = self.cell
        generator = torch_generator(
            "defense",
            client=cell.client_key(),
            cut=cell.spec.cut,
            defense=cell.spec.defense,
            parameters=cell.spec.parameters["defense"],
        )
        with blaming(cell.defense.label, "begin()"):
            defense: Defense[Any] = cell.defense.plugin.cls(cell.defense.parameters)
            defense.begin(cell.image, self.smashed, generator)
        clients = [
            Client(
                index, part, model, defense,
                make_optimizer(model, cell.spec.training, rate), cell.defense.label,
            )
            for index, part in enumerate(self.data.private)
        ]  # fmt: skip
        return clients, defense

    def honest(
        self,
        progress: Progress,
        attack: Attack[Any] | None = None,
        threat: ThreatModel | None = None,
    ) -> Trained:
        """Run the honest session.

        Args:
            progress: told of every exchange.
            attack: a passive attack that listens, or None.
            threat: its threat model.
        """
        cell, training = self.cell, self.cell.spec.training
        model = self.model()
        clients, defense = self._begin(model.client, None)
        server = HonestServer(
            model.server, self.target.loss, make_optimizer(model.server, training)
        )
        listener: Callable[[Exchange], None] | None = None
        if attack is not None and threat is not None:
            half = model.server
            self.seen.grant("server_model", lambda: copy.deepcopy(half))

            def listener(exchange: Exchange) -> None:
                with blaming(cell.attack.label, "observe()"):
                    attack.observe(exchange)

        traffic = Traffic(self.victims)
        model.server.train()
        session = run_session(
            clients,
            Wire(server, listener, listener_labels=threat is not None and threat.labels),
            training,
            self.cell.client_key(),
            progress,
            name="honest training",
            exchanges=exchanges_in(clients, training),
            traffic=traffic,
            note=lambda: f"loss {server.losses[-1]:.3f}",
        )
        return Trained(model.client, model.server, defense, session, server.losses, traffic)

    def hijacked(self, attack: Attack[Any], threat: ThreatModel, progress: Progress) -> Trained:
        """Run a session in which an active attack takes the server's place.

        Raises:
            PluginError: the attack dictates settings that its threat model does not declare.
        """
        label = self.cell.attack.label
        with blaming(label, "hijacking()"):
            plan = attack.hijacking()
        dictates = plan.batch_size is not None or plan.learning_rate is not None
        if dictates and not threat.client_settings:
            self.seen.deny("client_settings")
        if plan.exchanges < 1:
            raise PluginError(f"{label} asks for {plan.exchanges} exchanges; 1 or more are due")
        model = self.model()
        clients, defense = self._begin(model.client, plan.learning_rate)
        traffic = Traffic(self.victims)
        session = run_session(
            clients,
            Wire(_Blamed(attack, label), server_labels=threat.labels),
            self.cell.spec.training,
            self.cell.client_key(),
            progress,
            name=f"{self.cell.spec.attack} in the server's place",
            exchanges=plan.exchanges,
            batch_size=plan.batch_size,
            traffic=traffic,
        )
        return Trained(model.client, None, defense, session, [], traffic)

    def view(self, threat: ThreatModel) -> View:
        """Build what the attack may see before any session."""
        cell, public = self.cell, self.data.public
        return View(
            cell.spec.attack,
            threat,
            cell.image,
            self.smashed,
            len(self.data.classes),
            public_images=public.all,
            public_labels=lambda: public.targets(range(len(public))),
            client_architecture=lambda: self.model("attacker's copy").client,
            defense_spec={
                "name": cell.spec.defense,
                "parameters": dict(cell.spec.parameters["defense"]),
            },
        )

    def attack(self, threat: ThreatModel) -> Attack[Any]:
        """Build the attack with its view and its own generator."""
        cell = self.cell
        depends_on = {
            "client": cell.client_key(),
            "attack": cell.spec.attack,
            "parameters": cell.spec.parameters["attack"],
        }
        generator = torch.Generator().manual_seed(derive_seed("attack", **depends_on))
        self.seen = self.view(threat)
        with (
            blaming(cell.attack.label, "__init__()"),
            seeded_global_generator("attack's networks", depends_on),
        ):
            attack: Attack[Any] = cell.attack.plugin.cls(
                cell.attack.parameters, self.seen, generator
            )
        return attack


class _Blamed:
    """An active attack as a server, whose exceptions name it."""

    def __init__(self, attack: Attack[Any], label: str) -> None:
        self._attack = attack
        self._label = label

    def answer(self, message: Message) -> Tensor:
        with blaming(self._label, "answer()"):
            try:
                return self._attack.answer(message)
            except SessionEnded as ended:
                raise PluginError(f"{self._label} ended the session; only a defense may") from ended


def victim_images(private: Sequence[Part], victims: Sequence[tuple[int, int]]) -> Tensor:
    """Return the training victims' images, shape (N, C, H, W), in the order of ``victims``."""
    return torch.cat([private[client].batch([row]) for client, row in victims])
