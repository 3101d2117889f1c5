"""FORA: a substitute client that knows neither labels nor the client's architecture.

Xu, Yang, Liu, Wang, Wang and Zhang, "A stealthy wrongdoer: feature-oriented reconstruction attack
against split learning", CVPR 2024; the authors' code is X1aoyangXu/FORA. A server that follows the
protocol trains a network of its own, such that its outputs for public images are distributed as
the smashed data: by the maximum mean discrepancy with several Gaussian kernels (MK-MMD; Long et
al., "Learning transferable features with deep adaptation networks", ICML 2015), and for a critic
(WGAN-GP). A decoder that inverts the substitute is then applied to the smashed data. It needs less
than any other attack that trains networks: images of a similar kind, without labels.

The substitute is a VGG: two convolutions per halving of the image. It carries the clients' defense,
which the paper's does not. The authors train the decoder in lockstep with the substitute; here it
is trained when the substitute is done. The ``paper`` profile trains once per exchange; the authors
take 40,000 steps, and a short session has a few hundred exchanges, so by default the attack trains
afterwards, on what was observed last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.toolbox.batching import sample
from splitsec.plugins.toolbox.decoders import checked, count_halvings, half
from splitsec.plugins.toolbox.gradient_penalty import Rectifier, gradient_penalty
from splitsec.plugins.toolbox.layers import Resize
from splitsec.plugins.toolbox.optimization import take_step
from splitsec.plugins.toolbox.recent import Seen
from splitsec.plugins.toolbox.stand_in import InvertedStandIn, InvertedStandInParameters
from splitsec.plugins.view import View
from splitsec.shapes import require_map

_NAME = "attack 'fora'"
_BANDWIDTHS = [2.0**power for power in range(-3, 2)]  # times the mean squared distance
_NARROWEST = 64
_TINY = 1e-12


class ForaParameters(InvertedStandInParameters):
    """Parameters of FORA; the authors' values are those of the ``paper`` profile."""

    client_lr: float = Field(
        1e-3, gt=0, allow_inf_nan=False, description="Adam, substitute; authors 1e-4"
    )
    critic_lr: float = Field(
        3e-4, gt=0, allow_inf_nan=False, description="Adam, critic; authors 3e-4"
    )
    discrepancy: float = Field(
        0.8, ge=0, le=1, description="weight of the discrepancy; the critic has the rest"
    )
    penalty: float = Field(
        1000.0, ge=0, allow_inf_nan=False, description="weight of the critic's gradient penalty"
    )
    width: int = Field(64, ge=1, description="channels of the critic; authors 256")
    blocks: int = Field(2, ge=0, description="residual blocks of the critic; authors 6")


class Fora(InvertedStandIn[ForaParameters]):
    """Trains a substitute of which it knows no more than its outputs' distribution."""

    Parameters: ClassVar[type[ForaParameters]] = ForaParameters
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "standard": {"afterwards": 2000},
        "paper": {
            "remembered": 2,
            "every": 1,
            "afterwards": 0,
            "client_lr": 1e-4,
            "width": 256,
            "blocks": 6,
            "adaptive": False,
        },
    }
    what = "substitute"
    distances = ("discrepancy",)

    def __init__(self, parameters: ForaParameters, view: View, generator: torch.Generator) -> None:
        super().__init__(parameters, view, generator)
        smashed = require_map(view.smashed_shape, _NAME)
        networks = (
            build_substitute(view.image_shape, smashed),
            build_critic(smashed, parameters.width, parameters.blocks),
        )
        substitute, self._critic = view.device.put(networks)
        self.begin(substitute, None, parameters.client_lr)
        self._critic_optimizer = self.adam([self._critic], parameters.critic_lr)

    @classmethod
    def threat_model(cls, parameters: ForaParameters) -> ThreatModel:
        """Declare images of its own, and the defense that the substitute carries."""
        return ThreatModel(public_images=True, defense=parameters.adaptive)

    def update(self, observed: Seen, server: nn.Module | None) -> float:
        """Take one step of the substitute and one of the critic; return the former's loss."""
        given = self.parameters
        sent = observed.draw(given.client_batch_size, self.generator).smashed
        public = self.view.public_images
        images = public[sample(public, len(sent), self.generator)]
        self.stand_in.encoder.train()
        encoded, penalty = self.stand_in.encode(images)
        distance = discrepancy(encoded.smashed.flatten(1), sent.flatten(1))
        self.log("discrepancy", distance)
        away = self._critic(encoded.smashed).mean()
        loss = given.discrepancy * distance - (1 - given.discrepancy) * away + penalty
        take_step(self.optimizer, loss)
        made = encoded.smashed.detach()
        sent = sent[: len(made)]  # there may be fewer public images
        of_critic = self._critic(made).mean() - self._critic(sent).mean()
        self.log("critic loss", of_critic)
        slope = gradient_penalty(self._critic, sent, made, "sample", self.generator)
        take_step(self._critic_optimizer, of_critic + given.penalty * slope)
        value: float = loss.item()
        return value


def discrepancy(one: Tensor, other: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of two samples, the sum over five kernels.

    Args:
        one: (n, d), n at least 2.
        other: (m, d), m at least 2.

    Returns:
        A scalar, without bias, so it may be negative. The kernels' bandwidths are an eighth to
        twice the mean squared distance, which is not differentiated.
    """
    rows = torch.cat([one, other])
    distances = torch.cdist(rows, rows).square()
    scale = distances.detach().mean().clamp_min(_TINY)
    alike = torch.stack([torch.exp(-distances / (2 * scale * width)) for width in _BANDWIDTHS])
    alike, count = alike.sum(0), len(one)
    within = [alike[:count, :count], alike[count:, count:]]
    means = [
        (part.sum() - part.diagonal().sum()) / (len(part) * (len(part) - 1)) for part in within
    ]
    return means[0] + means[1] - 2 * alike[:count, count:].mean()


def build_substitute(
    image_shape: tuple[int, int, int], smashed_shape: tuple[int, int, int]
) -> nn.Module:
    """Build the substitute: two convolutions per halving, each normalised and rectified.

    Args:
        image_shape: (C, H, W).
        smashed_shape: (c, h, w).

    Returns:
        A module from images (N, C, H, W) in [0, 1] to maps (N, c, h, w).

    Raises:
        ValueError: an extent is not positive.
    """
    image, smashed = checked(image_shape), checked(smashed_shape)
    halvings, inputs = count_halvings(image, smashed), image.channels
    layers: list[nn.Module] = []
    for index in range(max(1, halvings)):
        width = min(_NARROWEST * 2**index, smashed.channels)
        outputs = smashed.channels if index == max(1, halvings) - 1 else width
        for wide in (width, outputs):
            layers += [nn.Conv2d(inputs, wide, 3, 1, 1), nn.BatchNorm2d(wide), nn.ReLU()]
            inputs = wide
        if halvings:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers, Resize(smashed.height, smashed.width))


class _Residual(nn.Module):
    """Adds to maps what two convolutions make of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Rectifier(),
            nn.Conv2d(width, width, 3, 1, 1),
            Rectifier(),
            nn.Conv2d(width, width, 3, 1, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, width, h, w) to the same shape."""
        added: Tensor = maps + self.body(maps)
        return added


def build_critic(smashed_shape: tuple[int, int, int], width: int, blocks: int) -> nn.Module:
    """Build the critic: strided convolutions to 4x4 places at most, then residual blocks.

    Args:
        smashed_shape: (c, h, w).
        width: channels of its layers.
        blocks: number of residual blocks.

    Returns:
        A module from maps (N, c, h, w) to scores (N, 1), each sample on its own.

    Raises:
        ValueError: an extent is not positive.
    """
    inputs, rows, columns = checked(smashed_shape)
    layers: list[nn.Module] = []
    while max(rows, columns) > 4 or not layers:
        strided = max(rows, columns) > 4
        layers += [nn.Conv2d(inputs, width, 3, 1 + strided, 1), Rectifier()]
        inputs = width
        if strided:
            rows, columns = half(rows), half(columns)
    layers += [_Residual(width) for _ in range(blocks)]
    layers += [nn.Conv2d(width, width, 3, 2, 1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width * half(rows) * half(columns), 1))
