"""Pseudo-client: a passive server trains an imitation of the client and inverts it.

After PCAT (Gao, Zhang, "PCAT: functionality and data stealing from split learning by
pseudo-client attack", USENIX Security 2023) and SDAR (Zhu et al., "Passive inference attacks on
split learning via adversarial regularization", NDSS 2025). It needs neither queries nor pairs: the
server follows the protocol, and trains a pseudo-client on public labelled images so that

- the server's own model, held fixed, classifies the pseudo-client's smashed data (PCAT), and
- these smashed data have the same distribution as the client's: for a critic that knows the labels
  (SDAR), and in their moments at each position of the map.

The moments are ours. Medical images have a fixed pose, so their mean is an image too, and the mean
map of smashed data is nearly the client's output for it: almost a pair, one per class if labels are
shared. A decoder that inverts the pseudo-client is then applied to the client's smashed data. The
imitation follows the last smashed data, so it is worse if the training keeps an earlier epoch's
client (``training.keep=best``).

The attack has the access of a plain honest-but-curious server: its own model, the labels that are
shared with it, labelled images of a similar kind, the client's architecture and a copy of its
defense. As in SDAR, the pseudo-client minimises the defense's penalty, and what it sends passes the
defense's release. PCAT and SDAR also try other architectures; this attack does not. Against a
U-shaped client it also trains a head.

PCAT's settings are the ``paper`` profile. SDAR trains its decoder together with its simulator and
with a second critic; here the decoder is trained afterwards, on pairs alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from splitsec.errors import DivergedError, PluginError, UsageError
from splitsec.plugins.attack import Attack
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.messages import Exchange
from splitsec.plugins.target import Encoding, encode
from splitsec.plugins.toolbox.gradient_penalty import gradient_penalty
from splitsec.plugins.toolbox.inversion import Inversion, InversionParameters, invert
from splitsec.plugins.toolbox.optimization import half_cosine, make_optimizer, set_rate
from splitsec.plugins.toolbox.queries import Pairs, keep_some
from splitsec.plugins.view import View
from splitsec.progress import Progress
from splitsec.shapes import require_map

from .critic import ConditionalCritic, LabelledCritic
from .observed import Observation


class PseudoClientParameters(InversionParameters):
    """Parameters of the pseudo-client attack; PCAT's values are those of the ``paper`` profile."""

    client_lr: float = Field(
        1e-3, gt=0, allow_inf_nan=False, description="Adam, pseudo-client; papers 1e-3"
    )
    critic_lr: float = Field(1e-3, gt=0, allow_inf_nan=False, description="Adam, critic")
    client_batch_size: int = Field(
        64,
        ge=2,
        description="public images per update of the pseudo-client, of which eight of a class "
        "for its mean to be compared; PCAT the client's",
    )
    every: int = Field(
        0, ge=0, description="exchanges per update during the session; 0: none; papers 1"
    )
    afterwards: int = Field(
        400, ge=0, description="updates against the final server model; papers 0"
    )
    align_labels: bool = Field(
        True, description="draw public images with the private ones' labels, where shared"
    )
    task: float = Field(
        0.1, ge=0, allow_inf_nan=False, description="weight of the task's loss; papers 1"
    )
    moments: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="weight of the distance of moments; papers 0"
    )
    critic: float = Field(
        0.03, ge=0, allow_inf_nan=False, description="weight of the critic; PCAT 0, SDAR 0.02"
    )
    adaptive: bool = Field(
        True,
        description="the pseudo-client's smashed data pass a copy of the defense, whose penalty "
        "it minimises too; PCAT without, SDAR with",
    )
    remembered: int = Field(
        512, ge=2, description="last images whose smashed data are kept to compare with"
    )

    @model_validator(mode="after")
    def _refuse_no_training(self) -> PseudoClientParameters:
        if not (self.every or self.afterwards):
            raise ValueError("every=0 and afterwards=0 would never train the pseudo-client")
        if not (self.task or self.moments or self.critic):
            raise ValueError("task=0, moments=0 and critic=0 leave nothing to train for")
        return self


_BETAS = (0.5, 0.9)
_PENALTY = 10.0
_LOWEST_RATE = 0.05  # at the end of fit(), relative


class PseudoClient(Attack[PseudoClientParameters]):
    """Trains an imitation of the client and inverts it."""

    Parameters: ClassVar[type[PseudoClientParameters]] = PseudoClientParameters
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "standard": {"afterwards": 2000},
        "paper": {
            "client_batch_size": 32,
            "every": 1,
            "afterwards": 0,
            "task": 1.0,
            "moments": 0.0,
            "critic": 0.0,
            "adaptive": False,
        },
    }

    def __init__(
        self, parameters: PseudoClientParameters, view: View, generator: torch.Generator
    ) -> None:
        super().__init__(parameters, view, generator)
        if len(view.public_images) < 4:
            raise UsageError("attack 'pseudo-client' needs public images; there are too few")
        self._encoder, _, self._head = view.client_architecture
        self._defense = view.defense if parameters.adaptive else None
        modules = [self._encoder] if self._head is None else [self._encoder, self._head]
        weights = [weight for module in modules for weight in module.parameters()]
        self._optimizer = _adam(weights, parameters.client_lr)
        aligned = parameters.align_labels and view.task == "classification" and not view.u_shaped
        self._classes = view.outputs if aligned else 0
        smashed = require_map(view.smashed_shape, "attack 'pseudo-client'")
        self._critic = view.device.put(ConditionalCritic(smashed, self._classes))
        self._critic_optimizer = _adam(self._critic.parameters(), parameters.critic_lr)
        self._kept: list[tuple[Tensor, Tensor | None]] = []
        self._seen = 0
        self._curves: dict[str, list[float]] = {
            "pseudo-client loss": [],
            "distance of moments": [],
            "critic loss": [],
        }
        self._inversion: Inversion | None = None

    @classmethod
    def threat_model(cls, parameters: PseudoClientParameters) -> ThreatModel:
        """Declare the access of an honest-but-curious server with labelled images of its own."""
        return ThreatModel(
            public_images=True,
            public_labels=True,
            labels=parameters.align_labels,
            server_model=True,
            client_architecture=True,
            defense=parameters.adaptive,
        )

    def observe(self, exchange: Exchange) -> None:
        """Keep the smashed data, and train the pseudo-client against the current server model."""
        message = exchange.message
        self._seen += 1
        self._kept.append((message.smashed, message.labels if self._classes else None))
        while sum(len(smashed) for smashed, _ in self._kept[1:]) >= self.parameters.remembered:
            del self._kept[0]
        if self.parameters.every and self._seen % self.parameters.every == 0:
            self._update(self._observed(), self.view.server_model)

    def fit(self, progress: Progress) -> None:
        """Finish the pseudo-client, and train a decoder on its smashed data of public images."""
        given = self.parameters
        observed, server = self._observed(), self.view.server_model
        name = "training the pseudo-client"
        saved = self.checkpoints.stage(
            name,
            encoder=self._encoder,
            head=self._head,
            defense=self._defense,
            optimizer=self._optimizer,
            critic=self._critic,
            critic_optimizer=self._critic_optimizer,
            generator=self.generator,
            curves=self._curves,
        )
        with progress.stage(name, given.afterwards) as stage:
            stage.advance(saved.position)
            for step in range(saved.position, given.afterwards):
                fade = half_cosine(step, given.afterwards, _LOWEST_RATE)
                set_rate(self._optimizer, given.client_lr * fade)
                set_rate(self._critic_optimizer, given.critic_lr * fade)
                loss = self._update(observed, server)
                stage.advance(note=f"loss {loss:.3f}")
                saved.reached(step + 1)
        self._inversion = invert(
            given,
            Pairs(
                self.view.public_images,
                self._imitate(),
                keep_some(len(self.view.public_images), given.kept, self.generator),
            ),
            self.generator,
            progress,
            "training the pseudo-client's decoder",
            self.checkpoints,
        )

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Decode smashed data of N images to (N, C, H, W)."""
        if self._inversion is None:
            raise PluginError("attack 'pseudo-client' has no decoder before fit()")
        return self._inversion.reconstruct(smashed)

    def curves(self) -> dict[str, list[float]]:
        """Return the pseudo-client's losses per update, and the decoder's."""
        decoder = {} if self._inversion is None else self._inversion.curves
        return {name: curve for name, curve in self._curves.items() if curve} | decoder

    def convergence(self) -> list[Convergence]:
        """Return the decoder's errors, and the imitation's distance from what was observed."""
        found = []
        if self._curves["distance of moments"]:
            found.append(
                Convergence.of_last("distance of moments", self._curves["distance of moments"])
            )
        if self._inversion is not None:
            found.append(self._inversion.convergence(" of the pseudo-client"))
        return found

    def _observed(self) -> Observation:
        smashed = [smashed for smashed, _ in self._kept]
        if sum(len(part) for part in smashed) < 2:
            raise UsageError("attack 'pseudo-client' saw fewer than two images: it learns nothing")
        labels = [labels for _, labels in self._kept if labels is not None]
        return Observation(
            smashed, torch.cat(labels) if labels else None, self.view.public_labels, self._classes
        )

    def _update(self, observed: Observation, server: nn.Module) -> float:
        """Take one step of the pseudo-client and one of the critic; return the former's loss."""
        given = self.parameters
        self._encoder.train()
        batch = observed.draw(given.client_batch_size, self.generator)
        encoded, penalty = self._encode(self.view.public_images[batch.public])
        task = self._task(server, encoded, batch.public)
        self._curves["pseudo-client loss"].append(task.item())
        loss = given.task * task + penalty
        if given.moments or given.critic:
            unit = observed.unit(encoded.smashed)
            made = observed.standardise(encoded.smashed, unit)
        if given.moments:
            distance = observed.distance(made, unit, batch.labels)
            self._curves["distance of moments"].append(distance.item())
            loss = loss + given.moments * distance
        if given.critic:
            loss = loss - given.critic * self._critic(made, batch.labels).mean()
        if not torch.isfinite(loss):
            step = len(self._curves["pseudo-client loss"])
            raise DivergedError(f"the pseudo-client's loss is not finite in update {step}")
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        if given.critic:
            private = observed.standardise(observed.smashed[batch.private], unit)
            self._train_critic(private, made.detach(), batch.labels)
        return loss.item()

    def _encode(self, images: Tensor) -> tuple[Encoding, Tensor | float]:
        """Encode images as a client with the defense does, and return its penalty too."""
        encoded = encode(self._encoder, images)
        if self._defense is None:
            return encoded, 0.0
        penalty = self._defense.penalty(images, encoded.smashed) if self._encoder.training else None
        released = self._defense.release(images, encoded.smashed)
        return encoded._replace(smashed=released), 0.0 if penalty is None else penalty

    def _task(self, server: nn.Module, encoded: Encoding, rows: Tensor) -> Tensor:
        """Return the task's loss of the server's outputs; the server's weights are held fixed."""
        outputs = server.eval().requires_grad_(False)(encoded.smashed)
        if self._head is not None:
            outputs = self._head(outputs, *encoded.skips)
        loss: Tensor = self.view.loss(outputs, self.view.public_labels[rows])
        return loss

    def _train_critic(self, private: Tensor, made: Tensor, labels: Tensor | None) -> None:
        """Take one step of the critic; a penalty keeps its slope along the maps near one."""
        critic = LabelledCritic(self._critic, labels)
        loss = critic(made).mean() - critic(private).mean()
        self._curves["critic loss"].append(loss.item())
        penalty = gradient_penalty(critic, private, made, "sample", self.generator)
        self._critic_optimizer.zero_grad()
        torch.autograd.backward(loss + _PENALTY * penalty)
        self._critic_optimizer.step()

    @torch.no_grad()
    def _imitate(self) -> Tensor:
        """Return the pseudo-client's smashed data of all public images, (N, c, h, w)."""
        self._encoder.eval()
        parts = torch.split(self.view.public_images, self.parameters.client_batch_size)
        return torch.cat([self._encode(part)[0].smashed for part in parts])


def _adam(weights: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    return make_optimizer("adam", weights, rate, betas=_BETAS)
