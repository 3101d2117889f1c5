"""Chooses the images that are attacked and scored.

The choice is drawn from the hash of all images. A client knows its own images alone, so a defense
in a process of its own cannot tell victims from others, and cannot protect them alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splitsec.cells.image_lists import held_out_clients
from splitsec.data.parts import Data
from splitsec.randomness import numpy_generator


def choose_training_victims(data: Data, count: int) -> list[tuple[int, int]]:
    """Choose victims from the private images, spread evenly over the clients.

    Args:
        data: the session's images.
        count: number of victims to choose.

    Returns:
        (client, row) of each victim, in order; fewer than ``count`` if there are fewer images.
    """
    rows = [range(len(part)) for part in data.private]
    chosen = _chosen(data, "training victims", rows, count)
    return [(client, row) for client, own in enumerate(chosen) for row in own]


def choose_held_out_victims(data: Data, count: int) -> list[int]:
    """Choose victims from the held-out images, spread evenly over the clients.

    Args:
        data: the session's images.
        count: number of victims to choose.

    Returns:
        Rows of the held-out part, in order; fewer than ``count`` if there are fewer images.
    """
    clients = len(data.private)
    owners = held_out_clients(len(data.held_out), clients)
    rows = [np.flatnonzero(owners == client).tolist() for client in range(clients)]
    return [row for own in _chosen(data, "held-out victims", rows, count) for row in own]


def _chosen(data: Data, stage: str, rows: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """Return so many of the clients' rows, of each client as many as of the others."""
    generator = numpy_generator(stage, data=data.images_sha256)
    shares = [count // len(rows) + (client < count % len(rows)) for client in range(len(rows))]
    return [
        sorted(own[place] for place in generator.permutation(len(own))[:share])
        for own, share in zip(rows, shares, strict=True)
    ]
