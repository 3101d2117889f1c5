"""The private side of the wire: images, encoder, defense, and what was sent of the victims."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from splitsec.data import Part
from splitsec.defense import Defense
from splitsec.errors import DivergedError, PluginError, blaming
from splitsec.parameters import Parameters
from splitsec.randomness import derive_seed, seeded_global_generator
from splitsec.server import Loss
from splitsec.target import Encoded, encode
from splitsec.wire import Message, Wire, kind_of


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
    raise PluginError(f"{who} gave {kind_of(given)}; a float tensor of shape {shape} is due")
