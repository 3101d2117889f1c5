"""DISCO: a network of the client's chooses for each image which channels are not sent.

Singh, Chopra, Garza, Zhang, Vepakomma, Sharma, Raskar, "DISCO: dynamic and invariant sensitive
channel obfuscation for deep neural networks", CVPR 2021; its authors' code. The network scores the
channels; those with the lowest scores are zero. It minimises the task's loss less
``alpha / (1 - alpha)`` times the error of a decoder that the client trains to invert what is sent.
The encoder learns the task alone. Deviations: the scores come from each channel's mean and
deviation by a network of two layers, where the authors' is the rest of a ResNet-18; the gradient
passes through a sigmoid of the standardised scores, which the authors' saturates.

An attacker's decoder learns which channels an image lacks, as from a mask that is sent along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.errors import NotApplicable
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.decoders import build_decoder
from splitsec.plugins.toolbox.optimization import make_optimizer
from splitsec.shapes import Shape, SmashedShape, TokenShape

_WIDTH = 64  # of the network that scores


class DiscoParameters(Parameters):
    """Parameters of the choice."""

    ratio: float = Field(
        0.6, ge=0, lt=1, description="share of the channels that are not sent; paper 0.2 to 0.99"
    )
    alpha: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="weight of the decoder's error for the choice; the task's is the rest",
    )
    learning_rate: float = Field(
        1e-3, gt=0, allow_inf_nan=False, description="of the decoder's Adam"
    )


class Disco(Defense[DiscoParameters]):
    """Sends the channels that a trained network finds least revealing, and zero for the others."""

    Parameters: ClassVar[type[DiscoParameters]] = DiscoParameters
    strength: ClassVar[Strength] = Strength("ratio", (0.2, 0.4, 0.6, 0.8, 0.9, 0.97))

    def begin(self, image: Shape, smashed: SmashedShape, generator: torch.Generator) -> None:
        """Build the network that scores, and the decoder.

        Raises:
            NotApplicable: the smashed data have one channel.
        """
        self._tokens = isinstance(smashed, TokenShape)
        channels = smashed[-1] if self._tokens else smashed[0]
        if channels < 2:
            raise NotApplicable("disco chooses among channels, and these smashed data have one")
        self._kept = max(1, round((1 - self.parameters.ratio) * channels))
        scorer = [nn.Linear(2 * channels, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, channels)]
        self._scorer = self.device.put(nn.Sequential(*scorer))
        self._decoder = self.device.put(build_decoder(smashed, image))
        self._optimizer = make_optimizer(
            "adam", self._decoder.parameters(), self.parameters.learning_rate
        )

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The network that scores."""
        return [self._scorer]

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the smashed data with the channels of the lowest scores at zero."""
        positions = smashed.detach().transpose(1, 2) if self._tokens else smashed.detach()
        positions = positions.flatten(2) if positions.dim() > 2 else positions.unsqueeze(2)
        known = torch.cat([positions.mean(2), positions.std(2, correction=0)], 1)
        scores = F.layer_norm(self._scorer(known), (smashed.shape[2 if self._tokens else 1],))
        least = scores.topk(self._kept, dim=1).values[:, -1:]
        soft = torch.sigmoid(scores - least)
        kept, soft = (self._over_positions(one, smashed) for one in (scores >= least, soft))
        # The last summand is zero and lets the gradient through; a product would keep signs.
        return torch.where(kept, smashed, 0.0) + smashed.detach() * (soft - soft.detach())

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
        """Train the decoder on what is sent, then return what its error earns the choice."""
        sent = self.release(images, smashed.detach())
        self._optimizer.zero_grad()
        torch.autograd.backward(self._error(sent.detach(), images))
        self._optimizer.step()
        weight = self.parameters.alpha / (1 - self.parameters.alpha)
        return -weight * self._error(sent, images)

    def _error(self, sent: Tensor, images: Tensor) -> Tensor:
        """Return the decoder's mean squared error, of images in [-1, 1]."""
        return F.mse_loss(self._decoder(sent), 2 * images - 1)

    def _over_positions(self, values: Tensor, smashed: Tensor) -> Tensor:
        """Return values of channels (N, c), spread over the positions of smashed data."""
        if self._tokens:
            return values.unsqueeze(1).expand_as(smashed)
        return values.view(*values.shape, *[1] * (smashed.dim() - 2)).expand_as(smashed)
