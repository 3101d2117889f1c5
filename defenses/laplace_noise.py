"""Laplace noise: the client adds noise with heavier tails than Gaussian noise to its smashed data.

At equal standard deviation most values are disturbed less, and a few much more. Its parameters are
those of ``gaussian-noise``.

An attacker averages what was sent of the same image in several epochs, as against Gaussian noise;
the median would be a better average.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Size, Tensor

from splitsec.plugins.toolbox.noise import AdditiveNoise


class LaplaceNoise(AdditiveNoise):
    """Adds independent Laplace noise to every value that is sent."""

    def draw(self, shape: Size, generator: Generator) -> Tensor:
        """Return the difference of two exponential draws, which is Laplace noise."""
        one, other = (torch.empty(shape).exponential_(generator=generator) for _ in range(2))
        return (one - other) / math.sqrt(2)
