"""Blind (trivial) attackers: reconstructions made without any smashed data.

An attack has recovered something only if it beats them. Whatever does not depend on the smashed
data is, for each victim, a draw from one set of images, so its mean error is at least that of the
best single image. The best image for each error is therefore the reference of that error: for MSE
the mean image, for SSIM and LPIPS the image that a search on the public images finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from splitsec.devices import beside
from splitsec.metrics.image_errors import mean_ssim_error
from splitsec.metrics.perceptual import Lpips
from splitsec.metrics.schema import BLIND


@dataclass(frozen=True)
class Search:
    """How the best image for an error is found.

    Attributes:
        name: the image's name.
        steps: iterations of L-BFGS.
    """

    name: str
    steps: int


SEARCHES = {
    "ssim": Search("ssim-image", steps=8),
    "lpips": Search("lpips-image", steps=40),
}
"""The searches, by error."""

_VALUES_AT_ONCE = 400_000  # pixel values of the public images that a search compares with

MeanError = Callable[[Tensor], Tensor]
"""Mean error, a scalar, of one image (1, C, H, W) against many; differentiable."""


@dataclass(frozen=True)
class BlindAttackers:
    """Reconstructions made from public images alone.

    Attributes:
        public: (N, C, H, W), in [0, 1]; the random image is drawn from them.
        images: from a name of ``BLIND`` to the image (C, H, W) that is guessed for every victim.
            ``mean-image`` and ``median-image`` are pixelwise, ``constant`` is the mean colour;
            ``lpips-image`` is missing where LPIPS is unavailable.
    """

    public: Tensor
    images: Mapping[str, Tensor]

    @property
    def mean(self) -> Tensor:
        """Pixelwise mean of the public images, (C, H, W)."""
        return self.images["mean-image"]

    @classmethod
    def fit(cls, public: Tensor, lpips: Lpips | None, generator: torch.Generator) -> BlindAttackers:
        """Fit the blind attackers to public images.

        Args:
            public: (N, C, H, W), in [0, 1], N >= 1.
            lpips: the perceptual distance, or ``None``.
            generator: chooses the public images that a search compares with, if there are many.
        """
        mean = public.mean(dim=0)
        # Channel by channel, since a median copies and sorts its input.
        median = torch.stack([channel.median(dim=0).values for channel in public.unbind(dim=1)])
        colour = mean.mean(dim=(1, 2))[:, None, None].expand_as(mean)
        images = {"mean-image": mean, "median-image": median, "constant": colour}
        starts = list(images.values())
        for error, search in SEARCHES.items():
            if error == "ssim" or lpips is not None:
                measured = population_errors(error, public, lpips, generator)
                images[search.name] = best_image(starts, measured, search)
        return cls(public, images)

    def reconstructions(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruct ``count`` victims without seeing them.

        Args:
            count: number of victims.
            generator: draws a public image for each victim.

        Returns:
            Name to images (count, C, H, W), in the order of ``BLIND``.
        """
        rows = torch.randint(len(self.public), (count,), generator=generator)
        made = {name: image.expand(count, *image.shape) for name, image in self.images.items()}
        made["random-image"] = self.public[beside(rows, self.public)]
        return {name: made[name] for name in BLIND if name in made}


class PopulationErrors(NamedTuple):
    """Mean errors against a population.

    Attributes:
        whole: against all of its images.
        part: the same, or against some of them if there are too many for a search.
    """

    whole: MeanError
    part: MeanError


def population_errors(
    error: str, population: Tensor, lpips: Lpips | None, generator: torch.Generator
) -> PopulationErrors:
    """Return mean errors against a population.

    Args:
        error: ``"ssim"`` or ``"lpips"``.
        population: (N, C, H, W), in [0, 1].
        lpips: the perceptual distance; needed for ``"lpips"``.
        generator: chooses the part of a large population.
    """
    if error == "lpips":
        assert lpips is not None, "the caller has it"
        whole = lpips.mean_distance(population)
        return PopulationErrors(whole, whole)
    count = max(8, _VALUES_AT_ONCE // population[0].numel())
    if count >= len(population):
        whole = mean_ssim_error(population)
        return PopulationErrors(whole, whole)

    def by_parts(image: Tensor) -> Tensor:
        sums = [mean_ssim_error(part)(image) * len(part) for part in torch.split(population, count)]
        return torch.stack(sums).sum() / len(population)

    rows = torch.randperm(len(population), generator=generator)[:count]
    return PopulationErrors(by_parts, mean_ssim_error(population[beside(rows, population)]))


def best_image(starts: Sequence[Tensor], errors: PopulationErrors, search: Search) -> Tensor:
    """Find the single image with the smallest mean error, by L-BFGS.

    Args:
        starts: images (C, H, W), in [0, 1]; the search begins at the best of them.
        errors: the mean errors; the search descends ``part``, and ``whole`` decides.
        search: how to descend.

    Returns:
        (C, H, W), in [0, 1]; never worse than each of the starts.
    """
    with torch.no_grad():
        known = [errors.whole(start.unsqueeze(0)).item() for start in starts]
    start = starts[known.index(min(known))]
    image = start.clone().unsqueeze(0).requires_grad_()
    optimizer: torch.optim.Optimizer = torch.optim.LBFGS(
        [image], max_iter=search.steps, line_search_fn="strong_wolfe"
    )

    def descend() -> float:
        with torch.enable_grad():
            error = errors.part(image.clamp(0, 1))
            (image.grad,) = torch.autograd.grad(error, image)
        return error.item()

    optimizer.step(descend)
    found = image.detach().clamp(0, 1)
    with torch.no_grad():
        return found[0] if errors.whole(found).item() < min(known) else start
