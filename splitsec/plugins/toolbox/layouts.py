"""Smashed data as maps: tokens laid out on the image, vectors spread by a linear layer.

Constructors draw initial weights from torch's global generator, so the caller seeds it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from splitsec.shapes import Shape, SmashedShape, TokenShape, VectorShape

_SPREAD_CHANNELS = 64
_SPREAD_SIZE = 8
"""Rows and columns, at most, of the map that tokens off a grid or vectors are spread to."""


class Grid(NamedTuple):
    """How a sequence of tokens covers an image, row by row.

    Attributes:
        height: rows of patches.
        width: columns of patches.
        class_token: whether the first token is none of the patches.
    """

    height: int
    width: int
    class_token: bool


def grid_of(tokens: int, image: Shape) -> Grid | None:
    """Return the grid of square patches that a sequence of tokens may cover an image with.

    Args:
        tokens: length of the sequence; one more than there are patches if it has a class token.
        image: shape of the image.

    Returns:
        The grid, or None if no grid of the image's proportions has as many patches.
    """
    shared = math.gcd(image.height, image.width)
    rows, columns = image.height // shared, image.width // shared
    for class_token in (False, True):
        patches = tokens - class_token
        scale = math.isqrt(patches // (rows * columns))
        if scale and scale * scale * rows * columns == patches:
            return Grid(scale * rows, scale * columns, class_token)
    return None


class TokenGrid(nn.Module):
    """Lays tokens out on their grid; a class token becomes constant channels beside them.

    Args:
        grid: how they cover the image.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, T, D) to (N, D, h, w), or to (N, 2 * D, h, w) with a class token."""
        height, width, class_token = self.grid
        patches = tokens[:, 1:] if class_token else tokens
        maps = patches.transpose(1, 2).reshape(len(tokens), -1, height, width)
        if not class_token:
            return maps
        return torch.cat([maps, tokens[:, 0, :, None, None].expand_as(maps)], 1)


class _TokenSpread(nn.Module):
    """Mixes tokens that cover no grid into one of ``height`` x ``width`` places."""

    def __init__(self, tokens: int, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        self.places = nn.Linear(tokens, height * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, T, D) to (N, D, h, w)."""
        places: Tensor = self.places(tokens.transpose(1, 2))
        return places.reshape(len(tokens), -1, *self.size)


class MapLayout(NamedTuple):
    """How smashed data become maps.

    Attributes:
        layers: layers from smashed data to maps; none where they are maps already.
        shape: shape of one map.

    Examples:
        >>> from splitsec.plugins.toolbox.layouts import map_layout
        >>> from splitsec.shapes import Shape
        >>> layout = map_layout(Shape(64, 8, 8), image=Shape(3, 32, 32))
        >>> layout.layers, str(layout.shape)  # maps stay as they are
        ([], '64x8x8')
    """

    layers: list[nn.Module]
    shape: Shape


def map_layout(smashed: SmashedShape, image: Shape) -> MapLayout:
    """Return layers that make maps of smashed data, for a network that works on maps.

    Tokens that cover the image in a grid of patches, with or without a class token before them,
    are laid out on it. Other tokens, and vectors, pass a linear layer to a small map.

    Args:
        smashed: shape of the smashed data.
        image: shape of the image.

    Examples:
        >>> import torch
        >>> from splitsec.shapes import Shape, TokenShape
        >>> layers, shape = map_layout(TokenShape(65, 192), Shape(3, 32, 32))
        >>> print(shape)  # the class token becomes 192 more channels
        384x8x8
        >>> torch.nn.Sequential(*layers)(torch.rand(2, 65, 192)).shape
        torch.Size([2, 384, 8, 8])
    """
    height, width = image.height, image.width
    while max(height, width) > _SPREAD_SIZE:
        height, width = (height + 1) // 2, (width + 1) // 2
    match smashed:
        case Shape():
            return MapLayout([], smashed)
        case TokenShape(tokens, features):
            grid = grid_of(tokens, image)
            if grid is None:
                spread = _TokenSpread(tokens, height, width)
                return MapLayout([spread], Shape(features, height, width))
            channels = (1 + grid.class_token) * features
            return MapLayout([TokenGrid(grid)], Shape(channels, grid.height, grid.width))
        case VectorShape(features):
            shape = Shape(_SPREAD_CHANNELS, height, width)
            linear = nn.Linear(features, math.prod(shape))
            return MapLayout([linear, nn.Unflatten(1, tuple(shape))], shape)
