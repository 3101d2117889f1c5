"""A stand-in for the client, which a listening server trains on images of its own and inverts.

Several attacks share it. They differ in how they make the stand-in's smashed data like those that
were observed, and in how they train the decoder. It carries the clients' defense, as an adaptive
attacker's must: what it sends passes the release, and it minimises the penalty.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from splitsec.errors import DivergedError, PluginError, SessionEnded, UsageError
from splitsec.plugins.attack import Attack
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.defense import Defense, Epochs
from splitsec.plugins.messages import Exchange
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import Encoding, encode
from splitsec.plugins.toolbox.inversion import Inversion, InversionParameters, invert
from splitsec.plugins.toolbox.optimization import half_cosine, make_optimizer, set_rate
from splitsec.plugins.toolbox.queries import Pairs, keep_some
from splitsec.plugins.toolbox.recent import Recent, Seen
from splitsec.plugins.view import View
from splitsec.progress import Progress

_FEWEST = 4
_FEWEST_SEEN = 2
_LOWEST_RATE = 0.05  # at the end of fit(), relative
_BETAS = (0.9, 0.999)

Betas = tuple[float, float]
"""Of Adam."""


class StandInParameters(Parameters):
    """When a stand-in is trained; an attack's parameters extend it."""

    client_batch_size: int = Field(64, ge=2, description="public images per update")
    every: int = Field(
        0, ge=0, description="exchanges per update during the session; 0: none; papers 1"
    )
    afterwards: int = Field(
        400, ge=0, description="updates against the final server model; papers 0"
    )
    adaptive: bool = Field(
        True,
        description="the stand-in's smashed data pass a copy of the defense, whose penalty it "
        "minimises too",
    )
    remembered: int = Field(
        512, ge=2, description="last images whose smashed data are kept to compare with"
    )

    @model_validator(mode="after")
    def _refuse_no_training(self) -> StandInParameters:
        if not (self.every or self.afterwards):
            raise ValueError("every=0 and afterwards=0 would never train the stand-in")
        return self


P = TypeVar("P", bound=StandInParameters)


class StandIn:
    """An encoder that imitates the client's, with its head and the clients' defense.

    Args:
        encoder: maps images to smashed data, and skips if there is a head that needs them.
        head: the client's head in the U-shaped configuration, else None.
        defense: an object of the clients' defense, or None for an attacker that ignores it.
        images: number of images that it is trained on, of which the defense counts epochs.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module | None,
        defense: Defense[Any] | None,
        images: int,
    ) -> None:
        self.encoder, self.head, self.defense = encoder, head, defense
        self._epochs = Epochs(images)

    @property
    def networks(self) -> list[nn.Module]:
        """All that its optimizer trains: the encoder, the head and the defense's networks."""
        own = [self.encoder] if self.head is None else [self.encoder, self.head]
        return own if self.defense is None else [*own, *self.defense.networks]

    def send(self, images: Tensor) -> Encoding:
        """Return what the stand-in sends of images (N, C, H, W), and what it keeps for its head."""
        return self._released(images, encode(self.encoder, images))

    def encode(
        self, images: Tensor, labels: Tensor | None = None
    ) -> tuple[Encoding, Tensor | float]:
        """Return what :meth:`send` does of a training batch, and the defense's penalty.

        Args:
            images: shape (N, C, H, W).
            labels: their labels, or None for an attacker that has none.

        Returns:
            Both can be differentiated.
        """
        if self.defense is not None:
            with suppress(SessionEnded):  # the attacker's copy goes on
                self._epochs.before(self.defense, len(images))
        encoded, penalty = encode(self.encoder, images), None
        if self.defense is not None:
            penalty = self.defense.penalty(images, encoded.smashed, labels)
        return self._released(images, encoded), 0.0 if penalty is None else penalty

    def _released(self, images: Tensor, encoded: Encoding) -> Encoding:
        if self.defense is None:
            return encoded
        return encoded._replace(smashed=self.defense.release(images, encoded.smashed))

    def outputs(self, server: nn.Module, encoded: Encoding) -> Tensor:
        """Return the model's outputs with a server's network, whose weights are held fixed."""
        outputs: Tensor = server.eval().requires_grad_(False)(encoded.smashed)
        return outputs if self.head is None else self.head(outputs, *encoded.skips)

    @torch.no_grad()
    def imitate(self, images: Tensor, at_once: int = 256) -> Tensor:
        """Return the trained stand-in's smashed data of images (N, C, H, W)."""
        self.encoder.eval()
        return torch.cat([self.send(part).smashed for part in torch.split(images, at_once)])


class StandInAttack(Attack[P]):
    """Base class of attacks that train a stand-in while they listen, afterwards, or both.

    A subclass calls :meth:`begin` and builds its further networks in its constructor, and overrides
    :meth:`update`, and :meth:`observed` if it compares with more than smashed data and labels.

    Attributes:
        stand_in: the imitation of the client.
        recent: what was observed last.
        optimizer: changes the weights of the stand-in.
        faded: all optimizers with their learning rates, which fade in :meth:`fit`.
        losses: one curve per loss, with one value per update.
    """

    what: ClassVar[str]
    """What the stand-in is called in texts."""

    distances: ClassVar[tuple[str, ...]] = ()
    """Names of losses that say how far the stand-in is from what was observed."""

    stand_in: StandIn
    optimizer: torch.optim.Optimizer

    def __init__(self, parameters: P, view: View, generator: torch.Generator) -> None:
        super().__init__(parameters, view, generator)
        if len(view.public_images) < _FEWEST:
            raise UsageError(
                f"the {self.what} needs {_FEWEST} public images or more; this data set leaves it "
                f"{len(view.public_images)}"
            )
        self.recent = Recent(parameters.remembered)
        self.faded: list[tuple[torch.optim.Optimizer, float]] = []
        self.losses: dict[str, list[float]] = {}

    def begin(
        self, encoder: nn.Module, head: nn.Module | None, rate: float, betas: Betas = _BETAS
    ) -> None:
        """Make the stand-in of an encoder and a head, which Adam trains with a rate."""
        defense = self.view.defense if self.parameters.adaptive else None
        self.stand_in = StandIn(encoder, head, defense, len(self.view.public_images))
        self.optimizer = self.adam(self.stand_in.networks, rate, betas)

    def adam(
        self, networks: Iterable[nn.Module], rate: float, betas: Betas = _BETAS
    ) -> torch.optim.Optimizer:
        """Return an optimizer of networks, whose rate fades in :meth:`fit`."""
        weights = [weight for network in networks for weight in network.parameters()]
        optimizer = make_optimizer("adam", weights, rate, betas=betas)
        self.faded.append((optimizer, rate))
        return optimizer

    def observed(self, seen: Seen) -> Any:
        """Return what updates compare with; by default what was seen last, as it is."""
        return seen

    @abstractmethod
    def update(self, observed: Any, server: nn.Module | None) -> float:
        """Take one step with all networks, and return the stand-in's loss.

        Args:
            observed: see :meth:`observed`.
            server: the honest server's network as it is now; None unless it is granted.
        """

    def observe(self, exchange: Exchange) -> None:
        """Keep the smashed data, and train against the current server's network."""
        self.recent.add(exchange.message.smashed, exchange.message.labels)
        every = self.parameters.every
        if every and (exchange.message.step + 1) % every == 0:
            self._step(self.observed(self.recent.seen()), self._server())

    def _server(self) -> nn.Module | None:
        return self.view.server_model if self.view.threat.server_model else None

    def _step(self, observed: Any, server: nn.Module | None) -> float:
        loss = self.update(observed, server)
        if not math.isfinite(loss):
            raise DivergedError(f"the {self.what}'s loss is not finite")
        return loss

    def fit(self, progress: Progress) -> None:
        """Finish the stand-in against what was observed last, with learning rates that fade."""
        seen, server = self.recent.seen(), self._server()
        if len(seen.smashed) < _FEWEST_SEEN:
            raise UsageError(f"the {self.what} saw fewer than two images: it learns nothing")
        observed = self.observed(seen)
        name, count = f"training the {self.what}", self.parameters.afterwards
        saved = self.checkpoints.stage(name, attack=self)
        with progress.stage(name, count) as stage:
            stage.advance(saved.position)
            for step in range(saved.position, count):
                fade = half_cosine(step, count, _LOWEST_RATE)
                for optimizer, rate in self.faded:
                    set_rate(optimizer, rate * fade)
                loss = self._step(observed, server)
                stage.advance(note=f"loss {loss:.3f}")
                saved.reached(step + 1)

    def log(self, name: str, loss: Tensor) -> None:
        """Add a value to the curve of a loss."""
        self.losses.setdefault(name, []).append(loss.item())

    def curves(self) -> dict[str, list[float]]:
        """Return the losses per update."""
        return dict(self.losses)


class InvertedStandInParameters(StandInParameters, InversionParameters):
    """When a stand-in is trained, and how the decoder that inverts it is."""


Q = TypeVar("Q", bound=InvertedStandInParameters)


class InvertedStandIn(StandInAttack[Q]):
    """Base class of attacks that invert the stand-in by a decoder once it has been trained."""

    _inversion: Inversion | None = None

    def fit(self, progress: Progress) -> None:
        """Finish the stand-in, and train a decoder on its smashed data of public images."""
        super().fit(progress)
        given, public = self.parameters, self.view.public_images
        made = self.stand_in.imitate(public, given.client_batch_size)
        self._inversion = invert(
            given,
            Pairs(public, made, keep_some(len(public), given.kept, self.generator)),
            self.generator,
            progress,
            f"training the {self.what}'s decoder",
            self.checkpoints,
        )

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Decode smashed data of N images to (N, C, H, W)."""
        if self._inversion is None:
            raise PluginError(f"the {self.what} has no decoder before fit()")
        return self._inversion.reconstruct(smashed)

    def curves(self) -> dict[str, list[float]]:
        """Return the losses per update, and the decoder's per epoch."""
        decoder = {} if self._inversion is None else self._inversion.curves
        return super().curves() | decoder

    def convergence(self) -> list[Convergence]:
        """Return the distance from what was observed, and the decoder's errors."""
        found = [
            Convergence.of_last(name, self.losses[name])
            for name in self.distances
            if self.losses.get(name)
        ]
        if self._inversion is not None:
            found.append(self._inversion.convergence(f" of the {self.what}"))
        return found
