"""SDAR's networks: a decoder and two critics that are told the label of what they see.

They have the layers of the authors' TensorFlow code (zhxchd/SDAR_SplitNN), of which a port to torch
exists (bear-zd/SDAR_SplitNN_torch), for the shapes of their ResNet-20, and adapt to others. A label
becomes one more channel. Constructors draw initial weights from torch's global generator, so the
caller seeds it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitsec.plugins.toolbox.decoders import checked, count_halvings, half
from splitsec.plugins.toolbox.layers import Resize

_EMBEDDED = 50
_SLOPE = 0.2
_DROPPED = 0.4
_NARROWEST = 16  # channels of the decoder at the size of the image
_WIDEST = 256


class Labelled(nn.Module):
    """A network whose input has one more channel, which is made of the label.

    Args:
        shape: (c, h, w) of its input, without that channel.
        classes: number of classes; 0 if labels are not known, and no channel is added.
        body: takes maps (N, c + 1, h, w), or (N, c, h, w) if there are no classes.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, body: nn.Module) -> None:
        super().__init__()
        _, self._rows, self._columns = shape
        self.body = body
        self.channel = None
        if classes:
            self.channel = nn.Sequential(
                nn.Embedding(classes, _EMBEDDED), nn.Linear(_EMBEDDED, self._rows * self._columns)
            )

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """Apply the network to maps (N, c, h, w) with labels (N,), None without classes."""
        if self.channel is not None:
            assert labels is not None, "a network with classes is told labels"
            made = self.channel(labels).view(len(maps), 1, self._rows, self._columns)
            maps = torch.cat([maps, made], 1)
        given: Tensor = self.body(maps)
        return given


def build_decoder(
    smashed_shape: tuple[int, int, int], image_shape: tuple[int, int, int], classes: int
) -> Labelled:
    """Build the decoder: per doubling an upsampling and three convolutions.

    Args:
        smashed_shape: (c, h, w).
        image_shape: (C, H, W).
        classes: number of classes; 0 if labels are not known.

    Returns:
        A network from smashed data (N, c, h, w) and labels (N,) to images (N, C, H, W) in [0, 1].

    Raises:
        ValueError: an extent is not positive.
    """
    image, smashed = checked(image_shape), checked(smashed_shape)
    doublings = count_halvings(image, smashed)
    inputs, width = smashed.channels + bool(classes), _NARROWEST * 2**doublings
    layers: list[nn.Module] = []
    for _ in range(doublings):
        wide, narrow = min(width, _WIDEST), min(width // 2, _WIDEST)
        layers.append(nn.Upsample(scale_factor=2))
        for outputs in (wide, narrow, narrow):
            layers += _block(inputs, outputs)
            inputs = outputs
        width //= 2
    layers += _block(inputs, _NARROWEST)
    layers += [Resize(image.height, image.width)]
    layers += [nn.Conv2d(_NARROWEST, image.channels, 3, 1, 1), nn.Sigmoid()]
    return Labelled(smashed_shape, classes, nn.Sequential(*layers))


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU()]


def build_critic(smashed_shape: tuple[int, int, int], classes: int) -> Labelled:
    """Build the critic of smashed data: strided convolutions to 256 channels, and as wide ones.

    Args:
        smashed_shape: (c, h, w).
        classes: number of classes; 0 if labels are not known.

    Returns:
        A network from smashed data (N, c, h, w) and labels (N,) to logits (N, 1).

    Raises:
        ValueError: an extent is not positive.
    """
    smashed = checked(smashed_shape)
    rows, columns = smashed.height, smashed.width
    width = max(32, min(1024 // max(rows, columns), 128))  # their 32, 64 and 128 channels
    layers = [nn.Conv2d(smashed.channels + bool(classes), width, 3, 1, 1), nn.LeakyReLU(_SLOPE)]
    wide = 0
    while wide < 3:
        outputs = min(2 * width, _WIDEST)
        strided = max(rows, columns) > 8 or len(layers) == 2
        layers += [
            nn.Conv2d(width, outputs, 3, 1 + strided, 1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(_SLOPE),
        ]
        if strided:
            rows, columns = half(rows), half(columns)
        width, wide = outputs, wide + (outputs == _WIDEST)
    layers.append(nn.Conv2d(width, width, 3, 2, 1))
    return Labelled(smashed_shape, classes, _scored(layers, width * half(rows) * half(columns)))


def build_image_critic(image_shape: tuple[int, int, int], classes: int) -> Labelled:
    """Build the critic of decoded images: four convolutions, three of them strided.

    Args:
        image_shape: (C, H, W).
        classes: number of classes; 0 if labels are not known.

    Returns:
        A network from images (N, C, H, W) and labels (N,) to logits (N, 1).

    Raises:
        ValueError: an extent is not positive.
    """
    image = checked(image_shape)
    slope = nn.LeakyReLU(_SLOPE)
    layers = [nn.Conv2d(image.channels + bool(classes), 64, 3, 1, 1), slope]
    for inputs, outputs in ((64, 128), (128, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), slope]
    layers += [nn.Conv2d(128, 256, 3, 2, 1), slope]
    places = half(half(half(image.height))) * half(half(half(image.width)))
    return Labelled(image_shape, classes, _scored(layers, 256 * places))


def _scored(layers: list[nn.Module], features: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(_DROPPED), nn.Linear(features, 1))
