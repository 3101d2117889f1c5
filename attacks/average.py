"""Average: what was sent of the same image in many epochs is averaged before it is decoded.

A defense that draws its perturbation anew in every epoch sends each training image as often as
there are epochs, and the mean of those releases has less noise than any of them. It is a
known limit of randomised responses that the privacy loss adds up over repeated releases (Dwork and
Roth, "The Algorithmic Foundations of Differential Privacy", 2014, section 3.5). The attacker needs
to know which smashed data are of the same image: sample identities, which split learning over
vertically divided records exchanges anyway. Noise that hides the image hides which image it is too,
so nothing is averaged without them.

The attacker asks for its own images as often, and a ridge regression is fitted to the means of the
answers; so it expects as much noise as the means of the training images have. The client drifts
from epoch to epoch; products of an image's releases tell drift from noise, and so how many of the
last epochs to average. Held-out images are sent once; a regression on single answers, and on those
to variants of the images, decodes them.

It is passive. Queries and sample identities are more than most split-learning servers have. No
paper proposes this attack.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from splitsec.devices import beside, on_cpu
from splitsec.errors import PluginError, UsageError
from splitsec.plugins.attack import Attack
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.messages import Exchange
from splitsec.plugins.toolbox.alignment import OtherMode
from splitsec.plugins.toolbox.batching import sample
from splitsec.plugins.toolbox.queries import (
    VARIANTS,
    Pairs,
    QueryParameters,
    affordable,
    answers,
    keep_some,
    vary_sides,
)
from splitsec.plugins.toolbox.regression import RegressionParameters, Regressor, regress
from splitsec.plugins.view import View
from splitsec.progress import Progress

_NAME = "attack 'average'"


class AverageParameters(RegressionParameters, QueryParameters):
    """Parameters of the averages and of the regression."""

    kept: float = Field(
        0.1, gt=0, lt=1, description="share of the public images that choose the form"
    )
    epochs: int = Field(10, ge=1, description="last epochs of which smashed data are kept")


class Releases(NamedTuple):
    """What was sent of each training image, the latest first.

    Attributes:
        smashed: (A, N, *smashed_shape): A releases of N images.
        moves: (A, 1, *smashed_shape): how the mean of all images has moved since each release.
    """

    smashed: Tensor
    moves: Tensor

    @classmethod
    def of(cls, images: Tensor, smashed: Tensor) -> Releases:
        """Arrange smashed data by image.

        Args:
            images: which image each is of, (M,), M at least 1, in the order they were sent.
            smashed: (M, *smashed_shape).
        """
        _, owner, counts = torch.unique(images, return_inverse=True, return_counts=True)
        order = owner.flip(0).argsort(stable=True)  # by image, the latest first
        first = counts.cumsum(0) - counts
        rows = order[first + torch.arange(int(counts.min()))[:, None]]
        sent = smashed.flip(0)[beside(rows, smashed)]
        middle = sent.mean(1, keepdim=True)
        return cls(sent, middle[0] - middle)

    def errors(self) -> list[float]:
        """Return the error of the mean of the last k releases, as an estimate of the last signal.

        The signal of an image is its last release without the noise that is drawn anew for each.
        Two releases of an image share their signals and no noise, so products of different releases
        say how much the signal varies and drifts; its variance in the last release is what these
        products tend to as the epochs come together.

        Returns:
            For each k from 1, the mean squared error over images and elements.
        """
        sent = (self.smashed - self.smashed.mean(1, keepdim=True)).flatten(1)
        shared = on_cpu(sent @ sent.T / sent.shape[1]).double()
        if len(shared) == 1:
            return [0.0]
        signal = 2 * shared[0, 1] - shared[0, min(2, len(shared) - 1)]
        signal = signal.clamp_min(shared[0, 1].clamp_min(0)).clamp_max(shared[0, 0])
        of_last = torch.cat([signal[None], shared[0, 1:]])
        return [
            (shared[:k, :k].mean() - 2 * of_last[:k].mean() + signal).item()
            for k in range(1, len(shared) + 1)
        ]

    def mean(self, count: int, rows: Tensor) -> Tensor:
        """Return the means (n, *smashed_shape) of the last releases of n images, moved.

        Args:
            count: number of releases.
            rows: of the images, (n,).
        """
        return (self.smashed[:count, rows] + self.moves[:count]).mean(0)

    def rows(self, smashed: Tensor) -> Tensor:
        """Return which image was sent as each of N smashed data, (N,); -1 where none was."""
        found = beside(torch.full((len(smashed),), -1), smashed)
        for sent in self.smashed:
            nearest = torch.cdist(smashed.flatten(1), sent.flatten(1)).argmin(1)
            same = (sent[nearest] == smashed).flatten(1).all(1)
            found = torch.where(same & (found < 0), nearest, found)
        return found


class _Decoder(NamedTuple):
    """A regression, and how it reads smashed data of the other mode."""

    regressor: Regressor
    other_mode: OtherMode

    def in_training(self, smashed: Tensor) -> Tensor:
        return self.other_mode.reconstruct(self.regressor.reconstruct, smashed)


class Average(Attack[AverageParameters]):
    """The closed-form attack that averages repeated releases."""

    Parameters: ClassVar[type[AverageParameters]] = AverageParameters

    _single: _Decoder | None = None
    _averaged: _Decoder | None = None
    _releases: Releases
    _count = 1

    def __init__(
        self, parameters: AverageParameters, view: View, generator: torch.Generator
    ) -> None:
        super().__init__(parameters, view, generator)
        self._kept: list[tuple[int, Tensor, Tensor]] = []

    @classmethod
    def threat_model(cls, parameters: AverageParameters) -> ThreatModel:
        """Declare queries on public images, and sample identities."""
        return ThreatModel(public_images=True, queries=True, sample_ids=True)

    def observe(self, exchange: Exchange) -> None:
        """Keep what was sent, and of which images, in the last epochs."""
        message = exchange.message
        assert message.samples is not None, "the threat model declares sample identities"
        self._kept.append((message.client, on_cpu(message.samples), message.smashed))
        del self._kept[: -self.parameters.epochs * self.view.exchanges_per_epoch]

    def fit(self, progress: Progress) -> None:
        """Choose how many epochs to average, ask for each image as often, and fit to the means."""
        with progress.stage("regression", 2) as stage:
            own = self._own()
            self._choose(affordable(self.parameters, self.view) // len(own))
            stage.advance(note=f"averages {self._count} epochs")
            draws = [answers(self.view, own)]
            while len(draws) < self._count and not _same(draws):
                draws.append(answers(self.view, own))
            kept = keep_some(len(own), self.parameters.kept, self.generator)
            self._single = self._fitted(self._singles(own, draws, kept), draws[0])
            self._averaged = self._single
            if self._count > 1 and not _same(draws):
                mean = torch.stack(draws).mean(0)
                self._averaged = self._fitted(Pairs(own, mean, kept), mean)
            stage.advance()

    def _own(self) -> Tensor:
        """Return the images to ask for; there are queries for each of them."""
        public = self.view.public_images
        count = min(len(public), affordable(self.parameters, self.view))
        if count < 2:
            raise UsageError(
                f"{_NAME} needs two public images or more; this data set leaves it {len(public)}"
            )
        return public[sample(public, count, self.generator)]

    def _choose(self, most: int) -> None:
        """Choose how many epochs to average: as many as give the least error, of ``most``."""
        if not self._kept:
            raise UsageError(f"{_NAME} saw no smashed data: there is nothing to average")
        images = [one * self.view.clients + client for client, one, _ in self._kept]
        sent = torch.cat([smashed for _, _, smashed in self._kept])
        self._releases = Releases.of(torch.cat(images), sent)
        errors = self._releases.errors()[:most]
        self._count = errors.index(min(errors)) + 1

    def _singles(self, own: Tensor, draws: list[Tensor], kept: Tensor) -> Pairs:
        """Return all answers as pairs, with those to variants for the queries that are left."""
        spent = len(draws) * len(own)
        left = affordable(self.parameters, self.view) - spent
        count = len(own) + min(left, VARIANTS * len(own))
        varied = vary_sides(own, kept, count, self.generator)
        new = beside((~varied.original).nonzero().flatten(), own)
        images, smashed, sides = [own] * len(draws), list(draws), [kept] * len(draws)
        if len(new):
            images.append(varied.images[new])
            smashed.append(answers(self.view, images[-1]))
            sides.append(varied.kept[~varied.original])
        return Pairs(torch.cat(images), torch.cat(smashed), torch.cat(sides))

    def _fitted(self, pairs: Pairs, known: Tensor) -> _Decoder:
        regressor = regress(self.parameters, pairs, self.generator, _NAME)
        return _Decoder(regressor, OtherMode(known))

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Decode smashed data of N images to (N, C, H, W), averaged if they were sent before."""
        if self._single is None or self._averaged is None:
            raise PluginError(f"{_NAME} has no weights before fit()")
        if not self.view.in_training:
            return self._single.regressor.reconstruct(smashed)
        rows = self._releases.rows(smashed)
        if (rows < 0).any():
            return self._single.in_training(smashed)
        return self._averaged.in_training(self._releases.mean(self._count, rows))

    def curves(self) -> dict[str, list[float]]:
        """Return the errors on kept pairs over the strengths, for each kernel that was tried."""
        return {} if self._averaged is None else self._averaged.regressor.curves


def _same(draws: list[Tensor]) -> bool:
    """Return whether the client gave the same answers twice: its release has no noise."""
    return len(draws) > 1 and torch.equal(draws[0], draws[1])
