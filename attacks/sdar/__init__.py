"""SDAR: adversarial regularisation makes a simulator send what the client sends.

Zhu, Zhang, Wu, Zhang and Guo, "Passive inference attacks on split learning via adversarial
regularization", NDSS 2025; the authors' code is zhxchd/SDAR_SplitNN. A server that follows the
protocol trains, on labelled images of its own,

- a simulator of the client, such that the server's own network classifies its smashed data, and
  a critic that knows the labels takes them for the client's;
- a decoder that inverts the simulator, and whose reconstructions of the client's smashed data
  another critic takes for images of its own.

The losses of both critics are binary cross-entropies. The simulator carries the clients' defense:
it minimises the penalty, as in the paper's experiments against DCOR, and its smashed data pass the
release. If clients keep their labels, nothing is conditioned on labels, and the simulator also
trains a head, with some of its own labels at random.

The ``paper`` profile trains once per exchange, on the exchanges' own batches, and 20,000 times or
more. A short session has a few hundred exchanges; so by default the attack trains afterwards, on
what was observed last. A few hundred updates are not enough: expect it to recover little before it
has made a few thousand. The decoder is told the labels that training victims shared. Those of
others are never sent; the server's network predicts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.devices import beside
from splitsec.errors import PluginError
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.toolbox.alignment import OtherMode
from splitsec.plugins.toolbox.batching import sample
from splitsec.plugins.toolbox.optimization import take_step
from splitsec.plugins.toolbox.recent import Seen
from splitsec.plugins.toolbox.stand_in import StandInAttack, StandInParameters
from splitsec.plugins.view import View
from splitsec.progress import Progress
from splitsec.shapes import require_map

from .networks import Labelled, build_critic, build_decoder, build_image_critic


class SdarParameters(StandInParameters):
    """Parameters of SDAR; the paper's values for CIFAR-10 are those of the ``paper`` profile."""

    client_batch_size: int = Field(32, ge=2, description="images per update; paper 128")
    afterwards: int = Field(
        600, ge=0, description="updates against the final server model; paper 0"
    )
    client_lr: float = Field(
        1e-3, gt=0, allow_inf_nan=False, description="Adam, simulator; paper 1e-3"
    )
    decoder_lr: float = Field(
        5e-4, gt=0, allow_inf_nan=False, description="Adam, decoder; paper 5e-4"
    )
    critic_lr: float = Field(
        2e-5, gt=0, allow_inf_nan=False, description="Adam, critic of smashed data; paper 2e-5"
    )
    image_critic_lr: float = Field(
        5e-9, gt=0, allow_inf_nan=False, description="Adam, critic of images; paper 5e-9"
    )
    critic: float = Field(
        0.02, ge=0, allow_inf_nan=False, description="weight of the critic of smashed data"
    )
    image_critic: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="weight of the critic of images; 0: no such critic, which takes two thirds of "
        "the time; paper 1e-5",
    )
    flipped: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of its own labels that are drawn at random, where clients keep theirs; "
        "paper 0.1 to 0.4",
    )


class Sdar(StandInAttack[SdarParameters]):
    """Trains a simulator of the client and a decoder, each against a critic."""

    Parameters: ClassVar[type[SdarParameters]] = SdarParameters
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "standard": {"afterwards": 5000},
        "paper": {
            "client_batch_size": 128,
            "remembered": 2,
            "every": 1,
            "afterwards": 0,
            "image_critic": 1e-5,
        },
    }
    what = "simulator"

    def __init__(self, parameters: SdarParameters, view: View, generator: torch.Generator) -> None:
        super().__init__(parameters, view, generator)
        smashed = require_map(view.smashed_shape, "attack 'sdar'")
        encoder, _, head = view.client_architecture
        self.begin(encoder, head, parameters.client_lr)
        told = view.task == "classification" and view.labels_shared
        self._classes = view.outputs if told else 0
        networks: tuple[Labelled, ...] = view.device.put(
            (
                build_decoder(smashed, view.image_shape, self._classes),
                build_critic(smashed, self._classes),
                build_image_critic(view.image_shape, self._classes),
            )
        )
        self._decoder, self._critic, self._image_critic = networks
        rates = (parameters.decoder_lr, parameters.critic_lr, parameters.image_critic_lr)
        self._optimizers = [
            self.adam([network], rate) for network, rate in zip(networks, rates, strict=True)
        ]
        self._trained_server: nn.Module | None = None
        self._other_mode: OtherMode | None = None

    @classmethod
    def threat_model(cls, parameters: SdarParameters) -> ThreatModel:
        """Declare the access of an honest-but-curious server with labelled images of its own."""
        return ThreatModel(
            public_images=True,
            public_labels=True,
            labels=True,
            server_model=True,
            client_architecture=True,
            defense=parameters.adaptive,
        )

    def update(self, observed: Seen, server: nn.Module | None) -> float:
        """Take one step of the simulator, of the decoder and of both critics."""
        assert server is not None, "the threat model declares the server's network"
        sent, told = observed.draw(self.parameters.client_batch_size, self.generator)
        rows = sample(self.view.public_images, len(sent), self.generator)
        images, labels = self.view.public_images[rows], self._own_labels(rows)
        if not self._classes:
            told = None
        loss = self._simulate(images, labels, sent, told, server)
        self._decode(images, labels, sent, told)
        return loss

    def _own_labels(self, rows: Tensor) -> Tensor:
        """Return the labels of its own images, some of them at random if clients keep theirs."""
        labels = self.view.public_labels[rows]
        if not self.view.u_shaped or self.view.task != "classification":
            return labels
        random = torch.randint(self.view.outputs, labels.shape, generator=self.generator)
        flipped = torch.rand(len(labels), generator=self.generator) < self.parameters.flipped
        return torch.where(beside(flipped, labels), beside(random, labels), labels)

    def _simulate(
        self, images: Tensor, labels: Tensor, sent: Tensor, told: Tensor | None, server: nn.Module
    ) -> float:
        """Take one step of the simulator and of its critic; return the simulator's loss."""
        self.stand_in.encoder.train()
        encoded, penalty = self.stand_in.encode(images, labels)
        task = self.view.loss(self.stand_in.outputs(server, encoded), labels)
        self.log("simulator loss", task)
        weight = 1.0 if self.stand_in.defense is None else self.stand_in.defense.task_weight
        critic = self._critic.requires_grad_(False)
        fooled = _loss(critic(encoded.smashed, self._of(labels)), real=True)
        loss = weight * task + self.parameters.critic * fooled + penalty
        take_step(self.optimizer, loss)
        made = encoded.smashed.detach()
        critic.requires_grad_(True)
        real, fake = critic(sent, told), critic(made, self._of(labels))
        loss_of_critic = _loss(real, real=True) + _loss(fake, real=False)
        self.log("critic loss", loss_of_critic)
        take_step(self._optimizers[1], loss_of_critic)
        return loss.item()

    def _decode(self, images: Tensor, labels: Tensor, sent: Tensor, told: Tensor | None) -> None:
        """Take one step of the decoder and, if it has one, of its critic."""
        with torch.no_grad():
            made = self.stand_in.send(images).smashed
        known = self._of(labels)
        self._decoder.train()
        error = F.mse_loss(self._decoder(made, known), images)
        self.log("decoder loss", error)
        if not self.parameters.image_critic:
            take_step(self._optimizers[0], error)
            return
        decoded = self._decoder(sent, told)
        critic = self._image_critic.requires_grad_(False)
        fooled = _loss(critic(decoded, told), real=True)
        take_step(self._optimizers[0], error + self.parameters.image_critic * fooled)
        critic.requires_grad_(True)
        real, fake = critic(images, known), critic(decoded.detach(), told)
        take_step(self._optimizers[2], _loss(real, real=True) + _loss(fake, real=False))

    def _of(self, labels: Tensor) -> Tensor | None:
        """Return labels for networks that are told them, else None."""
        return labels if self._classes else None

    def fit(self, progress: Progress) -> None:
        """Finish all networks against what was observed last."""
        super().fit(progress)
        self._trained_server = self.view.server_model.eval()
        self._decoder.eval()
        self._other_mode = OtherMode(self.recent.seen().smashed)

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Decode smashed data of N images to (N, C, H, W)."""
        if self._other_mode is None:
            raise PluginError("attack 'sdar' has no decoder before fit()")
        if self.view.in_training:
            return self._decoded(smashed, self.view.labels)
        return self._other_mode.reconstruct(self._decoded, smashed)

    @torch.no_grad()
    def _decoded(self, smashed: Tensor, labels: Tensor | None = None) -> Tensor:
        """Decode smashed data, whose labels the server's network predicts if they are not told."""
        assert self._trained_server is not None, "fit() sets it with the other mode"
        if self._classes and labels is None:
            labels = self._trained_server(smashed).argmax(1)
        images: Tensor = self._decoder(smashed, labels if self._classes else None)
        return images

    def convergence(self) -> list[Convergence]:
        """Return the decoder's errors on the simulator's smashed data."""
        if "decoder loss" not in self.losses:
            return []
        return [Convergence.of_last("pairs of the simulator", self.losses["decoder loss"])]


def _loss(logits: Tensor, *, real: bool) -> Tensor:
    """Return the binary cross-entropy of a critic's logits (N, 1)."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
