"""ResNet-18, -34 or -50 without pretrained weights, split after any of its children.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, as torchvision
builds it. The cut counts torchvision's children, inclusive: 0 conv1, 1 bn1, 2 relu, 3 maxpool,
4 to 7 layer1 to layer4, 8 avgpool, 9 fc. With ``labels=shared`` the server ends the network and
computes the loss; with ``labels=private`` the client keeps fc and the labels (U-shaped).
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import SplitModel, Target
from splitsec.plugins.toolbox.layers import Norm, Standardise, normalisation
from splitsec.shapes import Shape


class ResNetParameters(Parameters):
    """Parameters of the ResNet."""

    depth: Literal[18, 34, 50] = Field(34, description="layers; the report uses 34")
    labels: Literal["shared", "private"] = Field(
        "shared", description="who has the labels; private: U-shaped; the report shares them"
    )
    norm: Norm = Field(
        "batch", description="normalisation; group: of each image by itself, as dp-release needs"
    )


class _Conv2d(nn.Conv2d):
    """A convolution that skips the padding if its map has a single pixel.

    A 3x3 kernel on a padded pixel equals a product with its centre. The last stage has such maps
    for images of 32 px; torch's kernels do nine times the work there, a sixth of a training step.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve maps of shape (N, inputs, H, W)."""
        kernel = (self.kernel_size, self.padding, self.stride)
        if input.shape[2:] != (1, 1) or kernel != ((3, 3), (1, 1), (1, 1)):
            return super().forward(input)
        centre = self.weight.flatten(2)[:, :, 4]
        return F.linear(input.flatten(1), centre, self.bias)[:, :, None, None]


class ResNet(Target[ResNetParameters]):
    """A torchvision ResNet for classification."""

    Parameters: ClassVar[type[ResNetParameters]] = ResNetParameters
    cuts: ClassVar[range] = range(9)
    default_cut: ClassVar[int] = 3
    seeds_ignore: ClassVar[tuple[str, ...]] = ("norm",)

    def preprocessing(self, image: Shape) -> nn.Module:
        """Standardise with ImageNet's channel statistics; grey images with the mean of these."""
        if image.channels == 3:
            return Standardise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        return Standardise((0.449,), (0.226,))

    def possible_cuts(self) -> range:
        """Leave the server at least one layer; a client with private labels keeps the last one."""
        return self.cuts if self.parameters.labels == "shared" else self.cuts[:-1]

    def split(self, image: Shape, outputs: int, cut: int) -> SplitModel:
        """Split after a child; a client with private labels also keeps the last one."""
        if self.parameters.labels == "shared":
            return super().split(image, outputs, cut)
        layers = self.layers(image, outputs)
        client = nn.Sequential(self.preprocessing(image), *layers[: cut + 1])
        return SplitModel(client, nn.Sequential(*layers[cut + 1 : -1]), layers[-1])

    def layers(self, image: Shape, outputs: int) -> list[nn.Module]:
        """Return the ten children of the network."""
        build = {18: models.resnet18, 34: models.resnet34, 50: models.resnet50}
        network = build[self.parameters.depth](
            weights=None,
            num_classes=outputs,
            norm_layer=partial(normalisation, self.parameters.norm),
        )
        if image.channels != 3:
            network.conv1 = nn.Conv2d(image.channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        for module in network.modules():
            if type(module) is nn.Conv2d:
                module.__class__ = _Conv2d  # the same weights, drawn by torchvision
        children = list(network.children())
        # An in-place ReLU right after the cut would write into the received smashed data.
        for child in children:
            if isinstance(child, nn.ReLU):
                child.inplace = False
        return [*children[:9], nn.Sequential(nn.Flatten(), children[9])]
