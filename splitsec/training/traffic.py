"""Keeps the last smashed data that crossed the wire for each training victim."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class Traffic:
    """Remembers, for the scorer, the last smashed data of each training victim.

    Attributes:
        sent: (client, row) to the smashed data, without batch axis, as it crossed the wire.
    """

    def __init__(self, victims: Sequence[tuple[int, int]]) -> None:
        self._victims = frozenset(victims)
        self.sent: dict[tuple[int, int], Tensor] = {}

    def record(self, client: int, rows: Tensor, smashed: Tensor) -> None:
        """Keep the smashed data of the victims among the rows of one batch."""
        for position, row in enumerate(rows.tolist()):
            if (client, row) in self._victims:
                self.sent[client, row] = smashed[position].detach().clone()
