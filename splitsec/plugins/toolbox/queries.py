"""Pairs of images and smashed data, and how an attacker gets them from a client that answers."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from splitsec.devices import beside
from splitsec.errors import UsageError
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.augmentation import varied
from splitsec.plugins.toolbox.batching import sample
from splitsec.plugins.view import View

_AT_ONCE = 512
_MOST_BYTES = 2**31
VARIANTS = 20
"""Of an image, at most; the description of `queries` says it too."""


class QueryParameters(Parameters):
    """How an attacker spends its queries; an attack's parameters may extend it.

    Examples:
        >>> QueryParameters().queries
        5000
    """

    queries: int = Field(
        5000,
        ge=2,
        description="images that the client is asked to encode, in total: the attacker's own "
        "and up to 20 variants of each, as long as all pairs fit into 2 GiB",
    )
    kept: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of the pairs on which the attack chooses or stops; report 0",
    )


class Pairs(NamedTuple):
    """Images with their smashed data.

    Attributes:
        images: (N, C, H, W), in [0, 1].
        smashed: their smashed data, (N, *smashed_shape).
        kept: (N,), True for pairs on which an attack chooses or stops. No image is on both
            sides, not even in variants.
        original: (N,), True for images that are no variants; None if none is a variant.

    Examples:
        >>> import torch
        >>> pairs = Pairs(torch.rand(4, 3, 8, 8), torch.rand(4, 12, 4, 4), torch.arange(4) < 1)
        >>> fitted, kept = pairs.sides()
        >>> len(fitted.images), len(kept.images)
        (3, 1)
    """

    images: Tensor
    smashed: Tensor
    kept: Tensor
    original: Tensor | None = None

    def originals(self) -> Pairs:
        """Return the pairs of images that are no variants."""
        return self if self.original is None else self._some(self.original)

    def sides(self) -> tuple[Pairs, Pairs]:
        """Return the pairs to fit to, and the kept ones."""
        return self._some(~self.kept), self.kept_side()

    def kept_side(self) -> Pairs:
        """Return the kept pairs."""
        return self._some(self.kept)

    def _some(self, chosen: Tensor) -> Pairs:
        rows = beside(chosen.nonzero().flatten(), self.images)
        original = None if self.original is None else self.original[chosen]
        return Pairs(self.images[rows], self.smashed[rows], self.kept[chosen], original)


class Variants(NamedTuple):
    """Images to ask about.

    Attributes:
        images: (N, C, H, W), in [0, 1].
        kept: (N,), True for those that are kept.
        original: (N,), True for images that are no variants.
    """

    images: Tensor
    kept: Tensor
    original: Tensor


def keep_some(count: int, share: float, generator: torch.Generator) -> Tensor:
    """Choose rows at random to be kept: at least one if any, and never all.

    Args:
        count: number of rows, 2 or more.
        share: how many of them, in [0, 1).
        generator: chooses them.

    Returns:
        (count,), bool, on the CPU.
    """
    wanted = min(max(1, round(share * count)), count - 1) if share else 0
    return torch.randperm(count, generator=generator) < wanted


def vary(images: Tensor, count: int, share: float, generator: torch.Generator) -> Variants:
    """Return images and variants of them, divided into those to fit to and kept ones.

    Variants are made on each side for itself, so no kept image is mixed into one to fit to.

    Args:
        images: (N, C, H, W), in [0, 1], N at least 2.
        count: how many to return, at most; if it is less than N, some of the images.
        share: how many of the images are kept, in [0, 1).
        generator: chooses and varies.
    """
    count = min(count, len(images) * (1 + VARIANTS))
    if count < len(images):
        images = images[sample(images, count, generator)]
    return vary_sides(images, keep_some(len(images), share, generator), count, generator)


def vary_sides(images: Tensor, is_kept: Tensor, count: int, generator: torch.Generator) -> Variants:
    """Return images and variants of them, made on each side for itself.

    Args:
        images: (N, C, H, W), in [0, 1].
        is_kept: (N,), True for those that are kept.
        count: how many to return, N or more.
        generator: varies.
    """
    most = round(count * is_kept.sum().item() / len(images))
    parts, original = [], []
    for side, wanted in ((~is_kept, count - most), (is_kept, most)):
        own = images[beside(side.nonzero().flatten(), images)]
        parts.append(varied(own, wanted, generator) if len(own) else own)
        original.append(torch.arange(len(parts[-1])) < len(own))
    kept = torch.cat([torch.full((len(part),), side > 0) for side, part in enumerate(parts)])
    return Variants(torch.cat(parts), kept, torch.cat(original))


def affordable(given: QueryParameters, view: View) -> int:
    """Return how many queries an attack makes: its budget, or what fits into 2 GiB with answers.

    Images of 224 px and what a client sends of them early take a megabyte and more each.

    Args:
        given: the budget.
        view: gives the shapes.
    """
    values = sum(math.prod(shape) for shape in (view.image_shape, view.smashed_shape))
    return max(2, min(given.queries, _MOST_BYTES // (4 * values)))


def ask(given: QueryParameters, view: View, generator: torch.Generator, name: str) -> Pairs:
    """Ask the client for the smashed data of the attacker's own images and of variants of them.

    Each variant is asked for once. So a decoder sees as many draws of a randomised defense as it
    has pairs.

    Args:
        given: the budget, and the share that is kept.
        view: grants public images and queries.
        generator: chooses and varies the images.
        name: names the attack in errors.

    Raises:
        UsageError: there are fewer than two public images.

    Examples:
        The view of an attack is that of the framework; here an object with the same attributes
        replaces it.

        >>> import torch
        >>> from types import SimpleNamespace
        >>> from splitsec.plugins.toolbox.queries import QueryParameters
        >>> view = SimpleNamespace(
        ...     public_images=torch.rand(10, 3, 8, 8), query=torch.nn.Flatten(),
        ...     image_shape=(3, 8, 8), smashed_shape=(192,),
        ... )
        >>> pairs = ask(QueryParameters(queries=100), view, torch.Generator(), "attack 'mine'")
        >>> pairs.smashed.shape, pairs.kept.sum()
        (torch.Size([100, 192]), tensor(10))
    """
    public = view.public_images
    if len(public) < 2:
        raise UsageError(
            f"{name} needs two public images or more; this data set leaves it {len(public)}"
        )
    images, kept, original = vary(public, affordable(given, view), given.kept, generator)
    return Pairs(images, answers(view, images), kept, original)


def answers(view: View, images: Tensor) -> Tensor:
    """Return the client's smashed data (N, *smashed_shape) of images (N, C, H, W), N at least 1."""
    return torch.cat([view.query(part) for part in torch.split(images, _AT_ONCE)])
