"""Networks that adapt to any shape of images and smashed data.

Constructors draw initial weights from torch's global generator, so the caller seeds it.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.plugins.toolbox.layers import Resize
from splitsec.plugins.toolbox.layouts import map_layout
from splitsec.shapes import Shape, VectorShape, smashed_shape_of

_WIDEST = 256
_REPORT_WIDTH = 32
_RESIDUAL_WIDTH = 64
_FEW_PLACES = 16


def build_decoder(smashed_shape: tuple[int, ...], image_shape: tuple[int, int, int]) -> nn.Module:
    """Build a decoder from smashed data to images, with as many layers as the shapes need.

    Args:
        smashed_shape: (c, h, w), (T, D) or (D,).
        image_shape: (C, H, W).

    Returns:
        A module from smashed data (N, *smashed_shape) to images (N, C, H, W) in [-1, 1].

    Raises:
        ValueError: an extent is not positive.

    Examples:
        >>> import torch
        >>> decoder = build_decoder(smashed_shape=(64, 4, 4), image_shape=(3, 32, 32))
        >>> images = (decoder(torch.rand(2, 64, 4, 4)) + 1) / 2  # from [-1, 1] to [0, 1]
        >>> images.shape
        torch.Size([2, 3, 32, 32])
    """
    image = checked(image_shape)
    layout = map_layout(smashed_shape_of(smashed_shape), image)
    smashed = layout.shape
    halvings = count_halvings(image, smashed)
    width = max(64, min(32 * 2 ** max(halvings - 1, 0), _WIDEST))
    # Of a kernel on a single place only the middle would learn, and the rest take most of the time.
    is_point = smashed.height == smashed.width == 1
    first = nn.Conv2d(smashed.channels, width, *((1, 1, 0) if is_point else (3, 1, 1)))
    layers = [*layout.layers, first, nn.ReLU()]
    for step in range(halvings - 1):
        narrower, doubling = max(32, width // 2), (2, 2, 0) if is_point and not step else (4, 2, 1)
        layers += [nn.ConvTranspose2d(width, narrower, *doubling), nn.ReLU()]
        width = narrower
    return nn.Sequential(*layers, *_ending(width, image, doubles=halvings > 0))


def _ending(width: int, image: Shape, *, doubles: bool) -> list[nn.Module]:
    """Return the layers from maps of a width to images, which may double the maps a last time."""
    resize = Resize(image.height, image.width)
    if not doubles:
        return [nn.Conv2d(width, image.channels, 3, 1, 1), resize, nn.Tanh()]
    # The last doubling rearranges channels into 2x2 pixels: no convolution at full size.
    convolution = nn.Conv2d(width, 4 * image.channels, 3, 1, 1)
    return [convolution, nn.PixelShuffle(2), resize, nn.Tanh()]


def checked(shape: tuple[int, int, int]) -> Shape:
    """Return the shape by name.

    Raises:
        ValueError: an extent is not positive.
    """
    if min(shape) < 1:
        raise ValueError(f"a shape's extents must be positive, not {tuple(shape)}")
    return Shape(*shape)


def half(extent: int) -> int:
    """Return the extent of a padded convolution's output at stride 2."""
    return (extent + 1) // 2


def count_halvings(image: Shape, smashed: Shape) -> int:
    """Return how often the image is halved until halving again would fall below the map."""
    rows, columns, count = image.height, image.width, 0
    while (
        (rows, columns) != (1, 1)
        and half(rows) >= smashed.height
        and half(columns) >= smashed.width
    ):
        rows, columns, count = half(rows), half(columns), count + 1
    return count


def build_report_decoder(
    smashed_shape: tuple[int, ...], image_shape: tuple[int, int, int]
) -> nn.Module:
    """Build the report's decoder: 32 channels, a strided transposed convolution per doubling.

    The report decodes 512x7x7 into 3x224x224 with five doublings; other shapes get as many as
    they need. The last layer is linear, so that images are not limited to [-1, 1].

    Args:
        smashed_shape: (c, h, w), (T, D) or (D,).
        image_shape: (C, H, W).

    Returns:
        A module from smashed data (N, *smashed_shape) to images (N, C, H, W).

    Raises:
        ValueError: an extent is not positive.

    Examples:
        >>> from torch import nn
        >>> decoder = build_report_decoder(smashed_shape=(512, 7, 7), image_shape=(3, 224, 224))
        >>> sum(isinstance(layer, nn.ConvTranspose2d) for layer in decoder)
        5
    """
    image = checked(image_shape)
    layout = map_layout(smashed_shape_of(smashed_shape), image)
    smashed = layout.shape
    layers = [
        *layout.layers,
        nn.Conv2d(smashed.channels, _REPORT_WIDTH, 3, padding=1),
        nn.BatchNorm2d(_REPORT_WIDTH),
        nn.ReLU(),
    ]
    halvings = count_halvings(image, smashed)
    for _ in range(halvings - 1):
        layers += [
            nn.ConvTranspose2d(_REPORT_WIDTH, _REPORT_WIDTH, 4, 2, 1),
            nn.BatchNorm2d(_REPORT_WIDTH),
            nn.ReLU(),
        ]
    if halvings:
        layers.append(nn.ConvTranspose2d(_REPORT_WIDTH, image.channels, 4, 2, 1))
    else:
        layers.append(nn.Conv2d(_REPORT_WIDTH, image.channels, 3, 1, 1))
    return nn.Sequential(*layers, Resize(image.height, image.width))


class _ResidualBlock(nn.Module):
    """Adds what two convolutions make of maps; at first nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, 1, 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, width, h, w) to the same shape."""
        inner = self.second(F.relu(self.first(F.relu(maps))))
        added: Tensor = maps + inner
        return added


def build_residual_decoder(
    smashed_shape: tuple[int, ...], image_shape: tuple[int, int, int]
) -> nn.Module:
    """Build a decoder with a residual block before each doubling.

    Maps of up to 4x4 places pass a linear layer to larger ones first, so that each place of the
    image can depend on all values.

    Args:
        smashed_shape: (c, h, w), (T, D) or (D,).
        image_shape: (C, H, W).

    Returns:
        A module from smashed data (N, *smashed_shape) to images (N, C, H, W) in [-1, 1].

    Raises:
        ValueError: an extent is not positive.

    Examples:
        >>> import torch
        >>> decoder = build_residual_decoder(smashed_shape=(512, 1, 1), image_shape=(3, 32, 32))
        >>> decoder(torch.rand(2, 512, 1, 1)).shape
        torch.Size([2, 3, 32, 32])
    """
    image = checked(image_shape)
    layout = map_layout(smashed_shape_of(smashed_shape), image)
    smashed = layout.shape
    layers = [*layout.layers]
    if smashed.height * smashed.width <= _FEW_PLACES:
        spread = map_layout(VectorShape(math.prod(smashed)), image)
        layers += [nn.Flatten(), *spread.layers]
        smashed = spread.shape
    layers.append(nn.Conv2d(smashed.channels, _RESIDUAL_WIDTH, 3, 1, 1))
    halvings = count_halvings(image, smashed)
    for _ in range(halvings - 1):
        layers += [
            _ResidualBlock(_RESIDUAL_WIDTH),
            nn.ReLU(),
            nn.ConvTranspose2d(_RESIDUAL_WIDTH, _RESIDUAL_WIDTH, 4, 2, 1),
        ]
    layers += [_ResidualBlock(_RESIDUAL_WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, *_ending(_RESIDUAL_WIDTH, image, doubles=halvings > 0))


DECODERS = {
    "adaptive": build_decoder,
    "residual": build_residual_decoder,
    "report": build_report_decoder,
}
"""From the name that a parameter has to the function that builds the decoder."""
