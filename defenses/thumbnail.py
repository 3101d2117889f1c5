"""Thumbnail: the client sends a tiny copy of each image, and nothing else.

The encoder learns nothing. What the server can learn of an image is exactly the thumbnail, and the
leakage is that of its interpolation. A defense that keeps less utility at equal leakage is of no
use for that task.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Generator, Tensor

from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.thumbnails import as_smashed, check_room
from splitsec.shapes import Shape, SmashedShape


class ThumbnailParameters(Parameters):
    """Parameters of the thumbnail."""

    size: int = Field(4, ge=1, description="height and width, in pixels")


class Thumbnail(Defense[ThumbnailParameters]):
    """Sends the mean colours of a few squares of the image."""

    Parameters: ClassVar[type[ThumbnailParameters]] = ThumbnailParameters
    strength: ClassVar[Strength] = Strength("size", (8, 4, 2, 1))

    def begin(self, image: Shape, smashed: SmashedShape, generator: Generator) -> None:
        """Check that it fits.

        Raises:
            NotApplicable: the smashed data have too few values.
        """
        check_room(image, smashed, self.parameters.size)

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the thumbnails; no gradient reaches the encoder, except zero."""
        return as_smashed(images, smashed, self.parameters.size) + 0 * smashed
