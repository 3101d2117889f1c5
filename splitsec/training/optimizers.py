"""Makes the optimizers of clients and the honest server, and decays their learning rates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from splitsec.plugins.toolbox import optimization
from splitsec.training.settings import Training

_LEAST_RATE = 0.01  # of the learning rate, at the end of its decay


def make_optimizer(
    training: Training, *modules: nn.Module | None, learning_rate: float | None = None
) -> torch.optim.Optimizer:
    """Return an optimizer for one side's weights.

    Args:
        training: the clients' settings.
        *modules: the side's modules.
        learning_rate: learning rate set by the server, or None for the clients' own.
    """
    rate = learning_rate or training.learning_rate
    held = [weight for module in modules if module is not None for weight in module.parameters()]
    weights = [weight for weight in held if weight.requires_grad]
    if not weights:
        return _NoOptimizer()
    return optimization.make_optimizer(
        training.optimizer, weights, rate, momentum=training.momentum
    )


def rate_after(training: Training, done: float) -> float | None:
    """Return the learning rate for how much of an honest session is done, in [0, 1].

    It is None if the rate does not change.
    """
    if training.decay == "none":
        return None
    return training.learning_rate * optimization.half_cosine(done, 1.0, _LEAST_RATE)


class _NoOptimizer(torch.optim.Optimizer):
    """The optimizer of a side without weights, such as a server that only pools."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    # torch's annotation has one overload for each of a closure and none.
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Do nothing."""
