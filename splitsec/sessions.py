"""The sessions of a cell: the honest one, and the one under attack.

Both start from the same client and see the same batches. The honest session gives the utility,
and the frozen client that passive attacks are mounted on; cells that differ in their attack
alone share it. An active attack gets a session of its own, in the server's place from the first
exchange.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splitsec.attack import Attack, Hijacking
from splitsec.cell import Cell, build_model, victims_of
from splitsec.checkpoint import Checkpoints
from splitsec.client import Client, Sender, Traffic
from splitsec.data import Data, Part
from splitsec.defense import Defense
from splitsec.errors import PluginError, SessionEnded, SplitsecError, UsageError, blaming
from splitsec.images import Shape
from splitsec.isolation.attack import IsolatedAttack
from splitsec.optimizers import decay, make_optimizer
from splitsec.progress import Progress
from splitsec.randomness import derive_seed, seeded_global_generator, torch_generator
from splitsec.server import HonestServer
from splitsec.session import Session, exchanges_in, run_session
from splitsec.target import SplitModel, Target, smashed_shape
from splitsec.threat import ThreatModel, View
from splitsec.wire import Exchange, Message, Wire

_AT_ONCE = 64  # images in evaluation mode


@dataclass
class Trained:
    """What a session left behind, held by the framework only.

    Attributes:
        model: all parts of the split model; after an active attack the server's is untrained.
        clients: the private side; they share one model.
        session: how it went.
        losses: the task loss of every exchange, where anybody computed it.
        traffic: what was last sent for each training victim.
        epochs: measure to its value on validation images after each epoch, or empty.
    """

    model: SplitModel
    clients: list[Client]
    session: Session
    losses: list[float]
    traffic: Traffic
    epochs: dict[str, list[float]] = field(default_factory=dict)

    def release(self, images: Tensor, purpose: str) -> Tensor:
        """Return released smashed data of images of shape (N, C, H, W), in evaluation mode.

        The images are divided over the clients, in order.
        """
        return torch.cat(
            [client.sender.send_in_evaluation(block, purpose).smashed
             for client, block in self._shares(images)]
        )  # fmt: skip

    @torch.no_grad()
    def predict(self, images: Tensor, purpose: str) -> tuple[Tensor, Tensor]:
        """Return released smashed data and the model's outputs, in evaluation mode.

        Args:
            images: shape (N, C, H, W), in [0, 1]; divided over the clients, in order.
            purpose: decides what a randomised defense draws.
        """
        modules = [part for part in self.model if part is not None]
        modes = [module.training for module in modules]
        for module in modules:
            module.eval()
        sent, outputs = [], []
        for client, block in self._shares(images):
            encoded = client.sender.send_in_evaluation(block, purpose)
            sent.append(encoded.smashed)
            split = [torch.split(values, _AT_ONCE) for values in (encoded.smashed, *encoded.skips)]
            outputs += [self._finish(*batch) for batch in zip(*split, strict=True)]
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)
        return torch.cat(sent), torch.cat(outputs)

    def _finish(self, smashed: Tensor, *skips: Tensor) -> Tensor:
        with blaming(self.clients[0].sender.names[0], "forward() in evaluation"):
            outputs: Tensor = self.model.server(smashed)
            if self.model.head is not None:
                outputs = self.model.head(outputs, *skips)
        return outputs

    def _shares(self, images: Tensor) -> list[tuple[Client, Tensor]]:
        shares = torch.tensor_split(images, len(self.clients))
        return [(one, share) for one, share in zip(self.clients, shares, strict=True) if len(share)]


@dataclass
class Heard:
    """How the listening of a passive attack went.

    Attributes:
        exchanges: that it heard.
        seconds: what they took it.
        failure: why it failed, or None.
    """

    exchanges: int = 0
    seconds: float = 0.0
    failure: SplitsecError | None = None


class Attacker:
    """An attack of one cell, with the view that it was given.

    Attributes:
        cell: its cell.
        threat: what it declares.
        attack: the plug-in's object, once built.
        seen: its view; the only one that later grants and the record go by, whatever the
            attack does to its own reference.
        heard: how its listening went.
    """

    attack: Attack[Any]
    seen: View

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.heard = Heard()
        with self.blamed("threat_model()"):
            threat = cell.attack.plugin.cls.threat_model(cell.attack.parameters)
        if not isinstance(threat, ThreatModel):
            raise PluginError(f"{self.label} returned no ThreatModel from threat_model()")
        self.threat = threat

    @property
    def label(self) -> str:
        """How errors name it."""
        return self.cell.attack.label

    def blamed(self, where: str) -> Any:
        """Return a context in which what the attack raises names it."""
        return blaming(self.label, where)

    def draw(self, **more: Any) -> dict[str, Any]:
        """Return what the attack's random numbers depend on.

        Its parameters are left out: variants of one attack start from the same weights.
        """
        return {"client": self.cell.client_key(), "attack": self.cell.spec.attack, **more}

    @property
    def failure(self) -> SplitsecError | None:
        """Why it failed while it listened, or None."""
        return self.heard.failure

    def build(self, view: View, checkpoints: Checkpoints) -> None:
        """Build the attack with its view, its own generator, and where it is saved."""
        cell, draw = self.cell, self.draw()
        self.seen, seed = view, derive_seed("attack", **draw)
        with self.blamed("__init__()"), seeded_global_generator("attack's networks", draw):
            if cell.isolation is not None:
                self.attack = IsolatedAttack(cell, view, seed)
            else:
                self.attack = cell.attack.plugin.cls(
                    cell.attack.parameters, view, torch.Generator().manual_seed(seed)
                )
        self.attack.checkpoints = checkpoints.within(self.key())

    def close(self) -> None:
        """End the attack's process, if it has one."""
        if isinstance(self.attack, IsolatedAttack):
            self.attack.close()

    def key(self) -> str:
        """Return what tells the attack from others in its session, and from itself once edited.

        What it may see is part of it: what was saved for one threat model is for no other.
        """
        plugin = self.cell.attack.plugin
        code = [plugin.sha256, plugin.cls.__qualname__]
        return json.dumps([self.cell.spec.model_dump_json(), code, self.threat.model_dump()])

    def observe(self, exchange: Exchange) -> None:
        """Let a passive attack listen; once it has failed it hears no more."""
        if self.heard.failure is not None:
            return
        self.heard.exchanges += 1
        start = time.perf_counter()
        try:
            with (
                self.blamed("observe()"),
                seeded_global_generator("observe", self.draw(exchange=self.heard.exchanges)),
            ):
                self.attack.observe(exchange)
        except SplitsecError as error:
            self.heard.failure = error
        finally:
            self.heard.seconds += time.perf_counter() - start

    def plan(self) -> Hijacking:
        """Return how an active attack runs its session, checked.

        Raises:
            PluginError: it is no valid plan.
            ThreatModelViolation: it dictates settings that its threat model does not declare.
        """
        with self.blamed("hijacking()"):
            plan = self.attack.hijacking()
        if not isinstance(plan, Hijacking):
            raise PluginError(f"{self.label} returned {plan!r} from hijacking(); Hijacking is due")
        exchanges, batch_size, rate = plan
        if not isinstance(exchanges, int) or exchanges < 1:
            raise PluginError(f"{self.label} asks for {exchanges!r} exchanges; 1 or more are due")
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 2):
            raise PluginError(f"{self.label} dictates batches of {batch_size!r}; 2 or more are due")
        if rate is not None and not (isinstance(rate, float | int) and 0 < rate < math.inf):
            raise PluginError(f"{self.label} dictates the learning rate {rate!r}; it must be > 0")
        if (batch_size, rate) != (None, None) and not self.threat.client_settings:
            self.seen.deny("client_settings")
        return plan


class PrivateSide:
    """Builds the private side of the sessions of cells that differ in their attack alone.

    Args:
        cell: one of the cells.
        data: their images.
        checkpoints: where sessions are saved.

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
            self.smashed: Shape = smashed_shape(model.client, cell.image)

    def model(self, stage: str = "initialisation") -> SplitModel:
        """Build the split target; another stage name gives other initial weights."""
        return build_model(self.cell, self.target, self.data.outputs, stage)

    def _begin(self, model: SplitModel, learning_rate: float | None = None) -> list[Client]:
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
        cell = self.cell
        draw = {
            "session": cell.client_key(),
            "client": index,
            "cut": cell.spec.cut,
            "defense": cell.spec.defense,
            "parameters": cell.spec.parameters["defense"],
        }
        generator = torch_generator("defense", **draw)
        label = cell.defense.label
        with blaming(label, "begin()"), seeded_global_generator("defense's networks", draw):
            defense: Defense[Any] = cell.defense.plugin.cls(cell.defense.parameters)
            defense.begin(cell.image, self.smashed, generator)
        return Sender(model.client, defense, generator, index, (self._label, label))

    def honest(
        self,
        progress: Progress,
        attackers: Sequence[Attacker] = (),
        validate: Callable[[Trained], dict[str, float]] | None = None,
        timings: dict[str, float] | None = None,
    ) -> Trained:
        """Run the honest session.

        Args:
            progress: told of every exchange.
            attackers: passive attacks that listen.
            validate: measures the model after each epoch; the first measure chooses the epoch
                where the training keeps the best one.
            timings: seconds that ``validate`` takes, which are saved with the session.

        Raises:
            UsageError: the best epoch is wanted, and validation images cannot tell it.
        """
        training = self.cell.spec.training
        if training.keep == "best":
            self._refuse_undecided()
        model = self.model()
        clients = self._begin(model)
        optimizer = make_optimizer(training, model.server)
        server = HonestServer(model.server, self.target.loss, optimizer, self._label)
        half = model.server.train()
        for attacker in attackers:
            attacker.seen.grant("server_model", lambda: copy.deepcopy(half))
        trained = Trained(model, clients, Session(), server.losses, Traffic(self.victims))

        best = _Best(clients) if training.keep == "best" else None

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
        run_session(
            clients,
            Wire(server, [(one.observe, one.threat.labels) for one in attackers]),
            training,
            self.cell.client_key(),
            progress,
            name="honest training",
            exchanges=exchanges,
            session=trained.session,
            traffic=trained.traffic,
            note=note,
            before_exchange=lambda step: decay(optimizers, training, step / exchanges),
            after_epoch=after_epoch,
            saving=lambda: self.checkpoints.stage(
                "honest training",
                **_state(model, clients, trained.session, trained.traffic),
                server_optimizer=optimizer,
                server_losses=server.losses,
                epochs=trained.epochs,
                best=best,
                timings=timings,
                **{f"attack {one.key()}": (one.attack, one.heard) for one in attackers},
            ),
        )
        trained.losses = server.losses or trained.session.losses
        if best is not None:
            best.restore(trained)
        return trained

    def _refuse_undecided(self) -> None:
        """Raise a UsageError where validation images cannot tell a better epoch."""
        part = self.data.validation
        if self.data.task == "classification" and len(np.unique(part.labels)) < 2:
            raise UsageError(
                "training.keep=best chooses the epoch by the AUC on validation images, and all "
                f"{len(part)} are of one class; ask for more, or for training.keep=last"
            )

    def hijacked(self, attacker: Attacker, progress: Progress) -> Trained:
        """Run a session in which an active attack takes the server's place.

        Raises:
            PluginError: the attack broke its contract.
        """
        plan = attacker.plan()
        model = self.model()
        clients = self._begin(model, plan.learning_rate)
        traffic, session = Traffic(self.victims), Session()
        run_session(
            clients,
            Wire(_Hijacker(attacker), server_labels=attacker.threat.labels),
            self.cell.spec.training,
            self.cell.client_key(),
            progress,
            name=f"{attacker.cell.spec.attack} in the server's place",
            exchanges=plan.exchanges,
            session=session,
            batch_size=plan.batch_size,
            traffic=traffic,
            saving=lambda: attacker.attack.checkpoints.stage(
                "hijacked session",
                **_state(model, clients, session, traffic),
                attack=attacker.attack,
            ),
        )
        return Trained(model, clients, session, session.losses, traffic)

    def view(self, attacker: Attacker) -> View:
        """Build what an attack may see before any session."""
        cell, public = self.cell, self.data.public
        return View(
            attack=attacker.cell.spec.attack,
            threat=attacker.threat,
            image_shape=cell.image,
            smashed_shape=self.smashed,
            outputs=self.data.outputs,
            clients=len(self.data.private),
            task=self.target.task,
            loss=self.target.loss,
            u_shaped=self.u_shaped,
            server_architecture=self.model("attacker's server").server,
            grants={
                "public_images": public.all,
                "public_labels": lambda: public.targets(range(len(public))),
                "client_architecture": lambda: self.model("attacker's copy"),
                "defense_spec": lambda: {
                    "name": cell.spec.defense,
                    "parameters": dict(cell.spec.parameters["defense"]),
                },
            },
        )


def _state(
    model: SplitModel, clients: Sequence[Client], session: Session, traffic: Traffic
) -> dict[str, object]:
    """Return what makes up the private side's state in a session."""
    return {
        "model": [part for part in model if part is not None],
        "optimizers": [client.optimizer for client in clients],
        "defenses": [client.sender.defense for client in clients],
        "generators": [client.sender.generator for client in clients],
        "session": session,
        "sent": traffic.sent,
    }


class _Best:
    """Remembers weights, defenses and traffic as they were when a score was highest."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._score = -math.inf
        self._weights: list[dict[str, Tensor]] = []
        self._defenses = [client.sender.copied_defense() for client in clients]
        self._sent: dict[tuple[int, int], Tensor] = {}

    def offer(self, score: float, trained: Trained) -> None:
        """Remember everything if the score is a new highest one."""
        if score > self._score:
            self._score = score
            self._weights = [copy.deepcopy(module.state_dict()) for module in _modules(trained)]
            self._defenses = [client.sender.copied_defense() for client in trained.clients]
            self._sent = dict(trained.traffic.sent)

    def restore(self, trained: Trained) -> None:
        """Put back what is remembered, if anything is."""
        if not self._weights:
            return
        for module, weights in zip(_modules(trained), self._weights, strict=True):
            module.load_state_dict(weights)
        for client, defense in zip(trained.clients, self._defenses, strict=True):
            client.sender.defense = defense
        trained.traffic.sent = self._sent


def _modules(trained: Trained) -> list[nn.Module]:
    return [part for part in trained.model if part is not None]


class _Hijacker:
    """An active attack as a server, whose exceptions name it."""

    def __init__(self, attacker: Attacker) -> None:
        self._attacker = attacker

    def features(self, message: Message) -> Tensor:
        return self._ask("features", message)

    def answer(self, message: Message) -> Tensor:
        return self._ask("answer", message)

    def _ask(self, method: str, message: Message) -> Tensor:
        attacker = self._attacker
        draw = attacker.draw(exchange=message.step, method=method)
        with attacker.blamed(f"{method}()"), seeded_global_generator("hijacking", draw):
            try:
                given: Tensor = getattr(attacker.attack, method)(message)
            except SessionEnded as ended:
                raise PluginError(
                    f"{attacker.label} ended the session; only a defense may"
                ) from ended
        return given


def oracle(trained: Trained) -> Callable[[Tensor, int], Tensor]:
    """Return what answers queries: it holds the first client's encoder and defense, no image."""
    sender = trained.clients[0].sender
    return lambda images, asked: sender.send_in_evaluation(images, f"query {asked}").smashed


def victim_images(private: Sequence[Part], victims: Sequence[tuple[int, int]]) -> Tensor:
    """Return the training victims' images, shape (N, C, H, W), in the order of ``victims``."""
    return torch.cat([private[client].batch([row]) for client, row in victims])
