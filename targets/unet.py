"""A U-Net for segmentation, U-shaped split: the client keeps both ends and the masks.

Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image segmentation",
MICCAI 2015, with batch normalisation and padded convolutions. Cut n gives the client the first n
encoder blocks and the last n decoder blocks with the output layer; the server has the blocks
between them. Skips of the client's own blocks stay on the client. The server sees smashed data
and the gradient of its own output, never a mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.plugins.parameters import Parameters
from splitsec.plugins.source import Task
from splitsec.plugins.target import LARGEST_SIZE, SplitModel, Target
from splitsec.plugins.toolbox.layers import Norm, Standardise, normalisation
from splitsec.shapes import Shape


class UNetParameters(Parameters):
    """Parameters of the U-Net."""

    width: int = Field(16, ge=1, description="channels of the first block; report 64")
    depth: int = Field(4, ge=1, le=6, description="blocks on each side; report 4")
    loss: Literal["dice", "dice+bce"] = Field(
        "dice", description="report dice; its authors' code dice+bce"
    )
    norm: Norm = Field(
        "batch", description="normalisation; group: of each image by itself, as dp-release needs"
    )


class UNet(Target[UNetParameters]):
    """A U-Net whose client keeps the first and the last blocks."""

    Parameters: ClassVar[type[UNetParameters]] = UNetParameters
    task: ClassVar[Task] = "segmentation"
    cuts: ClassVar[range] = range(1, 5)
    default_cut: ClassVar[int] = 1
    seeds_ignore: ClassVar[tuple[str, ...]] = ("norm",)
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "standard": {"width": 32},
        "paper": {"width": 64},
    }
    training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"epochs": 12, "batch_size": 8, "learning_rate": 1e-3},
        "standard": {"epochs": 40, "batch_size": 8, "learning_rate": 1e-3},
        "paper": {"epochs": 10, "batch_size": 8, "learning_rate": 0.01},
    }

    def preprocessing(self, image: Shape) -> nn.Module:
        """Scale images to [-1, 1]."""
        return Standardise((0.5,) * image.channels, (0.5,) * image.channels)

    def sizes(self) -> range:
        """Take images that can be halved once per block."""
        return range(2**self.parameters.depth, LARGEST_SIZE + 1)

    def possible_cuts(self) -> range:
        """Give the client one block of each side at least and all of them at most."""
        return range(1, min(self.cuts[-1], self.parameters.depth) + 1)

    def split(self, image: Shape, outputs: int, cut: int) -> SplitModel:
        """Give the client ``cut`` blocks of each side."""
        given = self.parameters
        widths = [given.width * 2**level for level in range(given.depth + 1)]
        # Built in the whole network's order, so that every cut starts with the same weights.
        down = [Block(image.channels, widths[0], given.norm)]
        down += [Block(*pair, given.norm) for pair in pairwise(widths[:-1])]
        bottom = Block(widths[-2], widths[-1], given.norm)
        up = [UpBlock(wide, narrow, given.norm) for wide, narrow in pairwise(reversed(widths))]
        last = nn.Conv2d(widths[0], outputs, 1)
        kept = given.depth - cut
        return SplitModel(
            Encoder(self.preprocessing(image), down[:cut]),
            Middle(down[cut:], bottom, up[:kept]),
            Head(up[kept:], last),
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return one minus the batch's mean soft Dice coefficient, plus cross-entropy if set.

        Args:
            outputs: logits, shape (N, 1, H, W).
            targets: masks of 0 and 1, the same shape.
        """
        shares = torch.sigmoid(outputs).flatten(1)
        masks = targets.flatten(1)
        both = 2 * (shares * masks).sum(1) + 1
        dice = 1 - (both / (shares.sum(1) + masks.sum(1) + 1)).mean()
        if self.parameters.loss == "dice":
            return dice
        return dice + F.binary_cross_entropy_with_logits(outputs, targets)


class Block(nn.Sequential):
    """Convolution 3x3, normalisation and ReLU, twice."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                normalisation(norm, outputs),
                nn.ReLU(),
            ]
        super().__init__(*layers)


class UpBlock(nn.Module):
    """Double the map, join the skip of its size, and convolve."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.block = Block(2 * outputs, outputs, norm)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Map (N, inputs, h, w) and a skip (N, outputs, H, W) to (N, outputs, H, W)."""
        doubled = self.enlarge(features)
        if doubled.shape[2:] != skip.shape[2:]:  # an odd extent was rounded down by the pooling
            rows, columns = (a - b for a, b in zip(skip.shape[2:], doubled.shape[2:], strict=True))
            doubled = F.pad(doubled, (0, columns, 0, rows))
        joined: Tensor = self.block(torch.cat([skip, doubled], 1))
        return joined


def _descend(blocks: nn.ModuleList, features: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Run blocks with max-pooling after each; return the result and each block's output."""
    skips = []
    for block in blocks:
        skips.append(block(features))
        features = F.max_pool2d(skips[-1], 2)
    return features, skips


def _ascend(blocks: nn.ModuleList, features: Tensor, skips: list[Tensor]) -> Tensor:
    for block, skip in zip(blocks, reversed(skips), strict=True):
        features = block(features, skip)
    return features


class Encoder(nn.Module):
    """The client's encoder blocks: smashed data, and a skip per block."""

    def __init__(self, preprocessing: nn.Module, blocks: list[Block]) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, C, H, W) to smashed data and skips, the largest first."""
        smashed, skips = _descend(self.blocks, self.preprocessing(images))
        return smashed, *skips


class Middle(nn.Module):
    """The server's part: the rest of the encoder, the bottom, the rest of the decoder."""

    def __init__(self, down: list[Block], bottom: Block, up: list[UpBlock]) -> None:
        super().__init__()
        self.down = nn.ModuleList(down)
        self.bottom = bottom
        self.up = nn.ModuleList(up)

    def forward(self, smashed: Tensor) -> Tensor:
        """Map smashed data to features of twice the channels and the same size."""
        features, skips = _descend(self.down, smashed)
        return _ascend(self.up, self.bottom(features), skips)


class Head(nn.Module):
    """The client's decoder blocks and the output layer."""

    def __init__(self, up: list[UpBlock], last: nn.Conv2d) -> None:
        super().__init__()
        self.up = nn.ModuleList(up)
        self.last = last

    def forward(self, features: Tensor, *skips: Tensor) -> Tensor:
        """Map the server's features and the encoder's skips to logits (N, outputs, H, W)."""
        logits: Tensor = self.last(_ascend(self.up, features, list(skips)))
        return logits
