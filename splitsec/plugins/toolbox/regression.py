"""Ridge regression from smashed data to pixels, linear or with a Gaussian kernel.

Hoerl and Kennard, "Ridge regression", Technometrics 1970; Saunders, Gammerman and Vovk, "Ridge
regression learning algorithm in dual variables", ICML 1998. Attacks share it; each gets its pairs
in a way of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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
_WIDTHS = (1.0, 2.0, 4.0)  # of the Gaussian, times the root mean squared distance
_CHOICE_PAIRS = 1000  # by which form, width and strength are chosen
_FINALISTS = 2  # kernels that are compared on all pairs
_DIRECTIONS = 64  # at random, along which images are compared for the choice
_AT_ONCE = 256


class RegressionParameters(Parameters):
    """Which regressions are tried; an attack's parameters may extend it.

    Examples:
        >>> RegressionParameters().form
        'best'
    """

    form: Literal["linear", "gaussian", "best"] = Field(
        "best", description="linear, with a Gaussian kernel, or the better one on kept pairs"
    )


class Kernel(NamedTuple):
    """A kernel of rows of features.

    Attributes:
        width: standard deviation of a Gaussian; None is the product of the rows.
        scale: what makes a row's product with itself about 1, for strengths that fit all data.
    """

    width: float | None
    scale: float

    @property
    def label(self) -> str:
        """What it is called where curves are shown."""
        return "kept pairs, " + ("linear" if self.width is None else f"width {self.width:.3g}")

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the kernel of (n, d) and (m, d), shape (n, m), double precision."""
        products = (one @ other.T).double()
        if self.width is None:
            return products * self.scale
        squares = [rows.double().square().sum(1) for rows in (one, other)]
        squared = (squares[0][:, None] + squares[1] - 2 * products).clamp_min(0)
        return torch.exp(squared / (-2 * self.width**2))


@dataclass
class Regressor:
    """A fitted regression.

    Attributes:
        standardise: scales each channel of smashed data.
        kernel: the kernel that was chosen.
        strength: the strength that was chosen.
        image_shape: (C, H, W).
        curves: mean squared error on kept pairs over the strengths, for each kernel tried.
    """

    standardise: nn.Module
    image_shape: tuple[int, ...]
    kernel: Kernel
    strength: float
    curves: dict[str, list[float]] = field(default_factory=dict)
    _left: Callable[[Tensor], Tensor] = Tensor.double
    _weights: Tensor | None = None
    _centre: Tensor | None = None
    _mean: Tensor | float = 0.0

    def features(self, smashed: Tensor) -> Tensor:
        """Return the centred features of N smashed data, (N, d)."""
        features: Tensor = self.standardise(smashed).flatten(1).float()
        return features if self._centre is None else features - self._centre

    def fit(self, features: Tensor, images: Tensor) -> None:
        """Solve for the weights, with the kernel and the strength as they are.

        Args:
            features: (N, d).
            images: (N, p).
        """
        self._mean = images.mean(0)
        matrix, right, self._left = _system(self.kernel, features, images - self._mean)
        self._weights = _solved(matrix, self.strength, right)

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] from the smashed data of N images."""
        made = [self._predict(self.features(part)) for part in torch.split(smashed, _AT_ONCE)]
        return torch.cat(made).view(-1, *self.image_shape).clamp(0, 1)

    def of_kept(self, pairs: Pairs) -> Tensor:
        """Return the kept pairs' images (K, C, H, W) as they follow from the other pairs alone.

        Args:
            pairs: what kernel and strength were chosen for.
        """
        fit, kept = pairs.sides()
        others = replace(self)
        others.fit(self.features(fit.smashed), fit.images.flatten(1))
        return others.reconstruct(kept.smashed)

    def _predict(self, features: Tensor) -> Tensor:
        assert self._weights is not None, "regress() fits it"
        # Weights of a weak penalty are large and cancel: single precision is too coarse.
        return (self._left(features) @ self._weights).float() + self._mean


def regress(
    given: RegressionParameters, pairs: Pairs, generator: torch.Generator, name: str
) -> Regressor:
    """Choose a kernel and a strength on the kept pairs, then solve with all pairs.

    Args:
        given: which kernels to try.
        pairs: images and their smashed data: maps, tokens or vectors.
        generator: chooses the pairs by which kernels are compared.
        name: names the attack in errors.

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
    if not torch.isfinite(pairs.smashed).all():
        raise DivergedError(f"{name}: smashed data are not finite")
    shape = tuple(pairs.images.shape[1:])
    scaling = beside(standardise(pairs.smashed), pairs.smashed)
    fitted = Regressor(scaling, shape, Kernel(None, 1.0), 1.0)
    features = fitted.features(pairs.smashed)
    fitted._centre = features.mean(0)
    features = features - fitted._centre
    images = pairs.images.flatten(1)
    directions = torch.randn(images.shape[1], _DIRECTIONS, generator=generator)
    seen = (images @ beside(directions, images) / _DIRECTIONS**0.5).double()
    choice = _Choice(features, seen, pairs.kept, generator)
    tried = [choice.roughly(kernel) for kernel in _kernels(given, features)]
    finalists = [choice.finely(one) for one in sorted(tried, key=_Tried.least)[:_FINALISTS]]
    fitted.curves = {one.label: one.errors for one in [*tried, *finalists]}
    best = min(finalists, key=_Tried.least)
    fitted.kernel, fitted.strength = best.kernel, best.strengths[best.errors.index(best.least())]
    fitted.fit(features, images)
    return fitted


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
        features: of all pairs, (N, d), centred.
        seen: their images along a few directions, (N, e), double precision.
        kept: (N,), True for the pairs to compare on.
        generator: chooses some of the pairs.
    """

    def __init__(
        self, features: Tensor, seen: Tensor, kept: Tensor, generator: torch.Generator
    ) -> None:
        order = torch.randperm(len(features), generator=generator)
        rows = beside(order[~kept[order]], features)
        held = beside(order[kept[order]][:_CHOICE_PAIRS], features)
        centre = features[rows].mean(0)
        self._features, self._kept = features[rows] - centre, features[held] - centre
        self._seen, self._due = seen[rows], seen[held]
        self._mean = self._seen.mean(0)

    def roughly(self, kernel: Kernel) -> _Tried:
        """Try all strengths on some of the pairs, by one eigendecomposition."""
        features = self._features[:_CHOICE_PAIRS]
        wanted = self._seen[:_CHOICE_PAIRS] - self._mean
        if kernel.width is None and features.shape[1] < len(features):
            values, vectors = torch.linalg.eigh((features.T @ features).double() * kernel.scale)
            left = (self._kept.double() @ vectors) * kernel.scale
            right = vectors.T @ (features.T.double() @ wanted)
        else:
            values, vectors = torch.linalg.eigh(kernel(features, features))
            left = kernel(self._kept, features) @ vectors
            right = vectors.T @ wanted
        values = values.clamp_min(0)[:, None]
        errors = [self._error(left @ (right / (values + one))) for one in _STRENGTHS]
        return _Tried(kernel, f"{kernel.label} on some pairs", _STRENGTHS, errors)

    def finely(self, tried: _Tried) -> _Tried:
        """Try weaker and weaker penalties on all pairs, from the best on some, until one is worse.

        More pairs need a weaker penalty.
        """
        kernel, start = tried.kernel, tried.errors.index(tried.least())
        matrix, right, left = _system(kernel, self._features, self._seen - self._mean)
        ahead = left(self._kept)
        strengths: list[float] = []
        errors: list[float] = []
        for strength in _STRENGTHS[start:]:
            strengths.append(strength)
            errors.append(self._error(ahead @ _solved(matrix.clone(), strength, right)))
            if errors[-1] > min(errors):
                break
        return _Tried(kernel, kernel.label, strengths, errors)

    def _error(self, made: Tensor) -> float:
        return (made + self._mean - self._due).square().mean().item()


def _kernels(given: RegressionParameters, features: Tensor) -> Iterator[Kernel]:
    spread = features.double().square().sum(1).mean().item() or 1.0
    if given.form != "gaussian":
        yield Kernel(None, 1 / spread)
    if given.form != "linear":
        for width in _WIDTHS:
            yield Kernel(width * (2 * spread) ** 0.5, 1.0)


class _System(NamedTuple):
    """A system of equations, double precision, and what its solution is multiplied by.

    Attributes:
        matrix: (m, m), without the penalty.
        right: (m, p).
        left: maps features (n, d) to (n, m).
    """

    matrix: Tensor
    right: Tensor
    left: Callable[[Tensor], Tensor]


def _system(kernel: Kernel, features: Tensor, wanted: Tensor) -> _System:
    """Return the smaller system for a kernel: with one unknown per feature, or per pair."""
    if kernel.width is None and features.shape[1] < len(features):
        matrix = (features.T @ features).double() * kernel.scale
        right = (features.T.to(wanted.dtype) @ wanted).double() * kernel.scale
        return _System(matrix, right, Tensor.double)
    return _System(kernel(features, features), wanted.double(), lambda seen: kernel(seen, features))


def _solved(matrix: Tensor, strength: float, right: Tensor) -> Tensor:
    """Return the solution of (matrix + strength) x = right, double precision."""
    matrix.diagonal().add_(strength)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed:  # rounding made it indefinite
        matrix.diagonal().add_(1e-4)
        factor = torch.linalg.cholesky(matrix)
    return torch.cholesky_solve(right.double(), factor)
