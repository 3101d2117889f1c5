"""The shape of images and smashed data, where it crosses modules."""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """Shape of one image or of one image's smashed data, without the batch axis."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"
