"""What crosses the wire: messages, and the exchanges that a listener sees."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Message(NamedTuple):
    """What one client sends for one batch.

    Attributes:
        smashed: released smashed data, shape (N, c, h, w), detached.
        labels: shape (N,), or None where the receiver may not have them.
        client: index of the sending client.
        step: index of the exchange in the session, from 0.
        feature_gradient: in the U-shaped configuration, the gradient of the client's loss with
            respect to the server's features, once the client has them; else None.
    """

    smashed: Tensor
    labels: Tensor | None
    client: int
    step: int
    feature_gradient: Tensor | None = None


class Exchange(NamedTuple):
    """A message, the gradient that answered it, and the features sent in between if U-shaped."""

    message: Message
    gradient: Tensor
    features: Tensor | None = None


def kind_of(given: object) -> str:
    """Return what something is, as errors say it."""
    if isinstance(given, Tensor):
        return f"{given.dtype} {tuple(given.shape)}"
    return type(given).__name__
