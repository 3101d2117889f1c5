"""Ridge regression from smashed data to pixels, linear or with a Gaussian or a Matern kernel.

Hoerl and Kennard, "Ridge regression", Technometrics 1970; Saunders, Gammerman and Vovk, "Ridge
regression learning algorithm in dual variables", ICML 1998; the Matern kernel of smoothness 3/2 is
that of Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, chapter
4. Attacks share it; each gets its pairs in a way of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from splitsec.devices import beside
from splitsec.errors import DivergedError
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.inversion import standardise
from splitsec.plugins.toolbox.queries import Pairs

_STRENGTHS = [10.0 ** (power / 2) for power in range(6, -13, -1)]
"""The strongest is tried first, and so chosen where none is better."""
_WIDTHS = (1.0, 2.0, 4.0)  # of the Gaussian kernel, in root mean squared distances
_LENGTHS = (4.0, 16.0)  # length scales of the Matern kernel, in the same unit
_CHOICE_PAIRS = 1000  # by which form, width and strength are chosen
_FINALISTS = 2  # kernels that are compared on all pairs
_DIRECTIONS = 64  # at random, along which images are compared for the choice
_AT_ONCE = 256
_LEAST_MORE = 1e-4  # is added to a penalty where rounding takes it away, then ten times as much


class RegressionParameters(Parameters):
    """Which regressions are tried; an attack's parameters may extend it.

    Examples:
        >>> RegressionParameters().form
        'best'
    """

    form: Literal["linear", "gaussian", "matern", "best"] = Field(
        "best",
        description="linear, with a Gaussian or a Matern kernel, or the best on kept pairs",
    )


class Kernel(NamedTuple):
    """A kernel of rows of features.

    Attributes:
        width: standard deviation of a Gaussian, or the length scale of a Matern kernel; None is
            the product of the rows.
        scale: what makes a row's product with itself about 1, for strengths that fit all data.
        rough: whether it is the Matern kernel of smoothness 3/2 and not a Gaussian.
    """

    width: float | None
    scale: float
    rough: bool = False

    @property
    def label(self) -> str:
        """What it is called where curves are shown."""
        if self.width is None:
            return "kept pairs, linear"
        return f"kept pairs, {'Matern' if self.rough else 'Gaussian'}, width {self.width:.3g}"

    def of_products(self, products: Tensor, squares: Tensor, others: Tensor) -> Tensor:
        """Return the kernel of rows with others, shape (n, m), double precision.

        Args:
            products: of each row with each other one, (n, m).
            squares: of the rows with themselves, (n,), double precision.
            others: of the other rows with themselves, (m,).
        """
        made = products.double()
        if self.width is None:
            return made.mul_(self.scale)
        made.mul_(-2).add_(squares[:, None]).add_(others).clamp_min_(0)  # squared distances
        if not self.rough:
            return made.div_(-2 * self.width**2).exp_()
        made.mul_(3 / self.width**2).sqrt_()
        return torch.exp(-made).mul_(made.add_(1))


def _squares(rows: Tensor) -> Tensor:
    """Return the product of each row of (n, d) with itself, (n,), double precision."""
    return torch.cat([part.double().square().sum(1) for part in torch.split(rows, _AT_ONCE)])


class Known:
    """The features of all pairs; kernels and systems of some of them are parts of one matrix.

    Attributes:
        features: (N, d), centred.
        squares: of each row with itself, (N,), double precision.
    """

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self.squares = _squares(features)

    @cached_property
    def _products(self) -> Tensor:
        return self.features @ self.features.T

    def has_few_features(self, kernel: Kernel, count: int) -> bool:
        """Return whether a system of so many pairs has one unknown per feature, not per pair."""
        return kernel.width is None and self.features.shape[1] < count

    def _kernel(self, kernel: Kernel, rows: Tensor, others: Tensor) -> Tensor:
        products = self._products[rows][:, others]
        return kernel.of_products(products, self.squares[rows], self.squares[others])

    def system(self, kernel: Kernel, rows: Tensor, wanted: Tensor, mean: Tensor) -> _System:
        """Return the smaller system for a kernel: with one unknown per feature, or per pair.

        Args:
            kernel: the kernel.
            rows: (n,), the pairs to fit to.
            wanted: what they are to give, (n, p).
            mean: is subtracted from each row of ``wanted`` first, (p,).
        """
        if self.has_few_features(kernel, len(rows)):
            features = self.features[rows]
            matrix = (features.T @ features).double() * kernel.scale
            right = (features.T.to(wanted.dtype) @ (wanted - mean)) * kernel.scale
            return _System(matrix, right, torch.zeros_like(mean))
        return _System(self._kernel(kernel, rows, rows), wanted, mean)

    def left(self, kernel: Kernel, others: Tensor, rows: Tensor) -> Tensor:
        """Return what a system's solution is multiplied by to predict other pairs, (m, unknowns).

        Args:
            kernel: the kernel.
            others: (m,), the pairs to predict.
            rows: (n,), the pairs that the system is of.
        """
        if self.has_few_features(kernel, len(rows)):
            return self.features[others].double()
        return self._kernel(kernel, others, rows)


class _System(NamedTuple):
    """A system of equations.

    Attributes:
        matrix: (m, m), without the penalty, double precision.
        right: (m, p), before the mean is subtracted.
        mean: (p,).
    """

    matrix: Tensor
    right: Tensor
    mean: Tensor

    def solved(self, strength: float) -> Tensor:
        """Return the solution of (matrix + strength) x = right, (m, p), double precision."""
        matrix = self.matrix.clone()
        matrix.diagonal().add_(strength)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        more = _LEAST_MORE
        while failed and more < math.inf:  # rounding made it indefinite
            matrix.diagonal().add_(more)
            factor, failed = torch.linalg.cholesky_ex(matrix)
            more *= 10
        del matrix  # it is as large as the factor
        made: Tensor = factor.new_empty(self.right.shape)
        for columns in range(0, made.shape[1], _AT_ONCE):
            some = slice(columns, columns + _AT_ONCE)
            right = self.right[:, some] - self.mean[some]  # a copy of all would be large
            made[:, some] = torch.cholesky_solve(right.double(), factor)
        return made


@dataclass
class Regressor:
    """A fitted regression.

    Attributes:
        standardise: scales each channel of smashed data.
        kernel: the kernel that was chosen.
        strength: the strength that was chosen.
        image_shape: (C, H, W).
        curves: mean squared error on kept pairs over the strengths, for each kernel tried.
        kept_images: (K, C, H, W), the kept pairs' images as they follow from the other pairs alone,
            if they were asked for.
    """

    standardise: nn.Module
    image_shape: tuple[int, ...]
    kernel: Kernel
    strength: float
    curves: dict[str, list[float]] = field(default_factory=dict)
    kept_images: Tensor | None = None
    _rows: Tensor | None = None
    _squares: Tensor | None = None
    _weights: Tensor | None = None
    _centre: Tensor | None = None
    _mean: Tensor | float = 0.0

    def features(self, smashed: Tensor) -> Tensor:
        """Return the centred features of N smashed data, (N, d)."""
        features = torch.empty(len(smashed), smashed[0].numel(), device=smashed.device)
        for first in range(0, len(smashed), _AT_ONCE):  # no copy of all at once
            part = smashed[first : first + _AT_ONCE]
            features[first : first + _AT_ONCE] = self.standardise(part).flatten(1)
        return features if self._centre is None else features.sub_(self._centre)

    def fit(self, known: Known, images: Tensor) -> None:
        """Solve for the weights, with the kernel and the strength as they are.

        Args:
            known: the features of N pairs.
            images: their images, (N, p).
        """
        everyone = beside(torch.arange(len(images)), images)
        self._mean = images.mean(0)
        system = known.system(self.kernel, everyone, images, self._mean)
        self._weights = system.solved(self.strength)
        if not known.has_few_features(self.kernel, len(images)):
            self._rows, self._squares = known.features, known.squares

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] from the smashed data of N images."""
        made = [self._predict(self.features(part)) for part in torch.split(smashed, _AT_ONCE)]
        return torch.cat(made).view(-1, *self.image_shape).clamp(0, 1)

    def _predict(self, features: Tensor) -> Tensor:
        assert self._weights is not None, "regress() fits it"
        if self._rows is None or self._squares is None:
            left = features.double()
        else:
            products = features @ self._rows.T
            left = self.kernel.of_products(products, _squares(features), self._squares)
        # Weights of a weak penalty are large and cancel: single precision is too coarse.
        return (left @ self._weights).float() + self._mean


def regress(
    given: RegressionParameters,
    pairs: Pairs,
    generator: torch.Generator,
    name: str,
    predict_kept: bool = False,
) -> Regressor:
    """Choose a kernel and a strength on the kept pairs, then solve with all pairs.

    Args:
        given: which kernels to try.
        pairs: images and their smashed data: maps, tokens or vectors.
        generator: chooses the pairs by which kernels are compared.
        name: names the attack in errors.
        predict_kept: also predict the kept pairs' images from the other pairs.

    Returns:
        The fitted regression.

    Raises:
        DivergedError: the smashed data are not finite.

    Examples:
        >>> import torch
        >>> from splitsec.plugins.toolbox.queries import Pairs
        >>> from splitsec.plugins.toolbox.regression import RegressionParameters
        >>> images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> pairs = Pairs(images, 3 * images.flatten(1) - 1, torch.arange(40) < 8)
        >>> fitted = regress(RegressionParameters(), pairs, torch.Generator(), "demo")
        >>> bool((fitted.reconstruct(pairs.smashed) - images).abs().max() < 0.01)
        True
    """
    if not all(torch.isfinite(part).all() for part in torch.split(pairs.smashed, _AT_ONCE)):
        raise DivergedError(f"{name}: smashed data are not finite")
    shape = tuple(pairs.images.shape[1:])
    scaling = beside(standardise(pairs.smashed), pairs.smashed)
    fitted = Regressor(scaling, shape, Kernel(None, 1.0), 1.0)
    features = fitted.features(pairs.smashed)
    fitted._centre = features.mean(0)
    features -= fitted._centre
    known = Known(features)
    images = pairs.images.flatten(1)
    directions = torch.randn(images.shape[1], _DIRECTIONS, generator=generator)
    seen = (images @ beside(directions, images) / _DIRECTIONS**0.5).double()
    choice = _Choice(known, seen, pairs.kept, generator)
    tried = [choice.roughly(kernel) for kernel in _kernels(given, known)]
    finalists = [choice.finely(one) for one in sorted(tried, key=_Tried.least)[:_FINALISTS]]
    fitted.curves = {one.label: one.errors for one in [*tried, *finalists]}
    best = min(finalists, key=_Tried.least)
    fitted.kernel, fitted.strength = best.kernel, best.strengths[best.errors.index(best.least())]
    if predict_kept:
        fitted.kept_images = _kept_images(fitted, known, pairs)
    fitted.fit(known, images)
    return fitted


def _kept_images(fitted: Regressor, known: Known, pairs: Pairs) -> Tensor:
    """Return the kept pairs' images as a regression of the other pairs alone predicts them."""
    kept, rows = (
        beside(one.nonzero().flatten(), pairs.images) for one in (pairs.kept, ~pairs.kept)
    )
    images = pairs.images[rows].flatten(1)
    mean = images.mean(0)
    solution = known.system(fitted.kernel, rows, images, mean).solved(fitted.strength)
    made = (known.left(fitted.kernel, kept, rows) @ solution).float() + mean
    return made.view(-1, *fitted.image_shape).clamp(0, 1)


class _Tried(NamedTuple):
    """The mean squared errors of a kernel on kept pairs, by strength."""

    kernel: Kernel
    label: str
    strengths: list[float]
    errors: list[float]

    def least(self) -> float:
        """Return the smallest error."""
        return min(self.errors)


class _Choice:
    """Compares kernels and strengths on kept pairs.

    Args:
        known: the features of all pairs.
        seen: their images along a few directions, (N, e), double precision.
        kept: (N,), True for the pairs to compare on.
        generator: chooses some of the pairs.
    """

    def __init__(
        self, known: Known, seen: Tensor, kept: Tensor, generator: torch.Generator
    ) -> None:
        order = torch.randperm(len(seen), generator=generator)
        self._known = known
        self._rows = beside(order[~kept[order]], seen)
        self._held = beside(order[kept[order]][:_CHOICE_PAIRS], seen)
        self._seen, self._due = seen[self._rows], seen[self._held]
        self._mean = self._seen.mean(0)

    def roughly(self, kernel: Kernel) -> _Tried:
        """Try all strengths on some of the pairs, by one eigendecomposition."""
        rows = self._rows[:_CHOICE_PAIRS]
        system = self._known.system(kernel, rows, self._seen[:_CHOICE_PAIRS], self._mean)
        values, vectors = torch.linalg.eigh(system.matrix)
        left = self._known.left(kernel, self._held, rows) @ vectors
        right = vectors.T @ (system.right - system.mean)
        values = values.clamp_min(0)[:, None]
        errors = [self._error(left @ (right / (values + one))) for one in _STRENGTHS]
        return _Tried(kernel, f"{kernel.label} on some pairs", _STRENGTHS, errors)

    def finely(self, tried: _Tried) -> _Tried:
        """Try weaker and weaker penalties on all pairs, from the best on some, until one is worse.

        More pairs need a weaker penalty.
        """
        kernel, start = tried.kernel, tried.errors.index(tried.least())
        system = self._known.system(kernel, self._rows, self._seen, self._mean)
        left = self._known.left(kernel, self._held, self._rows)
        strengths: list[float] = []
        errors: list[float] = []
        for strength in _STRENGTHS[start:]:
            strengths.append(strength)
            errors.append(self._error(left @ system.solved(strength)))
            if errors[-1] > min(errors):
                break
        return _Tried(kernel, kernel.label, strengths, errors)

    def _error(self, made: Tensor) -> float:
        return (made + self._mean - self._due).square().mean().item()


def _kernels(given: RegressionParameters, known: Known) -> Iterator[Kernel]:
    spread = known.squares.mean().item() or 1.0
    if given.form in ("linear", "best"):
        yield Kernel(None, 1 / spread)
    for form, widths, rough in (("gaussian", _WIDTHS, False), ("matern", _LENGTHS, True)):
        if given.form in (form, "best"):
            for width in widths:
                yield Kernel(width * (2 * spread) ** 0.5, 1.0, rough)
