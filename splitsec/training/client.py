"""The private side of the wire: a client's images, encoder, head, optimizer and defense.

Smashed data leave it through :mod:`.release`. A :class:`Client` runs in this process or, with the
same calls, in one of its own (:mod:`.isolated_clients`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from splitsec.data.parts import Part
from splitsec.devices import all_finite, computing, in_batches
from splitsec.errors import DivergedError, PluginError, blaming
from splitsec.plugins.defense import Defense, Epochs
from splitsec.plugins.messages import Message, kind_of
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import Encoding, Loss
from splitsec.plugins.toolbox.optimization import set_rate
from splitsec.training.release import AT_ONCE, Sender, check_shape
from splitsec.training.wire import Exchanger


class SessionSender(Protocol):
    """What leaves a client after training, wherever the client runs."""

    @property
    def names(self) -> tuple[str, str]:
        """Names of the target and of the defense, for errors."""

    def release(self, images: Tensor, seed: int) -> Tensor:
        """Return what is sent of images; see :meth:`Sender.release`."""


class SessionClient(Protocol):
    """A client of a session, wherever it runs."""

    @property
    def part(self) -> Part:
        """Its images and labels."""

    @property
    def sender(self) -> SessionSender:
        """What leaves it after training."""

    @property
    def index(self) -> int:
        """Its number, from 0."""

    def begin(self) -> None:
        """Put its model into training mode."""

    def set_rate(self, rate: float) -> None:
        """Set its learning rate."""

    def step(self, rows: Tensor, wire: Exchanger, step: int) -> float | None:
        """Train on one batch; see :meth:`Client.step`."""

    def predict(
        self, images: Tensor, seed: int, server: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return what it sends of images and the outputs; see :meth:`Client.predict`."""


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
        trains: whether it trains, or uses the model as it is.
        shares_labels: whether it sends labels where it does not train.
        epochs: tells the defense when an epoch begins.
    """

    part: Part
    sender: Sender
    head: nn.Module | None
    loss: Loss
    optimizer: torch.optim.Optimizer
    trains: bool = True
    shares_labels: bool = False
    epochs: Epochs = field(init=False)

    def __post_init__(self) -> None:
        self.epochs = Epochs(len(self.part))

    @property
    def index(self) -> int:
        """Its number, from 0."""
        return self.sender.client

    @property
    def defense(self) -> Defense[Parameters]:
        """Its defense."""
        return self.sender.defense

    def begin(self) -> None:
        """Put its encoder and its head into training mode; in inference, into evaluation mode."""
        for module in (self.sender.encoder, self.head):
            if module is not None:
                module.train(self.trains)

    def set_rate(self, rate: float) -> None:
        """Set its learning rate."""
        set_rate(self.optimizer, rate)

    @torch.no_grad()
    def predict(
        self, images: Tensor, seed: int, server: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return released smashed data and the model's outputs, in evaluation mode.

        Args:
            images: shape (N, C, H, W), in [0, 1].
            seed: decides what a randomised defense draws.
            server: what the server makes of a batch of smashed data.
        """
        use = self.sender.in_use(seed)

        def forward(batch: Tensor) -> tuple[Tensor, Tensor]:
            encoded = use.send(batch)
            return encoded.smashed, self.finish(server(encoded.smashed), encoded.skips)

        sent, outputs = zip(*in_batches(forward, images, AT_ONCE), strict=True)
        return torch.cat(sent), torch.cat(outputs)

    @torch.no_grad()
    def finish(self, features: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
        """Return the model's outputs, in evaluation mode, from the server's features.

        Args:
            features: (N, ...); without a head they are the outputs.
            skips: what the encoder kept of the same images.
        """
        if self.head is None:
            return features
        training = self.head.training
        with blaming(self.sender.names[0], "forward() in evaluation"):
            self.head.eval()
            outputs = self._head_of(features, skips)
            self.head.train(training)
        return outputs

    def step(self, rows: Tensor, wire: Exchanger, step: int) -> float | None:
        """Train on one batch: forward, send, receive, backward; in inference, forward and send.

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
        if not self.trains:
            return self._use(rows, wire, step)
        defense = self.sender.names[1]
        chosen = rows.tolist()
        images, targets = self.sender.device.put(
            (self.part.batch(chosen), self.part.targets(chosen))
        )
        with blaming(defense, "begin_epoch()"):
            self.epochs.before(self.defense, len(rows))
        self.optimizer.zero_grad()
        encoded, released = self.sender.send(images)
        loss = None
        leaves: tuple[Tensor, ...] = ()
        if self.head is None:
            with blaming(defense, "send_labels()"):
                labels = self.defense.send_labels(targets, step)
            check_labels(labels, targets, f"{defense} in send_labels()")
            gradient = wire.exchange(Message(released, labels, self.index, step), rows=rows)
        else:
            message = Message(released, None, self.index, step)
            features = wire.features(message, rows).requires_grad_()
            leaves = tuple(skip.detach().requires_grad_() for skip in encoded.skips)
            loss = self._finish(features, leaves, targets)
            message = message._replace(feature_gradient=features.grad)
            gradient = wire.exchange(message, features, rows)
        with blaming(defense, "receive()"):
            gradient = self.defense.receive(gradient, step, targets)
        check_shape(gradient, encoded.smashed, f"{defense} in receive()")
        if not all_finite(gradient):
            raise DivergedError(f"{defense} made the gradient of exchange {step} not finite")
        with blaming(defense, "penalty()"):
            penalty = self.defense.penalty(images, encoded.smashed, targets)
            weight = float(self.defense.task_weight)
        if penalty is not None:
            self._check_penalty(penalty, step)
        self._backward(encoded, released, gradient, leaves, penalty, weight)
        return loss

    @torch.no_grad()
    def _use(self, rows: Tensor, wire: Exchanger, step: int) -> None:
        """Send one batch as in use; nothing that comes back trains the client."""
        chosen = rows.tolist()
        images, targets = self.sender.device.put(
            (self.part.batch(chosen), self.part.targets(chosen))
        )
        _, released = self.sender.send(images)
        labels = targets if self.shares_labels else None
        message = Message(released, labels, self.index, step)
        features = None if self.head is None else wire.features(message, rows)
        wire.exchange(message, features, rows)

    def _finish(self, features: Tensor, skips: tuple[Tensor, ...], targets: Tensor) -> float:
        """Run the head and its loss; leave gradients in the features, skips and head."""
        assert self.head is not None
        with blaming(self.sender.names[0], "the client's head or loss()"):
            loss = self.loss(self._head_of(features, skips), targets)
            torch.autograd.backward(loss)
        if features.grad is None:
            target = self.sender.names[0]
            raise PluginError(f"{target}: the client's head does not use the features")
        return loss.item()

    def _head_of(self, features: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
        """Return what the head makes of the server's features, in float32."""
        assert self.head is not None
        with computing(self.sender.precision, features):
            outputs: Tensor = self.head(features, *skips)
        return outputs if self.sender.precision == "float32" else outputs.float()

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


def check_labels(labels: object, targets: Tensor, where: str) -> None:
    """Raise a PluginError unless labels have the shape and type of the true ones."""
    if (
        not isinstance(labels, Tensor)
        or labels.shape != targets.shape
        or labels.dtype != targets.dtype
    ):
        raise PluginError(
            f"{where} gave {kind_of(labels)}; expected labels like {kind_of(targets)}"
        )


def _grads(leaves: Sequence[Tensor]) -> list[Tensor | None]:
    return [leaf.grad for leaf in leaves]
