"""Aligns smashed data with images of which none belong together, by optimal transport.

An attacker who can ask nothing still sees two populations: smashed data of images that it does not
know, and images of its own of the same kind. A regression from the first must give images that are
distributed as the second. Rounds of two steps find it: an entropic plan of optimal transport gives
each smashed data the images that it may belong to (Cuturi, "Sinkhorn distances", NeurIPS 2013), and
a ridge regression learns these. So words of two languages are aligned without a dictionary (Grave,
Joulin and Berthet, "Unsupervised alignment of embeddings with Wasserstein Procrustes", AISTATS
2019). From round to round the plan becomes sharper, the penalty weaker, and more principal
components of the images are compared. Where smashed data are maps, each part of an image is
predicted from the same part of the map, which rules out most wrong solutions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from splitsec.devices import beside, on_cpu
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.inversion import standardise

_ENTROPY = (0.3, 0.03)  # of the plan, at the start and at the end, times the mean cost
_STRENGTH = (10.0, 1.0)  # of the penalty, at the start and at the end
_STRENGTH_OF_PAIRS = 0.3  # of the penalty, where images are given
_SETTLING = 4  # times fewer rounds than a search from noise
_FIRST_COMPONENTS = 5
_SINKHORN_STEPS = 60
_PARTS = 4  # of the image and of the map, along each side, at most
_FEWEST = 4  # images of a class to be compared with on their own


class TransportParameters(Parameters):
    """How an alignment is searched for; an attack's parameters may extend it.

    Examples:
        >>> TransportParameters().rounds
        40
    """

    rounds: int = Field(40, ge=2, description="of transport and regression")
    components: int = Field(
        50, ge=1, description="principal components of the images that are compared at the end"
    )
    starts: int = Field(3, ge=1, description="first guesses from which it is searched")


def plan(costs: Tensor, entropy: float) -> Tensor:
    """Return the entropic optimal transport plan between two uniform distributions.

    Args:
        costs: (n, m), double precision.
        entropy: weight of the entropy, over 0, in the unit of the costs.

    Returns:
        (n, m), whose rows sum to 1/n; columns to 1/m once converged.

    Examples:
        >>> import torch
        >>> plan(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double(), 0.1).mul(2).round(decimals=3)
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    rows, columns = (-math.log(extent) for extent in costs.shape)
    scaled = costs / -entropy
    left, right = costs.new_zeros(len(costs), 1), costs.new_zeros(1, costs.shape[1])
    for _ in range(_SINKHORN_STEPS):
        right = -torch.logsumexp(left + scaled + rows, 0, keepdim=True)
        left = -torch.logsumexp(right + scaled + columns, 1, keepdim=True)
    return (left + right + scaled + rows + columns).exp()


class _Features:
    """Makes rows of features of smashed data: channels standardised, the mean taken away."""

    def __init__(self, smashed: Tensor) -> None:
        self._standardise = beside(standardise(smashed), smashed)
        self._centre: Tensor | float = 0.0
        self._centre = self(smashed).mean(0)

    def __call__(self, smashed: Tensor) -> Tensor:
        """Return features (N, d), double precision, of N smashed data."""
        features: Tensor = self._standardise(smashed).flatten(1).double()
        return features - self._centre


def features_of(smashed: Tensor) -> Tensor:
    """Return features (n, d) of the smashed data of n images, double precision, with mean 0.

    Examples:
        >>> import torch
        >>> features_of(torch.rand(10, 6, 4, 4)).shape
        torch.Size([10, 96])
    """
    return _Features(smashed)(smashed)


class _Part(NamedTuple):
    """A part of the images, and the part of the smashed data from which it is predicted.

    Attributes:
        pixels: columns of flattened images, (p,).
        places: columns of flattened smashed data, (d,).
        seen: features of the observed smashed data there, scaled, (n, d).
        values: eigenvalues of ``seen @ seen.T``, (n,).
        vectors: its eigenvectors, (n, n).
    """

    pixels: Tensor
    places: Tensor
    seen: Tensor
    values: Tensor
    vectors: Tensor

    def fit(self, due: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """Return ridge regression's coefficients, (n, p), and its predictions of ``due`` (n, p)."""
        turned = (self.vectors.T @ due) / (self.values + strength)[:, None]
        return self.vectors @ turned, self.vectors @ (self.values[:, None] * turned)


@dataclass
class Aligned:
    """A regression from smashed data to images that was learned without a pair.

    Attributes:
        costs: mean squared distance of each round between what the regression gave and the images
            that the plan gave to it, by the components of that round.
        image_shape: (C, H, W).
        hurried: the last cost of the search with half of the rounds.

    Examples:
        >>> import torch
        >>> from splitsec.plugins.toolbox.transport import TransportParameters, Unpaired
        >>> sent, images = torch.rand(30, 5), torch.rand(40, 1, 4, 4)
        >>> given = TransportParameters(rounds=4)
        >>> found = Unpaired(sent, images).align(given, torch.Generator().manual_seed(0))
        >>> len(found.costs), found.reconstruct(sent).shape
        (4, torch.Size([30, 1, 4, 4]))
    """

    costs: list[float]
    image_shape: tuple[int, ...]
    _features: _Features
    _weights: Tensor
    _axes: Tensor
    _mean: Tensor
    hurried: float = math.nan

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] from the smashed data of N images."""
        made = self._features(smashed) @ self._weights @ self._axes + self._mean
        return made.to(smashed.dtype).view(-1, *self.image_shape).clamp(0, 1)


class Unpaired:
    """Smashed data and images of which none belong together.

    Args:
        smashed: (n, *smashed_shape), n at least 2.
        images: (m, C, H, W), in [0, 1], m at least 2.
        labels: labels of both, (n,) and (m,), or None if those of the smashed data are not known.
            Only images of the same label are compared, where there are enough.

    Examples:
        >>> import torch
        >>> from splitsec.plugins.toolbox.transport import TransportParameters
        >>> generator = torch.Generator().manual_seed(0)
        >>> images = torch.rand(60, 1, 4, 4, generator=generator) ** 3
        >>> images = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
        >>> sent = 7 - 2 * images[:30]
        >>> found = Unpaired(sent, images[30:]).align(TransportParameters(), generator)
        >>> found.reconstruct(sent).shape
        torch.Size([30, 1, 4, 4])
    """

    def __init__(
        self, smashed: Tensor, images: Tensor, labels: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self._shape = tuple(images.shape[1:])
        self._features = _Features(smashed)
        own = images.flatten(1).double()
        self._mean = own.mean(0)
        self._axes = torch.linalg.svd(own - self._mean, full_matrices=False)[2]
        self._own = (own - self._mean) @ self._axes.T
        self._parts = _parts(self._features(smashed), tuple(smashed.shape[1:]), self._shape)
        self._groups = _groups(smashed, images, labels)

    def align(self, given: TransportParameters, generator: torch.Generator) -> Aligned:
        """Search for the regression from several first guesses.

        Each search has half of the rounds. The one that ends at the least cost is repeated with
        all of them.

        Args:
            given: how long to search.
            generator: draws the first guesses.
        """
        shape = len(self._parts[0].seen), len(self._axes)
        half = given.model_copy(update={"rounds": given.rounds // 2})
        tried = []
        for _ in range(given.starts):
            guess = beside(torch.randn(shape, generator=generator).double(), self._own)
            tried.append((self._search(half, guess).costs[-1], guess))
        least, best = min(tried, key=lambda one: one[0])
        found = self._search(given, best)
        found.hurried = least
        return found

    def settle(self, given: TransportParameters, guess: Tensor) -> Aligned:
        """Search near a guess of the images, with the last plans and penalty of a search.

        Args:
            given: how long a search is; this one has a quarter of the rounds.
            guess: images (n, C, H, W) of the smashed data, of which most are roughly right.
        """
        rounds = max(1, given.rounds // _SETTLING)
        return self._search(
            given.model_copy(update={"rounds": rounds}), self._components(guess), settled=True
        )

    def regress(self, images: Tensor) -> Aligned:
        """Return the regression to given images (n, C, H, W) of the smashed data."""
        due = images.flatten(1).double()
        middle = due.mean(0)
        fits = [
            part.fit(due[:, part.pixels] - middle[part.pixels], _STRENGTH_OF_PAIRS)
            for part in self._parts
        ]
        return self._assembled(fits, len(self._axes), middle, [])

    def _components(self, images: Tensor) -> Tensor:
        components: Tensor = (images.flatten(1).double() - self._mean) @ self._axes.T
        return components

    def _search(
        self, given: TransportParameters, guess: Tensor, *, settled: bool = False
    ) -> Aligned:
        """Search from a first guess of the images' principal components, (n, r)."""
        most = min(given.components, len(self._axes))
        costs = []
        for done in range(1, given.rounds + 1):
            share = 1.0 if settled else done / given.rounds
            count = min(most, _FIRST_COMPONENTS + round(share * most))
            axes, strength = self._axes[:count], _between(_STRENGTH, share)
            wanted, cost = self._transported(guess[:, :count], _between(_ENTROPY, share))
            costs.append(cost)
            middle = wanted.mean(0)
            due = (wanted - middle) @ axes
            fits = [part.fit(due[:, part.pixels], strength) for part in self._parts]
            made = torch.empty_like(due)
            for part, (_, predicted) in zip(self._parts, fits, strict=True):
                made[:, part.pixels] = predicted
            guess = made @ self._axes.T
            guess[:, :count] += middle
        return self._assembled(fits, count, self._mean + middle @ axes, costs)

    def _assembled(
        self,
        fits: Sequence[tuple[Tensor, Tensor]],
        count: int,
        mean: Tensor,
        costs: list[float],
    ) -> Aligned:
        """Return the regression of all parts; seams between them are no sum of components."""
        axes = self._axes[:count]
        weights = torch.empty(sum(part.seen.shape[1] for part in self._parts), count)
        weights = beside(weights.double(), self._own)
        for part, (coefficients, _) in zip(self._parts, fits, strict=True):
            weights[part.places] = part.seen.T @ (coefficients @ axes[:, part.pixels].T)
        return Aligned(costs, self._shape, self._features, weights, axes, mean)

    def _transported(self, guess: Tensor, entropy: float) -> tuple[Tensor, float]:
        """Return the mean of the images that the plan gives to each guess, and the mean cost.

        Guesses and images are given by their principal components, (n, k).
        """
        wanted, total = torch.empty_like(guess), 0.0
        for rows, own in self._groups:
            images = self._own[own, : guess.shape[1]]
            costs = torch.cdist(guess[rows], images).square()
            scale = costs.mean().clamp_min(torch.finfo(costs.dtype).tiny)
            moved = plan(costs / scale, entropy) * len(rows)
            wanted[rows] = moved @ images
            total += (moved * costs).sum().item()
        return wanted, total / len(guess)


def _between(ends: tuple[float, float], share: float) -> float:
    """Return the value that goes from the first end to the last by equal ratios."""
    first, last = ends
    return first * math.exp(share * math.log(last / first))


def _groups(
    smashed: Tensor, images: Tensor, labels: tuple[Tensor, Tensor] | None
) -> list[tuple[Tensor, Tensor]]:
    """Return rows of smashed data and the rows of the images that they may belong to."""
    every = beside(torch.arange(len(images)), images)
    if labels is None:
        return [(beside(torch.arange(len(smashed)), smashed), every)]
    sent, own = (on_cpu(one) for one in labels)
    groups = []
    for label in sorted(set(sent.tolist())):
        like = (own == label).nonzero().flatten()
        rows = beside((sent == label).nonzero().flatten(), smashed)
        groups.append((rows, beside(like, images) if len(like) >= _FEWEST else every))
    return groups


def _parts(
    features: Tensor, smashed_shape: tuple[int, ...], image_shape: tuple[int, ...]
) -> list[_Part]:
    """Divide maps and images into parts that show the same; anything else is one part."""
    along = [1, 1]
    if len(smashed_shape) == 3:
        extents = zip(smashed_shape[1:], image_shape[1:], strict=True)
        along = [min(_PARTS, *extent) for extent in extents]
    cells = [
        [beside(part, features) for part in _columns(shape, along)]
        for shape in (smashed_shape, image_shape)
    ]
    scale = (features.square().sum(1).mean() / (along[0] * along[1])).sqrt()
    scale = scale.clamp_min(torch.finfo(scale.dtype).tiny)
    parts = []
    for places, pixels in zip(*cells, strict=True):
        seen = features[:, places] / scale
        values, vectors = torch.linalg.eigh(seen @ seen.T)
        parts.append(_Part(pixels, places, seen / scale, values.clamp_min(0), vectors))
    return parts


def _columns(shape: tuple[int, ...], along: Sequence[int]) -> list[Tensor]:
    """Return which columns of a flattened tensor are in each part, row by row."""
    columns = torch.arange(math.prod(shape)).view(shape)
    if along == [1, 1]:
        return [columns.flatten()]
    bands = torch.tensor_split(columns, along[0], 1)
    return [part.flatten() for band in bands for part in torch.tensor_split(band, along[1], 2)]
