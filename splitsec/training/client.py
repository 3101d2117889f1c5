"""The private side of the wire: a client's images, encoder, head, optimizer and defense.

Smashed data leave it through :mod:`.release`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from splitsec.data.parts import Part
from splitsec.errors import DivergedError, PluginError, blaming
from splitsec.plugins.defense import Defense
from splitsec.plugins.messages import Message
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import Encoding, Loss
from splitsec.training.release import Sender, check_shape
from splitsec.training.wire import Wire


@dataclass
class Client:
    """The private side: one hospital's images, its optimizer and its defense.

    Clients share one ``model``, which stands for handing the weights from one to the next.

    Attributes:
        part: its images and labels.
        sender: its encoder and its defense.
        head: the end of the model in the U-shaped configuration, else None.
        loss: loss of outputs and targets, which it computes itself if it has a head.
        optimizer: its own optimizer; its state persists between turns.
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

    def step(self, rows: Tensor, wire: Wire, step: int) -> float | None:
        """Train on one batch: forward, send, receive, backward.

        Args:
            rows: rows of ``part`` in the batch, shape (N,).
            wire: carries the exchange.
            step: index of the exchange.

        Returns:
            The task loss if the client computes it, else None.

        Raises:
            SessionEnded: the defense refused the server's gradient.
            PluginError: the target or the defense broke its contract.
        """
        defense = self.sender.names[1]
        chosen = rows.tolist()
        images, targets = self.sender.device.put(
            (self.part.batch(chosen), self.part.targets(chosen))
        )
        self.optimizer.zero_grad()
        encoded, released = self.sender.send(images)
        loss = None
        leaves: tuple[Tensor, ...] = ()
        if self.head is None:
            gradient = wire.exchange(Message(released, targets, self.index, step), rows=rows)
        else:
            message = Message(released, None, self.index, step)
            features = wire.features(message, rows).requires_grad_()
            leaves = tuple(skip.detach().requires_grad_() for skip in encoded.skips)
            loss = self._finish(features, leaves, targets)
            message = message._replace(feature_gradient=features.grad)
            gradient = wire.exchange(message, features, rows)
        with blaming(defense, "receive()"):
            gradient = self.defense.receive(gradient, step)
        check_shape(gradient, encoded.smashed, f"{defense} in receive()")
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
        """Run the head and its loss; leave gradients in the features, skips and head."""
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
        encoded: Encoding,
        released: Tensor,
        gradient: Tensor,
        skips: tuple[Tensor, ...],
        penalty: Tensor | None,
        weight: float,
    ) -> None:
        """Pass all gradients to the encoder and step; ``weight`` scales the task's gradient."""
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
