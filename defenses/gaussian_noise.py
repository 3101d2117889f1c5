"""Gaussian noise: the client adds noise to its smashed data.

Every other defense must beat its curve. The noise is added on every release, in training and
afterwards. Its deviation is a multiple of the batch's own, because the scale of smashed data
differs between targets and cuts; behind a bound it may be absolute, as in
``clip+gaussian-noise:unit=absolute``.

An attacker averages what was sent of the same image in several epochs, and trains its decoder on
fresh draws.
"""

from __future__ import annotations

import torch
from torch import Generator, Size, Tensor

from splitsec.plugins.toolbox.noise import AdditiveNoise


class GaussianNoise(AdditiveNoise):
    """Adds independent normal noise to every value that is sent."""

    def draw(self, shape: Size, generator: Generator) -> Tensor:
        """Return normal noise."""
        return torch.randn(shape, generator=generator)
