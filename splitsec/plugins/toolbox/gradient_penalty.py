"""The gradient penalty of WGAN-GP, and activations that keep it cheap.

Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, equation 3. The penalty
needs the gradient of a gradient. Where a critic is piecewise linear in its input, the second
derivative of its activations is zero almost everywhere, yet autograd carries that zero through
the whole forward graph, a third of the penalty's convolutions. :class:`Rectifier` leaves it out.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from splitsec.devices import beside

PenaltyNorm = Literal["sample", "channel"]


class Rectifier(nn.Module):
    """ReLU or leaky ReLU that leaves its second derivative out instead of computing zeros.

    Values and first and second derivatives equal those of ``torch.nn.ReLU`` or
    ``torch.nn.LeakyReLU``; only the time that a gradient penalty takes differs.

    Args:
        negative_slope: factor on negative values; 0 for ReLU.

    Examples:
        >>> import torch
        >>> Rectifier(negative_slope=0.5)(torch.tensor([-2.0, 0.0, 3.0]))
        tensor([-1.,  0.,  3.])
    """

    def __init__(self, negative_slope: float = 0.0):
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, features: Tensor) -> Tensor:
        """Scale each negative entry by the slope; any shape."""
        positive = features > 0
        if self.negative_slope == 0.0:
            return features * positive
        return torch.where(positive, features, features * self.negative_slope)


def gradient_penalty(
    critic: nn.Module,
    private: Tensor,
    public: Tensor,
    norm: PenaltyNorm,
    generator: torch.Generator,
) -> Tensor:
    """Penalise critic gradients whose norm is not one, between private and public features.

    Args:
        critic: scores features (N, C, H, W) as (N, 1), each sample on its own.
        private: detached smashed data (N, C, H, W).
        public: detached features of public images (N, C, H, W).
        norm: ``"sample"`` takes one norm per sample, as WGAN-GP does; ``"channel"`` one per
            sample and channel, over H and W, as the FSHA authors' code does.
        generator: draws one interpolation coefficient per pair, uniform on [0, 1).

    Returns:
        Mean squared distance of the norms from one, a scalar that can be differentiated with
        respect to the critic's weights.

    Examples:
        A critic that sums its input has the gradient 1 for each of 16 values, of norm 4:

        >>> import torch
        >>> from torch import nn
        >>> class Sum(nn.Module):
        ...     def forward(self, features):
        ...         return features.sum((1, 2, 3)).view(-1, 1)
        >>> private, public = torch.rand(8, 1, 4, 4), torch.rand(8, 1, 4, 4)
        >>> gradient_penalty(Sum(), private, public, "sample", torch.Generator())
        tensor(9.)
    """
    mix = torch.rand(len(private), 1, 1, 1, generator=generator).to(private.dtype)
    interpolates = torch.lerp(public, private, beside(mix, private)).requires_grad_()
    scores = critic(interpolates)
    (gradients,) = torch.autograd.grad(scores.sum(), interpolates, create_graph=True)
    norms = torch.linalg.vector_norm(gradients.flatten(2 if norm == "channel" else 1), dim=-1)
    penalty: Tensor = (norms - 1).square().mean()
    return penalty
