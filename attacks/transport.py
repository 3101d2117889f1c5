"""Transport: a listening server aligns what it was sent with images of its own, without a pair.

The server follows the protocol and asks nothing. It keeps the last smashed data that crossed and
has images of a similar kind. A regression is searched for whose reconstructions are distributed
as these images, class by class where clients share labels: plans of optimal transport and ridge
regressions take turns; see :mod:`splitsec.plugins.toolbox.transport`. It knows nothing of the
client's architecture, and trains no network. Smashed data that were not sent in training are
first aligned with those that were, if they decode to unlikely images.

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
from splitsec.plugins.toolbox.alignment import OtherMode
from splitsec.plugins.toolbox.transport import Aligned, TransportParameters, Unpaired
from splitsec.plugins.view import View
from splitsec.progress import Progress

_NAME = "attack 'transport'"


class TransportAttackParameters(TransportParameters):
    """Parameters of the alignment."""

    labels: bool = Field(
        True, description="compare images of one class only, where clients share labels"
    )
    remembered: int = Field(
        512, ge=2, description="last images whose smashed data are kept to compare with"
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
        self._kept: list[tuple[Tensor, Tensor | None]] = []

    @classmethod
    def threat_model(cls, parameters: TransportAttackParameters) -> ThreatModel:
        """Declare images of its own and, if they are used, labels."""
        return ThreatModel(
            public_images=True, public_labels=parameters.labels, labels=parameters.labels
        )

    def observe(self, exchange: Exchange) -> None:
        """Keep the last smashed data, with their labels."""
        self._kept.append((exchange.message.smashed, exchange.message.labels))
        while sum(len(one) for one, _ in self._kept[1:]) >= self.parameters.remembered:
            del self._kept[0]

    def fit(self, progress: Progress) -> None:
        """Search for the regression."""
        smashed = torch.cat([one for one, _ in self._kept]) if self._kept else torch.empty(0)
        if len(smashed) < 2:
            raise UsageError(f"{_NAME} saw fewer than two images: it learns nothing")
        with progress.stage("aligning by optimal transport", 2) as stage:
            unpaired = Unpaired(smashed, self.view.public_images, self._labels())
            stage.advance()
            self._aligned = unpaired.align(self.parameters, self.generator)
            stage.advance(note=f"cost {self._aligned.costs[-1]:.3g}")
        self._other_mode = OtherMode(smashed)
        self._kept.clear()

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Predict the images of N smashed data, (N, C, H, W)."""
        if self._aligned is None:
            raise PluginError(f"{_NAME} has no weights before fit()")
        if self.view.in_training:
            return self._aligned.reconstruct(smashed)
        return self._other_mode.reconstruct(self._aligned.reconstruct, smashed)

    def curves(self) -> dict[str, list[float]]:
        """Return the cost of transport over the rounds."""
        return {} if self._aligned is None else {"cost of transport": self._aligned.costs}

    def convergence(self) -> list[Convergence]:
        """Return the cost of transport after a search of half as many rounds and after the whole.

        The cost says how well the distributions agree, and not whether the images are right.
        """
        if self._aligned is None:
            return []
        half, full = self._aligned.hurried, self._aligned.costs[-1]
        return [Convergence(measured_on="cost of transport", half=half, full=full)]

    def _labels(self) -> tuple[Tensor, Tensor] | None:
        """Return the labels of the smashed data and of the public images, if both are known."""
        if not self.parameters.labels or self.view.task != "classification":
            return None
        sent = [labels for _, labels in self._kept if labels is not None]
        return (torch.cat(sent), self.view.public_labels) if len(sent) == len(self._kept) else None
