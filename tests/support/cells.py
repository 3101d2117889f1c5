"""Settings of the smallest cell that gives a record."""

from __future__ import annotations

TINY = [
    "target.resnet.depth=18",
    "training.epochs=1",
    "counts.private=16",
    "counts.public=8",
    "counts.validation=4",
    "counts.held_out=8",
    "counts.victims=4",
]
