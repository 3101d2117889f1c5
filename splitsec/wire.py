"""The wire between clients and the server, and split training across it.

Everything on the private side of the boundary stands in :class:`Client`; everything that
crosses is a :class:`Message` or a gradient, detached and copied by :class:`Wire`. No graph,
module or data set can be reached from the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from splitsec.data import Part
from splitsec.defense import Defense
from splitsec.errors import DivergedError, PluginError, SessionEnded, blaming
from splitsec.parameters import Parameters
from splitsec.progress import Progress
from splitsec.randomness import torch_generator
from splitsec.spec import Training


class Message(NamedTuple):
    """What one client sends for one batch.

    Attributes:
        smashed: released smashed data, shape (N, c, h, w), detached.
        labels: shape (N,), or None where the receiver may not have them.
        client: index of the sending client.
        step: index of the exchange in the session, from 0.
    """

    smashed: Tensor
    labels: Tensor | None
    client: int
    step: int


class Exchange(NamedTuple):
    """A message and the gradient that answered it, as a listener sees them."""

    message: Message
    gradient: Tensor


class Server(Protocol):
    """Whoever sits at the far end of the wire."""

    def answer(self, message: Message) -> Tensor:
        """Return the gradient with respect to the smashed data of ``message``."""


def make_optimizer(
    model: nn.Module, training: Training, learning_rate: float | None = None
) -> torch.optim.Optimizer:
    """Return an optimizer for one side's weights.

    Args:
        model: the client's or the server's half.
        training: the clients' settings.
        learning_rate: dictated by the server, or None for the clients' own.
    """
    rate = learning_rate or training.learning_rate
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        return _NoOptimizer()
    if training.optimizer == "adam":
        # One kernel for all weights: a quarter less time per step of a ResNet-34 at 32 px.
        return torch.optim.Adam(weights, lr=rate, fused=True)
    return torch.optim.SGD(weights, lr=rate, momentum=training.momentum)


class _NoOptimizer(torch.optim.Optimizer):
    """Stands in where a side has no weights, such as a server that only pools."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Do nothing."""


class HonestServer:
    """A server that trains its half of the model on the shared labels.

    Attributes:
        model: its half.
        losses: task loss of every exchange.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.model = model
        self.losses: list[float] = []
        self._loss = loss
        self._optimizer = optimizer

    def answer(self, message: Message) -> Tensor:
        """Take one training step and return the gradient of the smashed data."""
        if message.labels is None:
            raise PluginError("the honest server needs the labels, but they are not shared")
        smashed = message.smashed.requires_grad_()
        loss = self._loss(self.model(smashed), message.labels)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        self.losses.append(loss.item())
        if smashed.grad is None:
            raise PluginError("the server's model does not use the smashed data")
        return smashed.grad


class Wire:
    """Carries messages one way and gradients the other, within this process.

    Args:
        server: who answers.
        listener: sees every exchange, on the server's side, or None.
        server_labels: whether the server gets the labels.
        listener_labels: whether the listener gets them.
    """

    def __init__(
        self,
        server: Server,
        listener: Callable[[Exchange], None] | None = None,
        *,
        server_labels: bool = True,
        listener_labels: bool = False,
    ) -> None:
        self._server = server
        self._listener = listener
        self._server_labels = server_labels
        self._listener_labels = listener_labels

    def exchange(self, message: Message) -> Tensor:
        """Send a message and return the server's gradient, checked.

        Raises:
            PluginError: the answer is not a float tensor of the smashed data's shape.
            DivergedError: what is sent or answered is not finite.
        """
        smashed = message.smashed
        if not torch.isfinite(smashed).all():
            raise DivergedError(
                f"the client's smashed data is not finite at exchange {message.step}; "
                "the session diverged"
            )
        sent = self._copy(message, self._server_labels)
        gradient = self._server.answer(sent)
        if not isinstance(gradient, Tensor) or gradient.shape != smashed.shape:
            got = tuple(gradient.shape) if isinstance(gradient, Tensor) else type(gradient).__name__
            raise PluginError(
                f"the server answered exchange {message.step} with {got}; "
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
        if self._listener is not None:
            seen = self._copy(message, self._listener_labels)
            self._listener(Exchange(seen, gradient.clone()))
        return gradient

    @staticmethod
    def _copy(message: Message, labels: bool) -> Message:
        keep = labels and message.labels is not None
        return message._replace(
            smashed=message.smashed.detach().clone(),
            labels=message.labels.clone() if keep and message.labels is not None else None,
        )


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
class Client:
    """The private side: one hospital's images, its optimizer and its defense.

    Several clients share one ``model``: that is the hand-over of weights.

    Attributes:
        index: its number, from 0.
        part: its images and labels.
        model: the client's half.
        defense: its defense.
        optimizer: its own optimizer, whose state it keeps between turns.
        name: of the defense, for errors.
    """

    index: int
    part: Part
    model: nn.Module
    defense: Defense[Parameters]
    optimizer: torch.optim.Optimizer
    name: str = "the defense"

    def step(self, rows: Tensor, wire: Wire, step: int, traffic: Traffic | None) -> None:
        """Train on one batch: forward, send, receive, backward.

        Args:
            rows: rows of ``part`` in the batch, shape (N,).
            wire: carries the exchange.
            step: index of the exchange.
            traffic: keeps what was sent for victims.

        Raises:
            SessionEnded: the defense refused the server's gradient.
            PluginError: the defense broke its contract.
        """
        images = self.part.batch(rows.tolist())
        smashed = self.model(images)
        with blaming(self.name, "release()"):
            released = self.defense.release(images, smashed)
        _check_shape(released, smashed, f"{self.name} in release()")
        if traffic is not None:
            traffic.record(self.index, rows, released)
        labels = self.part.targets(rows.tolist())
        gradient = wire.exchange(Message(released, labels, self.index, step))
        with blaming(self.name, "receive()"):
            gradient = self.defense.receive(gradient, step)
        _check_shape(gradient, smashed, f"{self.name} in receive()")
        if not torch.isfinite(gradient).all():
            raise DivergedError(f"{self.name} made the gradient of exchange {step} not finite")
        with blaming(self.name, "penalty()"):
            penalty = self.defense.penalty(images, smashed)
            weight = float(self.defense.task_weight)
        if penalty is not None and (not isinstance(penalty, Tensor) or penalty.dim() != 0):
            raise PluginError(f"{self.name} in penalty() gave no scalar tensor, but {penalty!r}")
        self.optimizer.zero_grad()
        roots: list[Tensor] = []
        seeds: list[Tensor | None] = []
        if released.requires_grad:
            roots, seeds = [released], [weight * gradient]
        if penalty is not None and penalty.requires_grad:
            if not torch.isfinite(penalty):
                raise DivergedError(f"the penalty of {self.name} is not finite at exchange {step}")
            roots.append(penalty)
            seeds.append(None)
        if roots:
            torch.autograd.backward(roots, seeds)
            self.optimizer.step()


def _check_shape(given: object, due: Tensor, who: str) -> None:
    """Raise a PluginError unless ``given`` is a float tensor of the shape of ``due``."""
    if isinstance(given, Tensor) and given.shape == due.shape and given.is_floating_point():
        return
    got = (
        f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
    )
    raise PluginError(f"{who} gave {got}; a float tensor of shape {tuple(due.shape)} is due")


@torch.no_grad()
def release_in_evaluation(
    model: nn.Module, defense: Defense[Parameters], images: Tensor, batch_size: int = 256
) -> Tensor:
    """Return the released smashed data of images, with the client in evaluation mode.

    Args:
        model: the client's half; its mode is restored.
        defense: its defense.
        images: shape (N, C, H, W), in [0, 1].
        batch_size: images at once.

    Returns:
        Shape (N, c, h, w).
    """
    training = model.training
    model.eval()
    released = []
    for batch in torch.split(images, batch_size):
        smashed = model(batch)
        with blaming("the defense", "release()"):
            sent = defense.release(batch, smashed)
        _check_shape(sent, smashed, "the defense in release()")
        released.append(sent.detach())
    model.train(training)
    return torch.cat(released)


@dataclass
class Session:
    """What a session left behind.

    Attributes:
        exchanges: how many took place.
        ended: why a defense ended it early, or None.
    """

    exchanges: int = 0
    ended: str | None = None


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
    order: dict[str, str | int],
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
    order: dict[str, str | int],
    progress: Progress,
    *,
    name: str,
    exchanges: int,
    batch_size: int | None = None,
    traffic: Traffic | None = None,
    note: Callable[[], str] = str,
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
        batch_size: dictated by the server, or None for the clients' own.
        traffic: keeps what was sent for victims.
        note: gives a short text for the progress display, such as the loss.

    Returns:
        How the session went. The client's model is left in training mode.
    """
    session = Session()
    clients[0].model.train()
    turns = schedule(clients, training, batch_size or training.batch_size, order)
    with progress.stage(name, exchanges) as stage:
        for step in range(exchanges):
            _, client, rows = next(turns)
            try:
                client.step(rows, wire, step, traffic)
            except SessionEnded as reason:
                session.ended = f"at exchange {step}: {reason}"
                break
            session.exchanges += 1
            stage.advance(note=note())
    return session
