"""Transport: a listening server aligns what it was sent with images of its own, without a pair.

The server follows the protocol and asks nothing. It has images of a similar kind. A regression is
searched for whose reconstructions are distributed as these images, class by class where clients
share labels: plans of optimal transport and ridge regressions take turns; see
:mod:`splitsec.plugins.toolbox.transport`. It knows nothing of the client's architecture, and trains
no network.

A defense that trains the client needs time, and in the first epoch it has had none. So the search
is made there and settles in the second epoch. From then on the server finds the same images again
in every epoch (:mod:`splitsec.plugins.toolbox.linking`), and its reconstructions of them are what
the regressions of later epochs are fitted to. The last one settles once more, unless that leads
far away, to a wrong solution that fits better. If an epoch has more images than are remembered, the
search is made once, at the end. Smashed data that were not sent in training are first aligned with
those that were, if they decode to unlikely images. The regression follows the last epoch, so it is
worse if the training keeps an earlier epoch's client (``training.keep=best``).

No paper proposes this attack. It carries over what is known from words, whose vectors in two
languages are aligned without a dictionary (Grave, Joulin and Berthet, "Unsupervised alignment of
embeddings with Wasserstein Procrustes", AISTATS 2019). It can end at a wrong solution, such as
inverted brightness, that fits the two distributions as well.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from splitsec.errors import PluginError, UsageError
from splitsec.plugins.attack import Attack
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.messages import Exchange
from splitsec.plugins.toolbox.alignment import OtherMode, align
from splitsec.plugins.toolbox.linking import Links
from splitsec.plugins.toolbox.transport import Aligned, Features, TransportParameters, Unpaired
from splitsec.plugins.view import View
from splitsec.progress import Progress

_NAME = "attack 'transport'"
_SETTLED = 2  # epochs that are searched; later ones are followed
_NEAR = 0.1  # mean squared move over the variance; to dcor's wrong solution it is 0.5


class TransportAttackParameters(TransportParameters):
    """Parameters of the alignment."""

    labels: bool = Field(
        True, description="compare images of one class only, where clients share labels"
    )
    remembered: int = Field(
        512, ge=2, description="last images whose smashed data are kept to compare with"
    )
    follow: bool = Field(
        True,
        description="search in the first epoch and follow its images to the last, where an epoch "
        "has no more images than are remembered",
    )


class Transport(Attack[TransportAttackParameters]):
    """The closed-form attack of a server that only listens."""

    Parameters: ClassVar[type[TransportAttackParameters]] = TransportAttackParameters

    _aligned: Aligned | None = None
    _other_mode: OtherMode
    _links: Links | None = None

    def __init__(
        self, parameters: TransportAttackParameters, view: View, generator: torch.Generator
    ) -> None:
        super().__init__(parameters, view, generator)
        if len(view.public_images) < 2:
            raise UsageError(
                f"{_NAME} needs two public images or more; this data set leaves it "
                f"{len(view.public_images)}"
            )
        self._kept: list[tuple[Tensor, Tensor | None]] = []
        self._follows = parameters.follow
        self._epochs = 0
        self._costs: list[float] = []
        self._hurried = 0.0
        self._images = view.public_images[:0]
        self._last = torch.empty(0)
        self._last_labels: tuple[Tensor, Tensor] | None = None

    @classmethod
    def threat_model(cls, parameters: TransportAttackParameters) -> ThreatModel:
        """Declare images of its own and, if they are used, labels."""
        return ThreatModel(
            public_images=True, public_labels=parameters.labels, labels=parameters.labels
        )

    def observe(self, exchange: Exchange) -> None:
        """Keep smashed data with their labels, and learn from each epoch when it is complete."""
        message = exchange.message
        self._kept.append((message.smashed, message.labels))
        if sum(len(one) for one, _ in self._kept) > self.parameters.remembered:
            self._follows = False
        if not self._follows:
            while sum(len(one) for one, _ in self._kept[1:]) >= self.parameters.remembered:
                del self._kept[0]
        elif (message.step + 1) % self.view.exchanges_per_epoch == 0:
            self._learn()
            self._kept.clear()

    def fit(self, progress: Progress) -> None:
        """Search for the regression, unless it was followed from the first epoch to the last."""
        if self._epochs == 0:
            if sum(len(one) for one, _ in self._kept) < 2:
                raise UsageError(f"{_NAME} saw fewer than two images: it learns nothing")
            with progress.stage("aligning by optimal transport", 1) as stage:
                self._learn()
                stage.advance(note=f"cost {self._costs[-1]:.3g}")
        elif self._epochs > _SETTLED:
            self._settle()
        self._other_mode = OtherMode(self._last)
        self._kept.clear()
        self._links = None

    def _learn(self) -> None:
        """Learn from what is kept, with what was learned in the epochs before."""
        sent, labels = torch.cat([one for one, _ in self._kept]), self._labels()
        unpaired = Unpaired(sent, self.view.public_images, labels)
        features, known = Features(sent)(sent), None if labels is None else labels[0]
        if self._aligned is None:
            self._aligned = unpaired.align(self.parameters, self.generator)
            self._costs, self._hurried = self._aligned.costs, self._aligned.hurried
        elif self._links is None:
            guess = self._aligned.reconstruct(align(sent, self._last))
            self._aligned = unpaired.settle(self.parameters, guess)
            self._links = Links(features, known)
            self._images = self._aligned.reconstruct(sent)
        else:
            rows = self._links.follow(features, known)
            self._aligned = unpaired.regress(self._images[rows])
        self._last, self._last_labels = sent, labels
        self._epochs += 1

    def _settle(self) -> None:
        """Search near the regression that was followed, and stay with it if that leads away."""
        assert self._aligned is not None, "epochs were learned from"
        followed = self._aligned.reconstruct(self._last)
        unpaired = Unpaired(self._last, self.view.public_images, self._last_labels)
        settled = unpaired.settle(self.parameters, followed)
        moved = (settled.reconstruct(self._last) - followed).square().mean()
        if moved <= _NEAR * (followed - followed.mean(0)).square().mean():
            self._aligned = settled

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Predict the images of N smashed data, (N, C, H, W)."""
        if self._aligned is None:
            raise PluginError(f"{_NAME} has no weights before fit()")
        if self.view.in_training:
            return self._aligned.reconstruct(smashed)
        return self._other_mode.reconstruct(self._aligned.reconstruct, smashed)

    def curves(self) -> dict[str, list[float]]:
        """Return the cost of transport over the rounds of the search from noise."""
        return {"cost of transport": self._costs} if self._costs else {}

    def convergence(self) -> list[Convergence]:
        """Return the cost of transport after a search of half as many rounds and after the whole.

        The cost says how well the distributions agree, and not whether the images are right.
        """
        if not self._costs:
            return []
        cost = {"half": self._hurried, "full": self._costs[-1]}
        return [Convergence(measured_on="cost of transport", **cost)]

    def _labels(self) -> tuple[Tensor, Tensor] | None:
        """Return the labels of the smashed data and of the public images, if both are known."""
        if not self.parameters.labels or self.view.task != "classification":
            return None
        sent = [labels for _, labels in self._kept if labels is not None]
        return (torch.cat(sent), self.view.public_labels) if len(sent) == len(self._kept) else None
