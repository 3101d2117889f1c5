"""Blind (trivial) attackers: reconstructions made without any smashed data.

An attack has recovered something only if it beats them. Whatever does not depend on the smashed
data is, for each victim, a draw from one set of images, so its mean error is at least that of the
best single image. The best image for each error is therefore the reference of that error: the mean
image for MSE, and for SSIM and LPIPS the image that gradient descent on the public images finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splitsec.devices import beside
from splitsec.metrics.image_errors import mean_ssim_error
from splitsec.metrics.perceptual import Lpips


@dataclass(frozen=True)
class Search:
    """How the best image for an error is found.

    Attributes:
        name: the image's name.
        steps: of projected Adam; ten times as many lower the error by less than 2 %.
        rate: learning rate, which fades by half a cosine.
    """

    name: str
    steps: int
    rate: float


SEARCHES = {
    "ssim": Search("ssim-image", steps=30, rate=0.01),
    "lpips": Search("lpips-image", steps=120, rate=0.03),
}
"""The searches, by error."""

NAMES = (
    "mean-image",
    "median-image",
    "random-image",
    "constant",
    *(search.name for search in SEARCHES.values()),
)

_VALUES_AT_ONCE = 200_000  # pixel values of the public images that one step compares with

MeanError = Callable[[Tensor], Tensor]
"""Mean error, a scalar, of one image (1, C, H, W) against many; differentiable."""


@dataclass(frozen=True)
class BlindAttackers:
    """Reconstructions made from public images alone.

    Attributes:
        public: (N, C, H, W), in [0, 1]; the random image is drawn from them.
        images: from a name of ``NAMES`` to the image (C, H, W) that is guessed for every victim.
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
            generator: chooses the public images that a step of the search compares with.
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
                images[search.name] = best_image(starts, *measured, search)
        return cls(public, images)

    def reconstructions(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruct ``count`` victims without seeing them.

        Args:
            count: number of victims.
            generator: draws a public image for each victim.

        Returns:
            Name to images (count, C, H, W), in the order of ``NAMES``.
        """
        rows = torch.randint(len(self.public), (count,), generator=generator)
        made = {name: image.expand(count, *image.shape) for name, image in self.images.items()}
        made["random-image"] = self.public[beside(rows, self.public)]
        return {name: made[name] for name in NAMES if name in made}


def population_errors(
    error: str, population: Tensor, lpips: Lpips | None, generator: torch.Generator
) -> tuple[MeanError, Callable[[], MeanError]]:
    """Return the mean error against a population, and what gives one for a step of a search.

    Args:
        error: ``"ssim"`` or ``"lpips"``.
        population: (N, C, H, W), in [0, 1].
        lpips: the perceptual distance; needed for ``"lpips"``.
        generator: draws a part of a large population anew for each step.
    """
    if error == "lpips":
        assert lpips is not None, "the caller has it"
        whole = lpips.mean_distance(population)
        return whole, lambda: whole
    count = max(8, _VALUES_AT_ONCE // population[0].numel())
    if count >= len(population):
        whole = mean_ssim_error(population)
        return whole, lambda: whole

    def by_parts(image: Tensor) -> Tensor:
        sums = [mean_ssim_error(part)(image) * len(part) for part in torch.split(population, count)]
        return torch.stack(sums).sum() / len(population)

    def part() -> MeanError:
        rows = torch.randperm(len(population), generator=generator)[:count]
        return mean_ssim_error(population[beside(rows, population)])

    return by_parts, part


def best_image(
    starts: Sequence[Tensor],
    whole: MeanError,
    part: Callable[[], MeanError],
    search: Search,
) -> Tensor:
    """Find the single image with the smallest mean error, by projected gradient descent.

    Args:
        starts: images (C, H, W), in [0, 1]; the search begins at the best of them.
        whole: the mean error that decides.
        part: gives the mean error that a step descends.
        search: how to descend.

    Returns:
        (C, H, W), in [0, 1]; never worse than each of the starts.
    """
    with torch.no_grad():
        errors = [whole(start.unsqueeze(0)).item() for start in starts]
    start = starts[errors.index(min(errors))]
    image = start.clone().unsqueeze(0).requires_grad_()
    optimizer = torch.optim.Adam([image], lr=search.rate)
    for step in range(search.steps):
        fade = (1 + math.cos(math.pi * step / search.steps)) / 2
        optimizer.param_groups[0]["lr"] = search.rate * fade
        with torch.enable_grad():
            (image.grad,) = torch.autograd.grad(part()(image), image)
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    found = image.detach()
    with torch.no_grad():
        return found[0] if whole(found).item() < min(errors) else start
