"""The honest server: it trains its part of the model, or uses it, and does nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from splitsec.devices import Precision, computing
from splitsec.errors import PluginError, blaming
from splitsec.plugins.messages import Message
from splitsec.plugins.target import Loss
from splitsec.randomness import seeded_global_generator


class HonestServer:
    """A server that trains its part of the model, on shared labels or on the client's gradient.

    Args:
        model: its part of the model.
        loss: loss of outputs and labels, used if labels are shared.
        optimizer: optimizer of its weights.
        name: name of the target, for errors.
        draw: values that its own random numbers depend on.
        precision: in which it computes; what it sends is float32.

    Attributes:
        losses: task loss of every exchange, if labels are shared.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        name: str = "the target",
        draw: Mapping[str, Any] | None = None,
        precision: Precision = "float32",
    ) -> None:
        self.model = model
        self._precision = precision
        self.losses: list[float] = []
        self._loss = loss
        self._optimizer = optimizer
        self._name = name
        self._draw = dict(draw or {})
        self._pending: tuple[Tensor, Tensor] | None = None

    def features(self, message: Message) -> Tensor:
        """Return the features, and keep their graph until the client's gradient arrives."""
        smashed = message.smashed.requires_grad_()
        features = self._forward(smashed, message.step)
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
            outputs = self._forward(smashed, message.step)
            with blaming(self._name, "loss()"):
                loss = self._loss(outputs, message.labels)
            self._step(loss, None)
            self.losses.append(loss.item())
        else:
            raise PluginError("the honest server needs the labels, but they are not shared")
        if smashed.grad is None:
            raise PluginError(f"{self._name}: the server's part does not use the smashed data")
        return smashed.grad

    def _forward(self, smashed: Tensor, step: int) -> Tensor:
        with (
            blaming(self._name, "the server's forward()"),
            seeded_global_generator("server", {**self._draw, "step": step}),
            computing(self._precision, smashed),
        ):
            outputs: object = self.model(smashed)
        if not isinstance(outputs, Tensor):
            kind = type(outputs).__name__
            raise PluginError(f"{self._name}: the server's part gave {kind}; expected a tensor")
        return outputs if self._precision == "float32" else outputs.float()

    def _step(self, root: Tensor, gradient: Tensor | None) -> None:
        self._optimizer.zero_grad()
        torch.autograd.backward(root, gradient)
        self._optimizer.step()


class InferenceServer(HonestServer):
    """A server that uses its part of the model as it is; the gradients that it answers are zero."""

    @torch.no_grad()
    def features(self, message: Message) -> Tensor:
        """Return the features."""
        return self._forward(message.smashed, message.step)

    def answer(self, message: Message) -> Tensor:
        """Return zeros: nothing is trained."""
        return torch.zeros_like(message.smashed)
