"""Refines images until an encoder makes of them what was observed: inversion by optimisation.

He, Zhang and Lee, "Model inversion attacks against collaborative inference", ACSAC 2019, call it
regularised maximum likelihood estimation (rMLE). It needs the client's weights, or an imitation of
the client. Between images that the encoder cannot tell apart, the total variation decides. How much
it should count depends on the depth of the cut, over orders of magnitude, so public images choose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import Field
from torch import Tensor

from splitsec.devices import beside
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.inversion import standardise
from splitsec.plugins.toolbox.optimization import half_cosine, set_rate, take_step

_STRENGTHS = (0.0, 1e-3, 1e-2, 1e-1, 1.0)  # of the total variation; smashed data have variance 1
_AT_ONCE = 64
_TINY = 1e-8


class RefinementParameters(Parameters):
    """How images are refined; an attack's parameters may extend it.

    Examples:
        >>> RefinementParameters(steps=500).rate
        0.01
    """

    steps: int = Field(100, ge=1, description="steps of Adam per image; paper 500 to 5,000")
    rate: float = Field(
        0.01, gt=0, allow_inf_nan=False, description="learning rate, which fades; paper 1e-2, 1e-3"
    )


@dataclass(frozen=True)
class Refinement:
    """Refines images by an encoder; made by :func:`choose_refinement`.

    Attributes:
        encoder: maps images (N, C, H, W) to smashed data (N, *smashed_shape), differentiably.
        scale: makes each channel's mean 0 and variance 1.
        strength: weight of the total variation; None if refining made public images worse.
        errors: mean squared error of kept public images: of their guess, and refined with each
            strength.
        hurried: that with the chosen strength and half as many steps; None if nothing is refined.
    """

    given: RefinementParameters
    encoder: Callable[[Tensor], Tensor]
    scale: Callable[[Tensor], Tensor]
    strength: float | None = None
    errors: Sequence[float] = ()
    hurried: float | None = None

    def refine(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return images (N, C, H, W) in [0, 1], refined to make smashed data (N, ...)."""
        if self.strength is None:
            return images
        parts = zip(torch.split(images, _AT_ONCE), torch.split(smashed, _AT_ONCE), strict=True)
        return torch.cat([self._refined(*part, self.strength) for part in parts])

    @torch.enable_grad()
    def _refined(self, images: Tensor, smashed: Tensor, strength: float) -> Tensor:
        due = self.scale(smashed).detach()
        made = images.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([made], lr=self.given.rate, amsgrad=True)
        for step in range(self.given.steps):
            set_rate(optimizer, self.given.rate * half_cosine(step, self.given.steps))
            away = (self.scale(self.encoder(made)) - due).square().flatten(1).mean(1)
            # A sum over images: each is refined as if it were alone.
            take_step(optimizer, (away + strength * total_variation(made)).sum())
            with torch.no_grad():
                made.clamp_(0, 1)
        return made.detach()


def total_variation(images: Tensor) -> Tensor:
    """Return the mean length of the gradient of each image (N, C, H, W), (N,)."""
    down = images[..., 1:, :-1] - images[..., :-1, :-1]
    right = images[..., :-1, 1:] - images[..., :-1, :-1]
    return (down.square() + right.square() + _TINY).sqrt().flatten(1).mean(1)


def choose_refinement(
    given: RefinementParameters,
    encoder: Callable[[Tensor], Tensor],
    guess: Callable[[Tensor], Tensor],
    images: Tensor,
    known: Tensor,
) -> Refinement:
    """Choose the weight of the total variation by images whose smashed data are known.

    Args:
        given: how to refine.
        encoder: maps images (N, C, H, W) to smashed data, differentiably.
        guess: maps smashed data to images in [0, 1], which are refined.
        images: the attacker's own images that ``guess`` was not fitted to, (N, C, H, W).
        known: smashed data of any of its images, (M, *smashed_shape), M at least 2.

    Returns:
        The refinement with the least error. It leaves images as they are if each weight makes
        ``images`` worse than their guess.

    Examples:
        >>> import torch
        >>> from splitsec.plugins.toolbox.refinement import RefinementParameters, choose_refinement
        >>> images = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
        >>> grey = lambda smashed: torch.full((len(smashed), 1, 6, 6), 0.5)
        >>> refinement = choose_refinement(
        ...     RefinementParameters(), torch.nn.Flatten(), grey, images, images.flatten(1)
        ... )
        >>> refinement.strength, refinement.errors[1] < 0.1 * refinement.errors[0]
        (0.0, True)
    """
    scale = beside(standardise(known), known)
    with torch.no_grad():
        smashed = encoder(images)
        start = guess(smashed)

    def error(refinement: Refinement) -> float:
        return (refinement.refine(start, smashed) - images).square().mean().item()

    errors = [(start - images).square().mean().item()]
    tried = [Refinement(given, encoder, scale, strength) for strength in _STRENGTHS]
    errors += [error(one) for one in tried]
    best = errors.index(min(errors))
    if not best:
        return Refinement(given, encoder, scale, None, errors)
    halved = given.model_copy(update={"steps": (given.steps + 1) // 2})
    hurried = error(replace(tried[best - 1], given=halved))
    return replace(tried[best - 1], errors=errors, hurried=hurried)
