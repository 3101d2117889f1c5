"""The shapes that images and smashed data may have.

An image is always ``Shape(channels, height, width)``. Smashed data are a map, which has the same
type, a sequence of tokens, or a vector. All three are tuples: ``torch.zeros(n, *shape)`` works on
each, ``math.prod(shape)`` counts its values, and ``match`` tells them apart::

    match view.smashed_shape:
        case Shape(channels, height, width): ...
        case TokenShape(tokens, features): ...
        case VectorShape(features): ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from splitsec.errors import NotApplicable


class Shape(NamedTuple):
    """Shape of one image, or of one image's smashed data if they are a map; no batch axis.

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


class TokenShape(NamedTuple):
    """Shape of smashed data that are a sequence of tokens; without the batch axis.

    Attributes:
        tokens: length of the sequence, class tokens included.
        features: values of each token.

    Examples:
        >>> smashed = TokenShape(tokens=65, features=192)
        >>> print(smashed)
        65x192
    """

    tokens: int
    features: int

    def __str__(self) -> str:
        return f"{self.tokens}x{self.features}"


class VectorShape(NamedTuple):
    """Shape of smashed data that are a vector; without the batch axis.

    Attributes:
        features: values of the vector.

    Examples:
        >>> print(VectorShape(features=128))
        128
    """

    features: int

    def __str__(self) -> str:
        return str(self.features)


SmashedShape = Shape | TokenShape | VectorShape
"""Shape of one image's smashed data, without the batch axis."""


def smashed_shape_of(extents: Sequence[int]) -> SmashedShape:
    """Return the shape of smashed data by name.

    Args:
        extents: (channels, height, width), (tokens, features) or (features,).

    Raises:
        ValueError: there are none or over three, or one is not positive.
    """
    if not extents or min(extents) < 1:
        raise ValueError(f"a shape's extents must be positive, not {tuple(extents)}")
    match tuple(extents):
        case (channels, height, width):
            return Shape(channels, height, width)
        case (tokens, features):
            return TokenShape(tokens, features)
        case (features,):
            return VectorShape(features)
    raise ValueError(f"smashed data have one to three extents, not {tuple(extents)}")


def require_map(smashed: SmashedShape, who: str) -> Shape:
    """Return the shape of smashed data for a method that works on maps alone.

    Args:
        smashed: shape of the smashed data.
        who: the method, such as ``"attack 'fsha'"``.

    Raises:
        NotApplicable: the smashed data are no map.
    """
    match smashed:
        case Shape():
            return smashed
        case TokenShape():
            sent = f"{smashed.tokens} tokens of {smashed.features} values"
        case VectorShape():
            sent = f"a vector of {smashed.features} values"
    raise NotApplicable(
        f"{who} needs smashed data that are a map of channels x height x width; at this cut the "
        f"client sends {sent}"
    )
