"""A decoder blended with a ridge regression on the same pairs of images and smashed data.

Where smashed data depend almost linearly on the image a regression errs less; where they do not, a
decoder does. They err differently, and so a blend of their images errs less than either: stacking,
Wolpert, "Stacked generalization", Neural Networks 1992, with one weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from splitsec.checkpoint import Checkpoints
from splitsec.plugins.toolbox.inversion import Inversion, InversionParameters, invert
from splitsec.plugins.toolbox.queries import Pairs
from splitsec.plugins.toolbox.regression import RegressionParameters, Regressor, regress
from splitsec.progress import Progress


class BlendParameters(InversionParameters):
    """How a decoder is trained on pairs, and whether a regression is blended with it.

    Examples:
        >>> from splitsec.plugins.toolbox.blending import BlendParameters
        >>> BlendParameters().blend
        True
    """

    blend: bool = Field(
        True,
        description="blend the decoder's images with those of a ridge regression, in the share "
        "that suits the kept pairs; report no",
    )

    @model_validator(mode="after")
    def _has_kept_pairs(self) -> Self:
        if self.blend and not self.kept:
            raise ValueError("blend needs kept pairs: set kept above 0, or blend=no")
        return self


class Blend(NamedTuple):
    """A trained decoder, and the regression that it is blended with if there is one."""

    inversion: Inversion
    regressor: Regressor | None

    @property
    def decoders(self) -> list[Callable[[Tensor], Tensor]]:
        """What reconstructs images: the blend if there is one, and the decoder alone."""
        alone = self.inversion.reconstruct
        return [alone] if self.regressor is None else [self.reconstruct, alone]

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] from the smashed data of N images."""
        made = self.inversion.reconstruct(smashed)
        if self.regressor is None:
            return made
        return torch.lerp(self.regressor.reconstruct(smashed), made, self.inversion.share)


def invert_and_blend(
    given: BlendParameters,
    pairs: Pairs,
    generator: torch.Generator,
    progress: Progress,
    name: str,
    checkpoints: Checkpoints,
) -> Blend:
    """Fit a regression to pairs and train a decoder on them, as long as their blend gets better.

    Args:
        given: how to train, and whether to blend.
        pairs: images with their smashed data, of which some are kept.
        generator: shuffles the pairs.
        progress: shows every epoch.
        name: name of the stage.
        checkpoints: where the training is saved, ``self.checkpoints`` in an attack.

    Raises:
        UsageError: fewer than two pairs to train on.
        DivergedError: smashed data, or the decoder's loss, are not finite.

    Examples:
        >>> import torch
        >>> from splitsec.checkpoint import Checkpoints
        >>> from splitsec.plugins.toolbox.blending import BlendParameters, invert_and_blend
        >>> from splitsec.plugins.toolbox.queries import Pairs
        >>> from splitsec.progress import Silent
        >>> generator = torch.Generator().manual_seed(0)
        >>> images = torch.rand(40, 1, 8, 8, generator=generator)
        >>> pairs = Pairs(images, 1 - images, kept=torch.arange(40) < 8)
        >>> given = BlendParameters(epochs=2)
        >>> made = invert_and_blend(given, pairs, generator, Silent(), "demo", Checkpoints())
        >>> made.inversion.share < 0.5  # the regression solves this at once
        True
    """
    regressor = others = None
    if given.blend:
        regressor = regress(RegressionParameters(), pairs, generator, name, predict_kept=True)
        others = regressor.kept_images
    inversion = invert(given, pairs, generator, progress, name, checkpoints, others)
    return Blend(inversion, regressor)
