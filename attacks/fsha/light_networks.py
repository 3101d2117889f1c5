"""Light networks for FSHA that adapt to any shape of smashed data.

They differ from the paper's (:mod:`~splitsec.attacks.fsha.paper_networks`) to make the attack fast
and reliable on a CPU:

- The pilot has one convolution, normalisation and ReLU per halving of the image. It is local and no
  more complex than a client's layers, so that the client can imitate it. It ends in a ReLU if the
  smashed data are nonnegative, else linearly; otherwise the critic could distinguish the two by
  their sign alone.
- The critic adds a score of local patches, averaged over positions, to a score of the whole map.
  Large maps first pass a strided stem.

Images are scaled to [-1, 1], as for the paper's networks. Constructors draw initial weights from
torch's global generator, so the caller seeds it.
"""

from __future__ import annotations

from torch import Tensor, nn

from splitsec.plugins.toolbox.decoders import checked, count_halvings, half
from splitsec.plugins.toolbox.gradient_penalty import Rectifier
from splitsec.plugins.toolbox.layers import Resize
from splitsec.shapes import Shape

CRITIC_MAP = 8
"""Rows and columns to which the critic's strided stem reduces larger maps."""

_STEM_KERNEL = 7
_SLOPE = 0.2


def build_pilot(
    image_shape: tuple[int, int, int],
    smashed_shape: tuple[int, int, int],
    nonnegative: bool,
    width: int = 64,
) -> nn.Module:
    """Build the pilot encoder f~, which maps public images to features like the smashed data.

    Args:
        image_shape: (C, H, W).
        smashed_shape: (c, h, w) as observed on the wire.
        nonnegative: whether the observed smashed data are never negative; the pilot then ends
            in a ReLU.
        width: channels of the first layer, if more follow; they double at each further one.

    Returns:
        A module from images (N, C, H, W) in [-1, 1] to features (N, c, h, w). It normalises by
        batch, so N * h * w must be greater than one while it trains.

    Raises:
        ValueError: an extent is not positive.
    """
    image, smashed = checked(image_shape), checked(smashed_shape)
    halvings = count_halvings(image, smashed)
    # As in a ResNet's stem, the second halving pools unless the channels must still grow then.
    pools = halvings > 2 or (halvings == 2 and smashed.channels <= width)
    convolutions = max(1, halvings - pools)
    layers: list[nn.Module] = []
    inputs = image.channels
    for index in range(convolutions):
        last = index == convolutions - 1
        outputs = smashed.channels if last else min(width * 2**index, smashed.channels)
        kernel = _STEM_KERNEL if index == 0 and halvings else 3
        stride = 2 if halvings else 1
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if nonnegative or not last:
            layers.append(nn.ReLU())
        if pools and index == 0:
            layers.append(nn.MaxPool2d(3, 2, 1))
        inputs = outputs
    layers.append(Resize(smashed.height, smashed.width))
    return nn.Sequential(*layers)


def build_critic(smashed_shape: tuple[int, int, int], width: int = 32) -> nn.Module:
    """Build the critic D, which scores how much features look like smashed data.

    Args:
        smashed_shape: (c, h, w).
        width: channels of its layers; twice as many where its map is smallest.

    Returns:
        A module from features (N, c, h, w) to scores (N, 1), each sample on its own.

    Raises:
        ValueError: an extent is not positive.
    """
    return Critic(checked(smashed_shape), width)


class Critic(nn.Module):
    """A critic with two heads: one for patches, averaged over positions, and one for the map."""

    def __init__(self, smashed: Shape, width: int):
        super().__init__()
        inputs, rows, columns = smashed
        body: list[nn.Module] = []
        while max(rows, columns) > CRITIC_MAP:
            body += [nn.Conv2d(inputs, width, 3, 2, 1), Rectifier(_SLOPE)]
            inputs, rows, columns = width, half(rows), half(columns)
        for _ in range(2):
            body += [nn.Conv2d(inputs, width, 3, 1, 1), Rectifier(_SLOPE)]
            inputs = width
        self.body = nn.Sequential(*body)
        self.local_head = nn.Conv2d(width, 1, 1)
        whole: list[nn.Module] = []
        while max(rows, columns) > 2:
            whole += [nn.Conv2d(inputs, 2 * width, 3, 2, 1), Rectifier(_SLOPE)]
            inputs, rows, columns = 2 * width, half(rows), half(columns)
        whole += [
            nn.Flatten(),
            nn.Linear(inputs * rows * columns, 4 * width),
            Rectifier(_SLOPE),
            nn.Linear(4 * width, 1),
        ]
        self.global_head = nn.Sequential(*whole)

    def forward(self, features: Tensor) -> Tensor:
        """Score features (N, c, h, w) as (N, 1)."""
        patches = self.body(features)
        scores: Tensor = self.local_head(patches).mean((2, 3)) + self.global_head(patches)
        return scores
