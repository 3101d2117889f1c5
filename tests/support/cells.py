"""Settings of the smallest cell that gives a record."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.isolation import Isolation

COUNTS = [
    "training.epochs=1",
    "counts.private=16",
    "counts.public=8",
    "counts.validation=4",
    "counts.held_out=8",
    "counts.victims=4",
]
"""Of any target; the cheapest is ``fsha-client`` at cut 1: ``resnet`` imports torchvision."""


FEW = {
    "training.epochs": 1,
    "training.batch_size": 8,
    "counts.private": 16,
    "counts.public": 12,
    "counts.validation": 6,
    "counts.held_out": 8,
    "counts.victims": 8,
}
"""Parameters of a cell that an attack finishes in a second."""

SHORT = {
    "adra": "adra:epochs=4,queries=500",
    "fsha": "fsha:iterations=60,pretraining=30,image_steps=20",
    "average": "average:queries=400",
    "regression": "regression:queries=500",
    "pseudo-client": "pseudo-client:epochs=8,afterwards=8",
    "sdar": "sdar:afterwards=8,client_batch_size=8",
    "fora": "fora:epochs=10,afterwards=10,width=8",
    "refine": "refine:images=200,steps=3",
    "resnet": "resnet:depth=18",
    "unet": "unet:width=4",
}
"""Plug-ins with parameters that take seconds, by their names."""


def tiny_cells(
    attack: str, defense: str, isolation: Isolation | None, *settings: str
) -> list[Cell]:
    """Return cells of the cheapest target on drawn images, with two batches a session."""
    asked = Request(
        attack=attack,
        defense=defense,
        target="fsha-client",
        data="phantom-fundus",
        cut="1",
        size="16",
        threads=1,
        seed="11",
        settings=[*COUNTS, "training.batch_size=8", *settings],
    )
    return resolve(asked, isolation)


def draw_nothing(path: Path, *_: object, **__: object) -> None:
    Image.new("RGB", (16, 9)).save(path, "PNG")
