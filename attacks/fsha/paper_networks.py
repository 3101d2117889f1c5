"""The server's networks in the FSHA paper: pilot, decoder and discriminator, levels 1 to 4.

Pasquini, Ateniese, Bernaschi, "Unleashing the Tiger", CCS 2021, and its authors' public code.
All convolutions are 3x3 with TensorFlow's ``same`` padding and Keras's initialisation (Glorot
uniform weights, zero biases). The pilot and the decoder are linear up to the decoder's
last tanh, so images are scaled to [-1, 1]. The discriminator is the same plain stack at every
level: the authors' level-specific strided stems are overwritten before use.

The networks are in ``channels_last`` memory format, which oneDNN convolves fastest, and the
discriminator's ReLUs are :class:`~splitsec.plugins.toolbox.gradient_penalty.Rectifier`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from splitsec.plugins.toolbox.gradient_penalty import Rectifier
from splitsec.plugins.toolbox.layers import SameConv2d

LEVELS = (1, 2, 3, 4)


class SameConvTranspose2d(nn.ConvTranspose2d):
    """A 3x3 transposed convolution of stride 2 with TensorFlow's ``same`` padding.

    It is the gradient of :class:`SameConv2d` at stride 2 and even size: the output has twice
    the input's rows and columns, and any surplus at the bottom and right is cut off.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, stride=2)
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, 2H, 2W)."""
        return super().forward(input, output_size)[..., :-1, :-1]


class ResidualBlock(nn.Module):
    """ReLU, 3x3 convolution, ReLU, 3x3 convolution, plus identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.branch = nn.Sequential(
            Rectifier(), SameConv2d(channels, channels), Rectifier(), SameConv2d(channels, channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        branch: Tensor = self.branch(features)
        return features + branch


class Crop(nn.Module):
    """Cut images to a size, at the bottom and right."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Cut (N, C, H, W) to (N, C, size, size)."""
        return images[..., : self.size, : self.size]


def pilot(level: int, channels: int = 3) -> nn.Sequential:
    """Build the pilot encoder f~, which is linear.

    Args:
        level: the client's level, 1 to 4.
        channels: channels of the images.

    Returns:
        A network from images in [-1, 1], (N, channels, H, W), to features of the smashed
        data's shape: 64 x H/2 x W/2 at level 1, 128 x H/4 x W/4 at levels 2 and 3 and
        256 x H/8 x W/8 at level 4, each halving rounded up.

    Raises:
        ValueError: the level is not 1 to 4.
    """
    _check_level(level)
    layers: list[nn.Module] = [SameConv2d(channels, 64, stride=2)]
    if level >= 2:
        layers.append(SameConv2d(64, 128, stride=2))
    if level == 4:
        layers.append(SameConv2d(128, 256, stride=2))
    width = {1: 64, 2: 128, 3: 128, 4: 256}[level]
    return _channels_last(nn.Sequential(*layers, SameConv2d(width, width)))


def decoder(level: int, channels: int = 3, size: int = 32) -> nn.Sequential:
    """Build the decoder, the approximate inverse of the pilot.

    Args:
        level: the client's level, 1 to 4.
        channels: channels of the images.
        size: rows and columns of the images. Transposed convolutions double, so if the size is
            not a multiple of 2, 4 or 8 (level 1, 2 and 3, 4), the surplus is cut off.

    Returns:
        A network from features, (N, C, h, w), to images in [-1, 1], (N, channels, size, size).

    Raises:
        ValueError: the level is not 1 to 4.
    """
    _check_level(level)
    width = {1: 64, 2: 128, 3: 128, 4: 256}[level]
    layers: list[nn.Module] = [SameConvTranspose2d(width, 256)]
    if level >= 2:
        layers.append(SameConvTranspose2d(256, 128))
    if level == 4:
        layers.append(SameConvTranspose2d(128, channels))
    else:
        layers.append(SameConv2d(256 if level == 1 else 128, channels))
    layers.append(nn.Tanh())
    if size % {1: 2, 2: 4, 3: 4, 4: 8}[level]:
        layers.append(Crop(size))
    return _channels_last(nn.Sequential(*layers))


def discriminator(smashed_shape: tuple[int, int, int]) -> nn.Sequential:
    """Build the discriminator D, a plain stack at every level.

    Args:
        smashed_shape: channels, rows and columns of the smashed data, on which the size of
            the last dense layer depends.

    Returns:
        A network from features (N, C, h, w) to unbounded scores (N, 1).
    """
    channels, height, width = smashed_shape
    last = 256 * math.ceil(height / 2) * math.ceil(width / 2)
    dense = nn.Linear(last, 1)
    nn.init.xavier_uniform_(dense.weight)
    nn.init.zeros_(dense.bias)
    return _channels_last(
        nn.Sequential(
            SameConv2d(channels, 256),
            *(ResidualBlock(256) for _ in range(6)),
            SameConv2d(256, 256, stride=2),
            nn.Flatten(),
            dense,
        )
    )


def _channels_last(network: nn.Sequential) -> nn.Sequential:
    """Put a network's convolution weights in ``channels_last`` memory format."""
    converted: nn.Sequential = network.to(memory_format=torch.channels_last)
    return converted


def _check_level(level: int) -> None:
    """Refuse a level that the paper does not have."""
    if level not in LEVELS:
        raise ValueError(f"the FSHA paper's networks have levels 1 to 4, not {level!r}")


def level_of(image: tuple[int, int, int], smashed: tuple[int, int, int]) -> int | None:
    """Return the paper's level whose networks give smashed data of this shape, or None.

    Levels 2 and 3 share a shape and networks.
    """
    for level, (channels, halvings) in {1: (64, 1), 2: (128, 2), 4: (256, 3)}.items():
        height, width = image[1:]
        for _ in range(halvings):
            height, width = (height + 1) // 2, (width + 1) // 2
        if tuple(smashed) == (channels, height, width):
            return level
    return None
