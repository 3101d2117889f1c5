"""What crosses the wire: messages from clients, and the exchanges that a listener sees."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Message(NamedTuple):
    """What one client sends for one batch of N images.

    Attributes:
        smashed: smashed data as the defense released them, detached: maps (N, c, h, w), token
            sequences (N, T, D) or vectors (N, D).
        labels: shape (N,), or None where the receiver may not see them.
        client: index of the sending client, from 0.
        step: index of the exchange in the session, from 0.
        feature_gradient: in the U-shaped configuration, the gradient of the client's loss with
            respect to the server's features, of the features' shape. None before the client has
            received them, and in other configurations.
        session: number of the session, from 0, where an attack runs several.
        samples: which of the client's images each is, by an index that is the same in every epoch,
            shape (N,); None where the receiver may not see it.

    Examples:
        >>> import torch
        >>> message = Message(torch.rand(32, 64, 8, 8), labels=None, client=0, step=0)
        >>> message.smashed.shape, message.feature_gradient
        (torch.Size([32, 64, 8, 8]), None)
    """

    smashed: Tensor
    labels: Tensor | None
    client: int
    step: int
    feature_gradient: Tensor | None = None
    session: int = 0
    samples: Tensor | None = None


class Exchange(NamedTuple):
    """One batch as a passive attack observes it.

    Attributes:
        message: what the client sent.
        gradient: the server's answer: the gradient of the task's loss with respect to the
            smashed data, of their shape.
        features: the server's output for the client's head in the U-shaped configuration,
            else None.

    Examples:
        >>> import torch
        >>> from splitsec.plugins.messages import Message
        >>> smashed = torch.rand(32, 64, 8, 8)
        >>> exchange = Exchange(Message(smashed, None, client=0, step=7), torch.ones_like(smashed))
        >>> exchange.message.step, exchange.gradient.shape
        (7, torch.Size([32, 64, 8, 8]))
    """

    message: Message
    gradient: Tensor
    features: Tensor | None = None


def kind_of(given: object) -> str:
    """Return the type of a value, with the shape of a tensor, for an error's text."""
    if isinstance(given, Tensor):
        return f"{given.dtype} {tuple(given.shape)}"
    return type(given).__name__
