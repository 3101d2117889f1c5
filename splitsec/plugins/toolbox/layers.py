"""Layers that attacks, defenses and targets share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class SameConv2d(nn.Conv2d):
    """A 3x3 convolution with TensorFlow's ``same`` padding and Keras' initial weights.

    The output has ``ceil(size / stride)`` rows and columns. At stride 2 an even size is padded
    by one at the bottom and right only, where torch's ``padding=1`` pads all four sides.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: step in both directions, pixels.

    Examples:
        >>> import torch
        >>> SameConv2d(3, 16, stride=2)(torch.rand(4, 3, 33, 32)).shape
        torch.Size([4, 16, 17, 16])
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(inputs, outputs, 3, stride, padding=1 if stride == 1 else 0)
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        if self.stride[0] == 1:
            return super().forward(input)
        return super().forward(functional.pad(input, _same_padding(input, self.stride[0])))


def _same_padding(images: Tensor, stride: int) -> list[int]:
    """Return left, right, top and bottom padding of a 3x3 ``same`` convolution."""
    padding = []
    for size in (images.shape[-1], images.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
        padding += [total // 2, total - total // 2]
    return padding


class Resize(nn.Module):
    """Resample maps bilinearly to one size; maps of that size pass unchanged.

    Args:
        height: rows of the output, pixels.
        width: columns of the output, pixels.

    Examples:
        >>> import torch
        >>> Resize(32, 48)(torch.rand(4, 3, 8, 8)).shape
        torch.Size([4, 3, 32, 48])
    """

    def __init__(self, height: int, width: int):
        super().__init__()
        self.height = height
        self.width = width

    def forward(self, maps: Tensor) -> Tensor:
        """Resample (N, C, h, w) to (N, C, height, width)."""
        size = (self.height, self.width)
        if maps.shape[2:] == torch.Size(size):
            return maps
        return functional.interpolate(maps, size, mode="bilinear", antialias=True)


class Standardise(nn.Module):
    """Subtract a fixed mean and divide by a fixed standard deviation, both per channel.

    Args:
        mean: one value per channel, or per feature of tokens or vectors.
        deviation: one positive value per channel or feature.
        axes: number of axes after the channel: 2 for maps, 0 for tokens and vectors.

    Examples:
        >>> import torch
        >>> standardise = Standardise(mean=[0.5, 0.5, 0.5], deviation=[0.25, 0.25, 0.25])
        >>> standardise(torch.ones(1, 3, 2, 2)).mean()
        tensor(2.)
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float], axes: int = 2) -> None:
        super().__init__()
        shape = (1, -1, *[1] * axes)
        self.register_buffer("mean", torch.tensor(mean).view(shape))
        self.register_buffer("deviation", torch.tensor(deviation).view(shape))

    def forward(self, values: Tensor) -> Tensor:
        """Standardise maps (N, C, H, W), token sequences (N, T, D) or vectors (N, D)."""
        return (values - self.mean) / self.deviation


Norm = Literal["batch", "group"]
"""Whether an image's activations are normalised with its batch, or by itself."""

_MOST_GROUPS = 32  # Wu, He, "Group normalization", ECCV 2018


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Return a normalisation of maps; both kinds begin with the same weights.

    Args:
        norm: its kind. A group has two channels or more.
        channels: of the maps (N, channels, H, W).

    Examples:
        >>> from splitsec.plugins.toolbox.layers import normalisation
        >>> normalisation("group", 64).num_groups
        32
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(math.gcd(_MOST_GROUPS, max(1, channels // 2)), channels)
