"""Blind (trivial) attackers: reconstructions made without any smashed data.

An attack has recovered something only if it beats them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splitsec.devices import beside

NAMES = ("mean-image", "median-image", "random-image", "constant")


@dataclass(frozen=True)
class TrivialAttackers:
    """Reconstructions made from public images alone.

    Attributes:
        public: (N, C, H, W), in [0, 1]; the random image is drawn from them.
        mean: (C, H, W), pixelwise mean of the public images.
        median: (C, H, W), pixelwise (lower) median of the public images.
        colour: (C,), mean colour of the public images, the best constant by MSE.
    """

    public: Tensor
    mean: Tensor
    median: Tensor
    colour: Tensor

    @classmethod
    def fit(cls, public: Tensor) -> TrivialAttackers:
        """Fit the trivial attackers to public images (N, C, H, W), N >= 1."""
        mean = public.mean(dim=0)
        # Channel by channel, since a median copies and sorts its input.
        median = torch.stack([channel.median(dim=0).values for channel in public.unbind(dim=1)])
        return cls(public=public, mean=mean, median=median, colour=mean.mean(dim=(1, 2)))

    def reconstructions(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruct ``count`` victims without seeing them.

        Args:
            count: number of victims.
            generator: draws a public image for each victim.

        Returns:
            Name to images (count, C, H, W), in the order of ``NAMES``.
        """
        shape = (count, *self.mean.shape)
        rows = torch.randint(len(self.public), (count,), generator=generator)
        images = (
            self.mean.expand(shape),
            self.median.expand(shape),
            self.public[beside(rows, self.public)],
            self.colour[:, None, None].expand(shape),
        )
        return dict(zip(NAMES, images, strict=True))
