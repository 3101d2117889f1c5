"""Settings of the smallest cell that gives a record."""

from __future__ import annotations

COUNTS = [
    "training.epochs=1",
    "counts.private=16",
    "counts.public=8",
    "counts.validation=4",
    "counts.held_out=8",
    "counts.victims=4",
]
"""Of any target; the cheapest is ``fsha-client`` at cut 1: ``resnet`` imports torchvision."""
