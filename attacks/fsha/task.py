"""The task, for a server that hides the hijacking behind it.

A client whose loss never falls knows that something is wrong, and detectors look at gradients that
no task gives (SplitGuard; Erdogan et al., WPES 2022). So a malicious server may train its part of
the model as an honest one does: for as long as it only learns, or beside the hijacking, with the
task's gradient mixed into what it sends.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitsec.errors import NotApplicable
from splitsec.plugins.messages import Message
from splitsec.plugins.target import Loss

_NOTHING = 1e-12


class Task:
    """Trains the server's part of the model, on shared labels or on the client's gradient.

    Args:
        network: the server's part of the model.
        loss: loss of outputs and labels, used if labels are shared.
        rate: Adam's learning rate.

    Attributes:
        loss: the loss of the last exchange, or None where clients keep it.

    Examples:
        >>> import torch
        >>> from splitsec.attacks.fsha.task import Task
        >>> from splitsec.plugins.messages import Message
        >>> task = Task(torch.nn.Linear(4, 2), torch.nn.functional.cross_entropy, 1e-3)
        >>> message = Message(torch.rand(8, 4), torch.tensor([0, 1] * 4), client=0, step=0)
        >>> task.answer(message).shape
        torch.Size([8, 4])
    """

    def __init__(self, network: nn.Module, loss: Loss, rate: float) -> None:
        self.loss: float | None = None
        self._network = network.train()
        self._loss = loss
        self._optimizer = torch.optim.Adam(network.parameters(), rate)
        self._pending: tuple[Tensor, Tensor] | None = None

    def features(self, message: Message) -> Tensor:
        """Return features for the client's head, and wait for their gradient."""
        smashed, features = self._forward(message)
        self._pending = smashed, features
        return features.detach()

    def answer(self, message: Message) -> Tensor:
        """Take a training step; return the gradient of the smashed data, of their shape.

        Raises:
            NotApplicable: the client sends neither labels nor the gradient of features.
        """
        if message.feature_gradient is not None and self._pending is not None:
            (smashed, root), self._pending = self._pending, None
        elif message.labels is not None:
            smashed, outputs = self._forward(message)
            root = self._loss(outputs, message.labels)
            self.loss = root.item()
        else:
            raise NotApplicable("the clients share no labels, so this server can train no task")
        self._optimizer.zero_grad()
        torch.autograd.backward(root, message.feature_gradient)
        self._optimizer.step()
        assert smashed.grad is not None
        return smashed.grad

    @torch.enable_grad()
    def _forward(self, message: Message) -> tuple[Tensor, Tensor]:
        smashed = message.smashed.detach().clone().requires_grad_()
        return smashed, self._network(smashed)


def mixed(gradient: Tensor, honest: Tensor, share: float) -> Tensor:
    """Return a gradient with the task's added, of ``share`` times its length.

    Args:
        gradient: what hijacks, (N, ...). The task's is returned where it is zero.
        honest: the task's gradient, of the same shape.
        share: length of what is added, relative to the gradient's.

    Examples:
        >>> import torch
        >>> mixed(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 8.0]), 0.5)
        tensor([2., 1.])
    """
    length = gradient.norm()
    if length <= _NOTHING:
        return honest
    scale: Tensor = share * length / honest.norm().clamp(min=_NOTHING)
    return gradient + scale * honest
