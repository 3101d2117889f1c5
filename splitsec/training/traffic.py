"""Keeps what last crossed the wire for each training victim: smashed data, labels, gradients.

Labels cross where they are shared. Where clients keep them, the gradient of the server's features
crosses instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from splitsec.plugins.messages import Message


class Traffic:
    """Remembers, for the scorer, what was last sent of each training victim.

    Attributes:
        sent: (client, row) to the smashed data, without batch axis, as it crossed the wire.
        labels: (client, row) to the label or mask that crossed beside it; empty where the server
            gets none.
        feature_gradients: (client, row) to the gradient of the server's features, of the shape of
            one image's features; empty unless the model is U-shaped.
    """

    def __init__(self, victims: Sequence[tuple[int, int]]) -> None:
        self._victims = frozenset(victims)
        self.sent: dict[tuple[int, int], Tensor] = {}
        self.labels: dict[tuple[int, int], Tensor] = {}
        self.feature_gradients: dict[tuple[int, int], Tensor] = {}

    def record(self, rows: Tensor, message: Message) -> None:
        """Keep what a message that crosses has of the victims among the rows of its batch."""
        for position, row in enumerate(rows.tolist()):
            victim = (message.client, row)
            if victim in self._victims:
                self.sent[victim] = message.smashed[position].detach().clone()
                if message.labels is not None:
                    self.labels[victim] = message.labels[position].detach().clone()
                if message.feature_gradient is not None:
                    gradient = message.feature_gradient[position].detach().clone()
                    self.feature_gradients[victim] = gradient
