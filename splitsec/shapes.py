"""The shape of images and smashed data, where it crosses modules."""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """Shape of one image or of one image's smashed data, without the batch axis.

    Examples:
        >>> image = Shape(channels=3, height=32, width=48)
        >>> print(image)
        3x32x48
        >>> (8, *image)  # the shape of a batch of eight
        (8, 3, 32, 48)
    """

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"
