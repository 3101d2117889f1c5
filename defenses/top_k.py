"""Top-k: the client sends the largest values of each image's smashed data, and zero for the others.

Zheng, Chen, Lyu, Yao, "Reducing communication for split learning by randomized top-k
sparsification", IJCAI 2023. Some of the values that are sent are drawn from the others, anew each
time; with ``random=0`` none are. The paper does this for the sake of training, not to hide
anything.

An attacker knows which values were sent: their places tell about the image, too. What is drawn anew
in each epoch can be averaged.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor

from splitsec.devices import beside
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.shapes import Shape, SmashedShape


class TopKParameters(Parameters):
    """Parameters of the choice."""

    share: float = Field(0.1, gt=0, le=1, description="share of an image's values that are sent")
    random: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of these that are drawn from all others; the paper's alpha, 0.05 to 0.3",
    )


class TopK(Defense[TopKParameters]):
    """Sends the values of largest magnitude of each image, or some of them and a few others."""

    Parameters: ClassVar[type[TopKParameters]] = TopKParameters
    strength: ClassVar[Strength] = Strength("share", (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003))
    randomised: ClassVar[bool] = True

    def begin(self, image: Shape, smashed: SmashedShape, generator: Generator) -> None:
        """Keep the generator."""
        self._generator = generator

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return the smashed data with all but the chosen values at zero."""
        flat = smashed.detach().flatten(1)
        count, values = flat.shape
        kept = max(1, round(self.parameters.share * values))
        ranks = flat.abs().argsort(dim=1, descending=True).argsort(dim=1)
        # Each image gets its own number of random values; they take the places of the last ranks.
        drawn = torch.rand(count, kept, generator=self._generator) < self.parameters.random
        others = beside(drawn.sum(1, keepdim=True), flat).clamp(max=values - kept)
        order = beside(torch.rand(count, values, generator=self._generator), flat)
        top = ranks < kept
        in_top = torch.where(top, order, 2.0).argsort(dim=1).argsort(dim=1)
        in_rest = torch.where(top, 2.0, order).argsort(dim=1).argsort(dim=1)
        sent = (top & (in_top < kept - others)) | (~top & (in_rest < others))
        return torch.where(sent.view_as(smashed), smashed, 0.0)  # a product would keep signs
