"""Proxy adversary: the client trains a decoder against itself and learns to defeat it.

This is the report's defense, also known as adversarial representation learning (Liu et al., "PAN:
privacy adversarial network", 2019; Li et al., "DeepObfuscator", 2021). On each batch the client
trains its own decoder, the proxy, to reconstruct the images from detached smashed data, and then
ascends the proxy's loss: the gradient at the smashed data is ``alpha * task - (1 - alpha) *
proxy``. The proxy's loss is no evidence about a new attacker, whose success is measured separately.

The report's alpha of 0.01 (the ``paper`` profile) leaves the task 1 % of the gradient, and its
authors' classifier always predicts the majority class. The default here is the strongest of 0.5,
0.9 and 0.97 whose utility on validation images, over five seeds, did not differ significantly from
that of the undefended model; docs/results.md describes the choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.decoders import DECODERS
from splitsec.plugins.toolbox.optimization import OptimizerName, make_optimizer
from splitsec.shapes import Shape, SmashedShape


class ProxyAdversaryParameters(Parameters):
    """Parameters of the proxy adversary."""

    alpha: float = Field(
        0.97, ge=0, le=1, description="weight of the task; the proxy's is the rest; report 0.01"
    )
    steps: int = Field(1, ge=1, description="proxy steps per client step; report 1")
    decoder: Literal["adaptive", "report"] = Field(
        "adaptive", description="the proxy's network; report: 32 channels"
    )
    optimizer: OptimizerName = Field("adam", description="of the proxy; report sgd")
    learning_rate: float = Field(
        2e-3, gt=0, allow_inf_nan=False, description="of the proxy; report 0.01"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD; report 0.9")


class ProxyAdversary(Defense[ProxyAdversaryParameters]):
    """Ascends the loss of a decoder that it trains itself."""

    Parameters: ClassVar[type[ProxyAdversaryParameters]] = ProxyAdversaryParameters
    strength: ClassVar[Strength] = Strength("alpha", (0.99, 0.97, 0.9, 0.5, 0.1, 0.01))
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"alpha": 0.01, "decoder": "report", "optimizer": "sgd", "learning_rate": 0.01},
    }

    @property
    def task_weight(self) -> float:
        """Return alpha."""
        return self.parameters.alpha

    def begin(self, image: Shape, smashed: SmashedShape, generator: torch.Generator) -> None:
        """Build the proxy for the shapes of this session."""
        given = self.parameters
        self._proxy = self.device.put(DECODERS[given.decoder](smashed, image))
        self._optimizer = make_optimizer(
            given.optimizer, self._proxy.parameters(), given.learning_rate, momentum=given.momentum
        )

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
        """Train the proxy on detached smashed data, then return minus its weighted loss."""
        for _ in range(self.parameters.steps):
            self._optimizer.zero_grad()
            torch.autograd.backward(self._loss(images, smashed.detach()))
            self._optimizer.step()
        return -(1 - self.parameters.alpha) * self._loss(images, smashed)

    def _loss(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the mean absolute error of the proxy's images, in [-1, 1]."""
        return F.l1_loss(self._proxy(smashed), 2 * images - 1)
