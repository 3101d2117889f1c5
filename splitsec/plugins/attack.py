"""Attacks: what a curious or malicious server does with what crosses the wire."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from splitsec.checkpoint import Checkpoints
from splitsec.errors import PluginError
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.threat import ThreatModel
from splitsec.plugins.view import View
from splitsec.progress import Progress

P = TypeVar("P", bound=Parameters)


class Hijacking(NamedTuple):
    """How an active attack runs its session.

    Attributes:
        exchanges: batches that it keeps the client training for.
        batch_size: dictated batch size, or None for the client's own.
        learning_rate: dictated learning rate of the client, or None for the client's own.
    """

    exchanges: int
    batch_size: int | None = None
    learning_rate: float | None = None


class Attack(ABC, Generic[P]):
    """An attack on split learning.

    A passive attack overrides ``observe`` (optional), ``fit`` and ``reconstruct``; an active
    one (``ThreatModel(active=True)``) overrides ``hijacking``, ``answer``, ``fit`` (optional)
    and ``reconstruct``. The framework calls them in that order, scores the reconstructions, and
    never lets an attack score itself.

    Whatever an attack keeps in its attributes while a session runs is saved with the session,
    so that a killed one goes on; one that builds networks on its way defines ``rebuild(state)``,
    see :mod:`splitsec.state`. A long ``fit`` saves itself with ``self.checkpoints.stage``.

    Attributes:
        Parameters: the parameter class.
        reconstructs: False for a stand-in that is not scored, so that utility alone is measured.
        profiles: parameter defaults that differ under a profile, for example
            ``{"paper": {"iterations": 10_000}}``.
    """

    Parameters: ClassVar[type[Parameters]] = Parameters
    reconstructs: ClassVar[bool] = True
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, parameters: P, view: View, generator: torch.Generator) -> None:
        """Store what the attack works with; subclasses build their networks after this.

        Args:
            parameters: the attack's parameters.
            view: what its threat model grants.
            generator: the attack's own source of random numbers. torch's global generator is
                seeded anew before each method is called.
        """
        self.parameters = parameters
        self.view = view
        self.generator = generator
        self.checkpoints = Checkpoints()
        self._stand_in = view.server_architecture

    @classmethod
    @abstractmethod
    def threat_model(cls, parameters: P) -> ThreatModel:
        """Declare what the attack sees and does with these parameters."""

    def hijacking(self) -> Hijacking:
        """Say how long the active session lasts and what the server dictates."""
        raise PluginError(f"{type(self).__name__} is active but does not override hijacking()")

    def features(self, message: Message) -> Tensor:
        """Send features to a client that keeps its model's head (active attacks, U-shaped).

        By default an untrained copy of the honest server's network makes them: their shape is
        right, and the client's head has something to train on.

        Args:
            message: smashed data.

        Returns:
            Features of the shape that the honest server's would have.
        """
        with torch.no_grad():
            features: Tensor = self._stand_in(message.smashed)
        return features

    def answer(self, message: Message) -> Tensor:
        """Answer one message in the honest server's place (active attacks).

        Args:
            message: smashed data, labels if they are shared and declared, and the client's
                gradient with respect to the features if it keeps its model's head.

        Returns:
            The gradient to send, of the smashed data's shape.
        """
        raise PluginError(f"{type(self).__name__} is active but does not override answer()")

    def observe(self, exchange: Exchange) -> None:
        """See one exchange between a client and the honest server (passive attacks)."""

    def fit(self, progress: Progress) -> None:
        """Train after the session has ended; the client is frozen by now."""

    @abstractmethod
    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Reconstruct images from their smashed data.

        Args:
            smashed: shape (N, c, h, w), as it crossed the wire.

        Returns:
            Images of shape (N, C, H, W), in [0, 1].
        """

    def curves(self) -> dict[str, list[float]]:
        """Return the attack's training curves, name to one value per logged step."""
        return {}
