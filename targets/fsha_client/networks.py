"""The client network of the FSHA paper, cut at levels 1 to 4.

Pasquini, Ateniese, Bernaschi, "Unleashing the Tiger", CCS 2021, and its authors' public code:
a small pre-activation ResNet without batch normalisation inside its residual blocks. It ends in a
residual sum, so its smashed data have both signs. Convolutions are 3x3 with TensorFlow's ``same``
padding and Keras's initialisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from splitsec.plugins.toolbox.layers import SameConv2d

LEVELS = (1, 2, 3, 4)

# Keras's values: moving averages keep 0.99 of the past, and epsilon is 1e-3.
_BATCH_NORM_MOMENTUM = 0.01
_BATCH_NORM_EPSILON = 1e-3


class ClientBlock(nn.Module):
    """ReLU, 3x3 convolution, ReLU, 3x3 convolution, plus identity or a 3x3 strided shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        if stride == 1 and inputs != outputs:
            raise ValueError(f"an identity shortcut cannot turn {inputs} channels into {outputs}")
        self.first = SameConv2d(inputs, outputs, stride)
        self.second = SameConv2d(outputs, outputs)
        self.shortcut = SameConv2d(inputs, outputs, stride) if stride > 1 else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        branch = self.second(functional.relu(self.first(functional.relu(features))))
        output: Tensor = self.shortcut(features) + branch
        return output


def client_children(level: int, channels: int = 3) -> list[nn.Module]:
    """Build the client's children, first to last, up to a level.

    For images of H x W the smashed data are 64 x H/2 x W/2 at level 1, 128 x H/4 x W/4 at
    levels 2 and 3, and 256 x H/8 x W/8 at level 4 (rounded up from the second halving on).

    Args:
        level: 1 to 4; each level appends one residual block.
        channels: channels of the images, 1 or 3.

    Returns:
        Convolution, batch normalisation, ReLU, max-pooling, then ``level`` residual blocks,
        in ``channels_last`` memory format, which oneDNN convolves fastest.

    Raises:
        ValueError: the level is not 1 to 4.
    """
    if level not in LEVELS:
        raise ValueError(f"the FSHA paper's client has levels 1 to 4, not {level!r}")
    children: list[nn.Module] = [
        SameConv2d(channels, 64),
        nn.BatchNorm2d(64, eps=_BATCH_NORM_EPSILON, momentum=_BATCH_NORM_MOMENTUM),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    blocks = ((64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2))
    children += [ClientBlock(*block) for block in blocks[:level]]
    return [child.to(memory_format=torch.channels_last) for child in children]
