"""Colour only: the client sends the mean colour of each image, and nothing else.

It is the smallest thumbnail. A blind attacker that was told the colours would do as well. A defense
that cannot beat it on a task is of no use there: such a task needs no more than the colour.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Generator, Tensor

from splitsec.plugins.defense import Defense
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.thumbnails import as_smashed, check_room
from splitsec.shapes import Shape, SmashedShape


class ColourOnly(Defense[Parameters]):
    """Sends the mean of each colour over the image."""

    Parameters: ClassVar[type[Parameters]] = Parameters

    def begin(self, image: Shape, smashed: SmashedShape, generator: Generator) -> None:
        """Check that it fits.

        Raises:
            NotApplicable: the smashed data have fewer channels than the image.
        """
        check_room(image, smashed, 1)

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the colours; no gradient reaches the encoder, except zero."""
        return as_smashed(images, smashed, 1) + 0 * smashed
