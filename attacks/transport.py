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
from splitsec.plugins.toolbox.recent import Recent
from splitsec.plugins.toolbox.transport import Aligned, TransportParameters, Unpaired, features_of
from splitsec.plugins.view import View
from splitsec.progress import Progress

_NAME = "attack 'transport'"
_NEAR = 0.1  # mean squared move over the variance; to dcor's wrong solution it is 0.5

_Epoch = tuple[Tensor, Tensor | None]  # smashed data, and their labels if they are used


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

    def __init__(
        self, parameters: TransportAttackParameters, view: View, generator: torch.Generator
    ) -> None:
        super().__init__(parameters, view, generator)
        if len(view.public_images) < 2:
            raise UsageError(
                f"{_NAME} needs two public images or more; this data set leaves it "
                f"{len(view.public_images)}"
            )
        self._recent = Recent(parameters.remembered)
        self._last: _Epoch | None = None
        self._links = Links()
        self._images: Tensor | None = None
        self._rows: Tensor | None = None
        self._follows = parameters.follow
        self._costs: list[float] = []
        self._hurried = 0.0

    @classmethod
    def threat_model(cls, parameters: TransportAttackParameters) -> ThreatModel:
        """Declare images of its own and, if they are used, labels."""
        return ThreatModel(
            public_images=True, public_labels=parameters.labels, labels=parameters.labels
        )

    def observe(self, exchange: Exchange) -> None:
        """Keep smashed data with their labels, and follow them when an epoch is complete."""
        message = exchange.message
        self._recent.add(message.smashed, message.labels)
        if len(self._recent) > self.parameters.remembered:
            self._follows = False
        if self._follows and (message.step + 1) % self.view.exchanges_per_epoch == 0:
            self._follow(self._taken())

    def fit(self, progress: Progress) -> None:
        """Search for the regression, or make it of the images that were followed."""
        last = self._last or self._taken()
        if len(last[0]) < 2:
            raise UsageError(f"{_NAME} saw fewer than two images: it learns nothing")
        with progress.stage("aligning by optimal transport", 1) as stage:
            unpaired = self._unpaired(last)
            if self._images is None or self._rows is None:
                self._aligned = self._searched(unpaired)
            else:
                self._aligned = unpaired.regress(self._images[self._rows])
                self._settle(unpaired, last[0])
            stage.advance(note=f"cost {self._costs[-1]:.3g}")
        self._other_mode = OtherMode(last[0])

    def _taken(self) -> _Epoch:
        """Return what is kept as one, and keep it no longer."""
        sent, labels = self._recent.seen()
        self._recent.clear()
        told = self.parameters.labels and self.view.task == "classification"
        return sent, labels if told else None

    def _unpaired(self, epoch: _Epoch) -> Unpaired:
        sent, labels = epoch
        pair = None if labels is None else (labels, self.view.public_labels)
        return Unpaired(sent, self.view.public_images, pair)

    def _searched(self, unpaired: Unpaired) -> Aligned:
        found = unpaired.align(self.parameters, self.generator)
        self._costs, self._hurried = found.costs, found.hurried
        return found

    def _follow(self, epoch: _Epoch) -> None:
        """Find the images of the epochs before in an epoch; search once there are two."""
        sent, labels = epoch
        before, self._last = self._last, epoch
        if before is None:
            return
        if self._images is None:
            found = self._searched(self._unpaired(before))
            unpaired = self._unpaired(epoch)
            guess = found.reconstruct(align(sent, before[0]))
            self._images = unpaired.settle(self.parameters, guess).reconstruct(sent)
        self._rows = self._links.follow(features_of(sent), labels)

    def _settle(self, unpaired: Unpaired, sent: Tensor) -> None:
        """Search near the regression that was followed, and stay with it if that leads away."""
        assert self._aligned is not None, "it was followed"
        followed = self._aligned.reconstruct(sent)
        settled = unpaired.settle(self.parameters, followed)
        moved = (settled.reconstruct(sent) - followed).square().mean()
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
        if self._aligned is None:
            return []
        cost = {"half": self._hurried, "full": self._costs[-1]}
        return [Convergence(measured_on="cost of transport", **cost)]
