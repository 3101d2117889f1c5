"""A vision transformer without pretrained weights, split after its patches or after any block.

Dosovitskiy et al., "An image is worth 16x16 words: transformers for image recognition at scale",
ICLR 2021, with torchvision's encoder blocks; small by default, for images of 32 px. Cut 0 gives
the client the embedding of patches, with the class token and the positions; cut n also gives it
the first n blocks. Smashed data are tokens: the class token, then one per patch, row by row. The
server ends the network and computes the loss.
"""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models.vision_transformer import EncoderBlock

from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import LARGEST_SIZE, Target
from splitsec.plugins.toolbox.layers import Standardise
from splitsec.shapes import Shape

_norm = partial(nn.LayerNorm, eps=1e-6)


class ViTParameters(Parameters):
    """Parameters of the vision transformer; the paper's are those of its ViT-B/16."""

    patch: int = Field(4, ge=1, description="height and width of a patch in pixels; paper 16")
    width: int = Field(64, ge=1, description="values of a token; paper 768")
    depth: int = Field(4, ge=1, le=12, description="blocks; paper 12")
    heads: int = Field(4, ge=1, description="attention heads, which divide the width; paper 12")

    @model_validator(mode="after")
    def _divide_width(self) -> ViTParameters:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} do not divide width={self.width}")
        return self


class ViT(Target[ViTParameters]):
    """A vision transformer for classification; its smashed data are tokens."""

    Parameters: ClassVar[type[ViTParameters]] = ViTParameters
    cuts: ClassVar[range] = range(13)
    default_cut: ClassVar[int] = 1

    def sizes(self) -> range:
        """Take images whose sides are multiples of the patch."""
        return range(self.parameters.patch, LARGEST_SIZE + 1, self.parameters.patch)

    def possible_cuts(self) -> range:
        """Cut after the patches or after any block."""
        return range(self.parameters.depth + 1)

    def preprocessing(self, image: Shape) -> nn.Module:
        """Scale images to [-1, 1]."""
        return Standardise((0.5,) * image.channels, (0.5,) * image.channels)

    def layers(self, image: Shape, outputs: int) -> list[nn.Module]:
        """Return the embedding of patches, the blocks, and the classifier."""
        given = self.parameters
        blocks = [
            EncoderBlock(given.heads, given.width, 4 * given.width, 0.0, 0.0, _norm)
            for _ in range(given.depth)
        ]
        embedding = PatchEmbedding(image, given.patch, given.width)
        return [embedding, *blocks, Classifier(given.width, outputs)]


class PatchEmbedding(nn.Module):
    """Embeds patches linearly, puts a class token before them, and adds positions.

    Args:
        image: shape of the images.
        patch: height and width of a patch, pixels.
        width: values of a token.
    """

    def __init__(self, image: Shape, patch: int, width: int) -> None:
        super().__init__()
        count = (image.height // patch) * (image.width // patch)
        self.patches = nn.Conv2d(image.channels, width, patch, stride=patch)
        fan_in = image.channels * patch * patch
        nn.init.trunc_normal_(self.patches.weight, std=math.sqrt(1 / fan_in))
        nn.init.zeros_(self.patches.bias)  # type: ignore[arg-type]  # it has one
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + count, width).normal_(std=0.02))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to tokens (N, 1 + patches, width)."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], 1)
        positioned: Tensor = tokens + self.positions
        return positioned


class Classifier(nn.Module):
    """Normalises the class token and classifies it."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.linear = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (N, T, width) to logits (N, outputs)."""
        logits: Tensor = self.linear(self.norm(tokens[:, 0]))
        return logits
