"""Attacker-aware training: the client keeps the images of its own decoder below a likeness.

Li, Rakin, Chen, He, Fan, Chakrabarti, "ResSFL: a resistance transfer framework for defending model
inversion attack in split federated learning", CVPR 2022; its authors' code. On each batch an inner
decoder takes a step towards a higher SSIM of its images. The client then minimises the task's loss
plus ``weight * max(0, SSIM - threshold)``. The paper puts a bottleneck at the cut, as
``bottleneck+attacker-aware`` does, and begins with an encoder that was trained in this way on
another task; here all begins from the cell's initial weights.

Its own decoder says little about an attacker's: judge it by decoders that are larger than the inner
one and that are trained once the client has been.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.decoders import build_decoder
from splitsec.plugins.toolbox.likeness import check_window, mean_likeness
from splitsec.plugins.toolbox.optimization import make_optimizer
from splitsec.shapes import Shape, SmashedShape


class AttackerAwareParameters(Parameters):
    """Parameters of the inner decoder and of its weight."""

    weight: float = Field(0.3, ge=0, allow_inf_nan=False, description="of SSIM; ResSFL 0.3")
    threshold: float = Field(
        0.5, ge=0, le=1, description="likeness that costs nothing, in SSIM; ResSFL 0.5"
    )
    steps: int = Field(1, ge=1, description="decoder's steps per batch; ResSFL 1")
    learning_rate: float = Field(
        1e-3, gt=0, allow_inf_nan=False, description="of the decoder's Adam; ResSFL 1e-3"
    )


class AttackerAware(Defense[AttackerAwareParameters]):
    """Penalises the SSIM that a decoder of the client's own reaches beyond a threshold."""

    Parameters: ClassVar[type[AttackerAwareParameters]] = AttackerAwareParameters
    strength: ClassVar[Strength] = Strength("weight", (0.1, 0.3, 1, 3, 10, 30))

    def begin(self, image: Shape, smashed: SmashedShape, generator: torch.Generator) -> None:
        """Build the inner decoder.

        Raises:
            NotApplicable: the images are smaller than SSIM's window.
        """
        check_window(image)
        self._decoder = self.device.put(build_decoder(smashed, image))
        self._optimizer = make_optimizer(
            "adam", self._decoder.parameters(), self.parameters.learning_rate
        )

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
        """Train the decoder on detached smashed data, then return its weighted likeness."""
        for _ in range(self.parameters.steps):
            self._optimizer.zero_grad()
            likeness = mean_likeness(self._decoder(smashed.detach()), images)
            torch.autograd.backward(-likeness)
            self._optimizer.step()
        likeness = mean_likeness(self._decoder(smashed), images)
        return self.parameters.weight * F.relu(likeness - self.parameters.threshold)
