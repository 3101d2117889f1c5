"""The wire between clients and the server, and split training across it.

Everything on the private side of the boundary stands in :class:`Client`; everything that
crosses is a :class:`Message`, features or a gradient, detached and copied by :class:`Wire`. No
graph, module or data set can be reached from the other side.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from splitsec.checkpoint import Checkpoints, Saved
from splitsec.data import Part
from splitsec.defense import Defense
from splitsec.errors import DivergedError, PluginError, SessionEnded, blaming
from splitsec.parameters import Parameters
from splitsec.progress import Progress
from splitsec.randomness import derive_seed, seeded_global_generator, torch_generator
from splitsec.spec import Training
from splitsec.target import Encoded, encode

Loss = Callable[[Tensor, Tensor], Tensor]

_LEAST_RATE = 0.01  # of the learning rate, at the end of its decay


class Message(NamedTuple):
    """What one client sends for one batch.

    Attributes:
        smashed: released smashed data, shape (N, c, h, w), detached.
        labels: shape (N,), or None where the receiver may not have them.
        client: index of the sending client.
        step: index of the exchange in the session, from 0.
        feature_gradient: in the U-shaped configuration, the gradient of the client's loss with
            respect to the server's features, once the client has them; else None.
    """

    smashed: Tensor
    labels: Tensor | None
    client: int
    step: int
    feature_gradient: Tensor | None = None


class Exchange(NamedTuple):
    """A message, the gradient that answered it, and the features sent in between if U-shaped."""

    message: Message
    gradient: Tensor
    features: Tensor | None = None


class Server(Protocol):
    """Whoever sits at the far end of the wire."""

    def features(self, message: Message) -> Tensor:
        """Return features of ``message`` for the client's head (U-shaped only)."""

    def answer(self, message: Message) -> Tensor:
        """Return the gradient with respect to the smashed data of ``message``."""


def make_optimizer(
    training: Training, *modules: nn.Module | None, learning_rate: float | None = None
) -> torch.optim.Optimizer:
    """Return an optimizer for one side's weights.

    Args:
        training: the clients' settings.
        *modules: what that side holds.
        learning_rate: dictated by the server, or None for the clients' own.
    """
    rate = learning_rate or training.learning_rate
    held = [weight for module in modules if module is not None for weight in module.parameters()]
    weights = [weight for weight in held if weight.requires_grad]
    if not weights:
        return _NoOptimizer()
    if training.optimizer == "adam":
        # One kernel for all weights: a quarter less time per step of a ResNet-34 at 32 px.
        return torch.optim.Adam(weights, lr=rate, fused=True)
    return torch.optim.SGD(weights, lr=rate, momentum=training.momentum)


def decay(optimizers: Sequence[torch.optim.Optimizer], training: Training, done: float) -> None:
    """Set the learning rate for how much of an honest session is done, in [0, 1]."""
    if training.decay == "none":
        return
    fade = max(0.5 * (1 + math.cos(math.pi * done)), _LEAST_RATE)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * fade


class _NoOptimizer(torch.optim.Optimizer):
    """Stands in where a side has no weights, such as a server that only pools."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Do nothing."""


class HonestServer:
    """A server that trains its part of the model, on shared labels or on the client's gradient.

    Args:
        model: its part.
        loss: of outputs and labels, where labels are shared.
        optimizer: of its weights.
        name: of the target, for errors.

    Attributes:
        losses: task loss of every exchange, where labels are shared.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        name: str = "the target",
    ) -> None:
        self.model = model
        self.losses: list[float] = []
        self._loss = loss
        self._optimizer = optimizer
        self._name = name
        self._pending: tuple[Tensor, Tensor] | None = None

    def features(self, message: Message) -> Tensor:
        """Return the features, and keep their graph until the client's gradient comes."""
        smashed = message.smashed.requires_grad_()
        features = self._forward(smashed)
        self._pending = smashed, features
        return features.detach()

    def answer(self, message: Message) -> Tensor:
        """Take one training step and return the gradient of the smashed data."""
        if message.feature_gradient is not None and self._pending is not None:
            smashed, outputs = self._pending
            self._pending = None
            self._step(outputs, message.feature_gradient)
        elif message.labels is not None:
            smashed = message.smashed.requires_grad_()
            outputs = self._forward(smashed)
            with blaming(self._name, "loss()"):
                loss = self._loss(outputs, message.labels)
            self._step(loss, None)
            self.losses.append(loss.item())
        else:
            raise PluginError("the honest server needs the labels, but they are not shared")
        if smashed.grad is None:
            raise PluginError(f"{self._name}: the server's part does not use the smashed data")
        return smashed.grad

    def _forward(self, smashed: Tensor) -> Tensor:
        with blaming(self._name, "the server's forward()"):
            outputs: object = self.model(smashed)
        if not isinstance(outputs, Tensor):
            kind = type(outputs).__name__
            raise PluginError(f"{self._name}: the server's part gave {kind}; a tensor is due")
        return outputs

    def _step(self, root: Tensor, gradient: Tensor | None) -> None:
        self._optimizer.zero_grad()
        torch.autograd.backward(root, gradient)
        self._optimizer.step()


class Wire:
    """Carries messages one way, features and gradients the other, within this process.

    Args:
        server: who answers.
        listeners: see every exchange, on the server's side, with a flag each: whether the
            listener gets the labels.
        server_labels: whether the server gets the labels.
    """

    def __init__(
        self,
        server: Server,
        listeners: Sequence[tuple[Callable[[Exchange], None], bool]] = (),
        *,
        server_labels: bool = True,
    ) -> None:
        self._server = server
        self._listeners = listeners
        self._server_labels = server_labels

    def features(self, message: Message) -> Tensor:
        """Send smashed data and return the server's features for the client's head, checked.

        Raises:
            PluginError: the answer is not a float tensor.
            DivergedError: what is sent or answered is not finite.
        """
        self._check_sent(message.smashed, "the client's smashed data", message.step)
        features = self._server.features(self._copy(message, self._server_labels))
        if not isinstance(features, Tensor) or not features.is_floating_point():
            raise PluginError(
                f"the server answered exchange {message.step} with {_kind(features)}; "
                "features are due, a float tensor"
            )
        self._check_sent(features, "what the server answered", message.step)
        return features.detach().clone()

    def exchange(self, message: Message, features: Tensor | None = None) -> Tensor:
        """Send a message and return the server's gradient, checked.

        Args:
            message: what the client sends.
            features: what the server sent before, in the U-shaped configuration.

        Raises:
            PluginError: the answer is not a float tensor of the smashed data's shape.
            DivergedError: what is sent or answered is not finite.
        """
        smashed = message.smashed
        self._check_sent(smashed, "the client's smashed data", message.step)
        if message.feature_gradient is not None:
            self._check_sent(message.feature_gradient, "the client's gradient", message.step)
        gradient = self._server.answer(self._copy(message, self._server_labels))
        if not isinstance(gradient, Tensor) or gradient.shape != smashed.shape:
            raise PluginError(
                f"the server answered exchange {message.step} with {_kind(gradient)}; "
                f"a gradient of shape {tuple(smashed.shape)} is due"
            )
        if not gradient.is_floating_point():
            raise PluginError(
                f"the server answered exchange {message.step} with {gradient.dtype}; "
                "a floating-point gradient is due"
            )
        gradient = gradient.detach().to(smashed.dtype).clone()
        if not torch.isfinite(gradient).all():
            raise DivergedError(f"the server's gradient is not finite at exchange {message.step}")
        for listener, labels in self._listeners:
            seen = self._copy(message, labels)
            listener(Exchange(seen, gradient.clone(), _detached(features)))
        return gradient

    @staticmethod
    def _check_sent(values: Tensor, what: str, step: int) -> None:
        if not torch.isfinite(values).all():
            raise DivergedError(f"{what} is not finite at exchange {step}; the session diverged")

    @staticmethod
    def _copy(message: Message, labels: bool) -> Message:
        return message._replace(
            smashed=message.smashed.detach().clone(),
            labels=_detached(message.labels) if labels else None,
            feature_gradient=_detached(message.feature_gradient),
        )


def _detached(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.detach().clone()


def _kind(given: object) -> str:
    """Return what something is, as errors say it."""
    if isinstance(given, Tensor):
        return f"{given.dtype} {tuple(given.shape)}"
    return type(given).__name__


class Traffic:
    """Remembers, for the scorer, what was last sent for each victim of the training set.

    Attributes:
        sent: (client, row) to the smashed data of shape (c, h, w) as it crossed the wire.
    """

    def __init__(self, victims: Sequence[tuple[int, int]]) -> None:
        self._victims = frozenset(victims)
        self.sent: dict[tuple[int, int], Tensor] = {}

    def record(self, client: int, rows: Tensor, smashed: Tensor) -> None:
        """Keep the smashed data of the victims among the rows of one batch."""
        for position, row in enumerate(rows.tolist()):
            if (client, row) in self._victims:
                self.sent[client, row] = smashed[position].detach().clone()


@dataclass
class Sender:
    """What stands between a client's images and the wire: its encoder and its defense.

    Attributes:
        encoder: the client's encoder.
        defense: the client's defense.
        generator: what the defense draws from.
        client: index of the client, from 0.
        names: of the target and of the defense, for errors.
    """

    encoder: nn.Module
    defense: Defense[Parameters]
    generator: torch.Generator = field(default_factory=torch.Generator)
    client: int = 0
    names: tuple[str, str] = ("the target", "the defense")

    def copied_defense(self) -> Defense[Parameters]:
        """Return a copy of the defense that draws from the same generator."""
        return copy.deepcopy(self.defense, {id(self.generator): self.generator})

    def send(self, images: Tensor) -> tuple[Encoded, Tensor]:
        """Encode images of shape (N, C, H, W) and release their smashed data.

        Returns:
            What the encoder gives, and what is sent in place of its smashed data, attached.

        Raises:
            PluginError: the target or the defense broke its contract.
        """
        target, defense = self.names
        with blaming(target, "the client's forward()"):
            encoded = encode(self.encoder, images)
        with blaming(defense, "release()"):
            released = self.defense.release(images, encoded.smashed)
        _check_shape(released, encoded.smashed, f"{defense} in release()")
        return encoded, released

    @torch.no_grad()
    def send_in_evaluation(self, images: Tensor, purpose: str, batch_size: int = 64) -> Encoded:
        """Return what is released of images, with the encoder in evaluation mode.

        What the defense draws depends on the session's seed and on ``purpose``. Neither the
        session's own draws nor the state of the defense are disturbed.

        Args:
            images: shape (N, C, H, W), in [0, 1].
            purpose: what the smashed data are for.
            batch_size: images at once.

        Returns:
            Released smashed data, and the skips, of the N images.
        """
        training, state = self.encoder.training, self.generator.get_state()
        draw = {"purpose": purpose, "session": self.generator.initial_seed()}
        self.generator.manual_seed(derive_seed("release", **draw))
        sender = replace(self, defense=self.copied_defense())
        self.encoder.eval()
        parts = []
        try:
            with seeded_global_generator("release", draw):
                for batch in torch.split(images, batch_size):
                    encoded, released = sender.send(batch)
                    parts.append((released, *encoded.skips))
        finally:
            self.encoder.train(training)
            self.generator.set_state(state)
        smashed, *skips = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
        return Encoded(smashed, tuple(skips))


@dataclass
class Client:
    """The private side: one hospital's images, its optimizer and its defense.

    Several clients share one ``model``: that is the hand-over of weights.

    Attributes:
        part: its images and labels.
        sender: its encoder and its defense.
        head: the end of the model in the U-shaped configuration, else None.
        loss: of outputs and targets, which it computes itself if it has a head.
        optimizer: its own optimizer, whose state it keeps between turns.
    """

    part: Part
    sender: Sender
    head: nn.Module | None
    loss: Loss
    optimizer: torch.optim.Optimizer

    @property
    def index(self) -> int:
        """Its number, from 0."""
        return self.sender.client

    @property
    def defense(self) -> Defense[Parameters]:
        """Its defense."""
        return self.sender.defense

    def step(self, rows: Tensor, wire: Wire, step: int, traffic: Traffic | None) -> float | None:
        """Train on one batch: forward, send, receive, backward.

        Args:
            rows: rows of ``part`` in the batch, shape (N,).
            wire: carries the exchange.
            step: index of the exchange.
            traffic: keeps what was sent for victims.

        Returns:
            The task loss, where the client computes it.

        Raises:
            SessionEnded: the defense refused the server's gradient.
            PluginError: the target or the defense broke its contract.
        """
        defense = self.sender.names[1]
        images, targets = self.part.batch(rows.tolist()), self.part.targets(rows.tolist())
        self.optimizer.zero_grad()
        encoded, released = self.sender.send(images)
        if traffic is not None:
            traffic.record(self.index, rows, released)
        loss = None
        leaves: tuple[Tensor, ...] = ()
        if self.head is None:
            gradient = wire.exchange(Message(released, targets, self.index, step))
        else:
            message = Message(released, None, self.index, step)
            features = wire.features(message).requires_grad_()
            leaves = tuple(skip.detach().requires_grad_() for skip in encoded.skips)
            loss = self._finish(features, leaves, targets)
            message = message._replace(feature_gradient=features.grad)
            gradient = wire.exchange(message, features)
        with blaming(defense, "receive()"):
            gradient = self.defense.receive(gradient, step)
        _check_shape(gradient, encoded.smashed, f"{defense} in receive()")
        if not torch.isfinite(gradient).all():
            raise DivergedError(f"{defense} made the gradient of exchange {step} not finite")
        with blaming(defense, "penalty()"):
            penalty = self.defense.penalty(images, encoded.smashed)
            weight = float(self.defense.task_weight)
        if penalty is not None:
            self._check_penalty(penalty, step)
        self._backward(encoded, released, gradient, leaves, penalty, weight)
        return loss

    def _finish(self, features: Tensor, skips: tuple[Tensor, ...], targets: Tensor) -> float:
        """Run the head and its loss; gradients are left in the features, skips and head."""
        assert self.head is not None
        with blaming(self.sender.names[0], "the client's head or loss()"):
            loss = self.loss(self.head(features, *skips), targets)
            torch.autograd.backward(loss)
        if features.grad is None:
            target = self.sender.names[0]
            raise PluginError(f"{target}: the client's head does not use the features")
        return loss.item()

    def _check_penalty(self, penalty: object, step: int) -> None:
        name = self.sender.names[1]
        if not isinstance(penalty, Tensor) or penalty.dim() != 0:
            raise PluginError(f"{name} in penalty() gave no scalar tensor, but {penalty!r}")
        if not torch.isfinite(penalty):
            raise DivergedError(f"the penalty of {name} is not finite at exchange {step}")

    def _backward(
        self,
        encoded: Encoded,
        released: Tensor,
        gradient: Tensor,
        skips: tuple[Tensor, ...],
        penalty: Tensor | None,
        weight: float,
    ) -> None:
        """Bring all gradients to the encoder and step; ``weight`` scales the task's."""
        head = self.head
        if head is not None and weight != 1:
            for parameter in head.parameters():
                if parameter.grad is not None:
                    parameter.grad *= weight
        roots: list[Tensor] = []
        seeds: list[Tensor | None] = []
        for root, seed in [(released, gradient), *zip(encoded.skips, _grads(skips), strict=True)]:
            if root.requires_grad and seed is not None:
                roots.append(root)
                seeds.append(weight * seed)
        if penalty is not None and penalty.requires_grad:
            roots.append(penalty)
            seeds.append(None)
        if roots:
            torch.autograd.backward(roots, seeds)
        if roots or head is not None:
            self.optimizer.step()


def _grads(leaves: Sequence[Tensor]) -> list[Tensor | None]:
    return [leaf.grad for leaf in leaves]


def _check_shape(given: object, due: Tensor, who: str) -> None:
    """Raise a PluginError unless ``given`` is a float tensor of the shape of ``due``."""
    if isinstance(given, Tensor) and given.shape == due.shape and given.is_floating_point():
        return
    shape = tuple(due.shape)
    raise PluginError(f"{who} gave {_kind(given)}; a float tensor of shape {shape} is due")


@dataclass
class Session:
    """What a session left behind.

    Attributes:
        exchanges: how many took place.
        ended: why a defense ended it early, or None.
        losses: task loss of every exchange, where clients compute it.
        seconds_before: what a process spent on it that was killed.
    """

    exchanges: int = 0
    ended: str | None = None
    losses: list[float] = field(default_factory=list)
    seconds_before: float = 0.0


def batches(count: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Shuffle ``count`` rows and cut them into batches; a last batch of one joins the other.

    BatchNorm cannot train on one value per channel, so a single left-over image would fail
    wherever the map is 1x1.
    """
    chunks = list(torch.split(torch.randperm(count, generator=generator), batch_size))
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        last = chunks.pop()
        chunks[-1] = torch.cat([chunks[-1], last])
    return chunks


def schedule(
    clients: Sequence[Client],
    training: Training,
    batch_size: int,
    order: Mapping[str, Any],
) -> Iterator[tuple[int, Client, Tensor]]:
    """Yield (epoch, client, rows) for ever, in round robin turns.

    Args:
        clients: who takes turns, in an order drawn once.
        training: gives the turn.
        batch_size: images per exchange.
        order: what the shuffling depends on.

    Yields:
        Epoch from 0, the client whose turn it is, and the rows of its next batch.
    """
    turns = torch.randperm(len(clients), generator=torch_generator("turns", **order)).tolist()

    def epoch_of(client: Client, epoch: int) -> list[Tensor]:
        generator = torch_generator("batches", client=client.index, epoch=epoch, **order)
        return batches(len(client.part), batch_size, generator)

    epoch = 0
    while True:
        if training.turn == "all":
            for turn in turns:
                for inner in range(epoch, epoch + training.epochs):
                    for rows in epoch_of(clients[turn], inner):
                        yield inner, clients[turn], rows
            epoch += training.epochs
            continue
        queues = [(clients[turn], epoch_of(clients[turn], epoch)) for turn in turns]
        if training.turn == "epoch":
            for client, queue in queues:
                for rows in queue:
                    yield epoch, client, rows
        else:
            for position in range(max(len(queue) for _, queue in queues)):
                for client, queue in queues:
                    if position < len(queue):
                        yield epoch, client, queue[position]
        epoch += 1


def exchanges_in(clients: Sequence[Client], training: Training) -> int:
    """Return how many exchanges an honest session of ``training.epochs`` takes."""
    generator = torch.Generator()
    per_epoch = sum(
        len(batches(len(client.part), training.batch_size, generator)) for client in clients
    )
    return per_epoch * training.epochs


def run_session(  # noqa: PLR0913 - a session has this many sides
    clients: Sequence[Client],
    wire: Wire,
    training: Training,
    order: Mapping[str, Any],
    progress: Progress,
    *,
    name: str,
    exchanges: int,
    session: Session | None = None,
    batch_size: int | None = None,
    traffic: Traffic | None = None,
    note: Callable[[], str] = str,
    before_exchange: Callable[[int], None] = lambda step: None,
    after_epoch: Callable[[], None] | None = None,
    saving: Callable[[], Saved] | None = None,
) -> Session:
    """Run split training for a number of exchanges, or until a defense ends it.

    Args:
        clients: the private side.
        wire: the way to the server.
        training: the clients' settings.
        order: what the shuffling depends on.
        progress: told of every exchange.
        name: of the stage, for progress.
        exchanges: how many at most.
        session: is filled as it goes, or None for a new one.
        batch_size: dictated by the server, or None for the clients' own.
        traffic: keeps what was sent for victims.
        note: gives a short text for the progress display, such as the loss.
        before_exchange: called with the index of each exchange.
        after_epoch: called whenever every client has seen its images once more.
        saving: opens the stage that saves the session, and tells from where it goes on.

    Returns:
        How the session went. The client's model is left in training mode.
    """
    session = session or Session()
    epoch = exchanges_in(clients, training.model_copy(update={"epochs": 1}))
    for module in (clients[0].sender.encoder, clients[0].head):
        if module is not None:
            module.train()
    turns = schedule(clients, training, batch_size or training.batch_size, order)
    with progress.stage(name, exchanges) as stage, seeded_global_generator("session", order):
        saved = saving() if saving else Checkpoints().stage(name)
        turns = islice(turns, saved.position, None)
        stage.advance(saved.position)
        session.seconds_before = saved.seconds
        for step in range(saved.position, exchanges):
            _, client, rows = next(turns)
            before_exchange(step)
            try:
                loss = client.step(rows, wire, step, traffic)
            except SessionEnded as reason:
                session.ended = f"at exchange {step}: {reason}"
                break
            session.exchanges += 1
            if loss is not None:
                session.losses.append(loss)
            stage.advance(note=note())
            if after_epoch is not None and session.exchanges % epoch == 0:
                after_epoch()
            saved.reached(step + 1)
        saved.finish(exchanges)
    return session
