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

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.toolbox.gradient_penalty import gradient_penalty
from splitsec.plugins.toolbox.optimization import take_step
from splitsec.plugins.toolbox.recent import Seen
from splitsec.plugins.toolbox.stand_in import InvertedStandIn, InvertedStandInParameters
from splitsec.plugins.view import View
from splitsec.shapes import require_map

from .critic import ConditionalCritic, LabelledCritic
from .observed import Observation


class PseudoClientParameters(InvertedStandInParameters):
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

    @model_validator(mode="after")
    def _refuse_no_loss(self) -> PseudoClientParameters:
        if not (self.task or self.moments or self.critic):
            raise ValueError("task=0, moments=0 and critic=0 leave nothing to train for")
        return self


_BETAS = (0.5, 0.9)
_PENALTY = 10.0
_DISTANCE = "distance of moments"


class PseudoClient(InvertedStandIn[PseudoClientParameters]):
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
    what = "pseudo-client"
    distances = (_DISTANCE,)

    def __init__(
        self, parameters: PseudoClientParameters, view: View, generator: torch.Generator
    ) -> None:
        super().__init__(parameters, view, generator)
        encoder, _, head = view.client_architecture
        self.begin(encoder, head, parameters.client_lr, _BETAS)
        aligned = parameters.align_labels and view.task == "classification" and view.labels_shared
        self._classes = view.outputs if aligned else 0
        smashed = require_map(view.smashed_shape, "attack 'pseudo-client'")
        self._critic = view.device.put(ConditionalCritic(smashed, self._classes))
        self._critic_optimizer = self.adam([self._critic], parameters.critic_lr, _BETAS)

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

    def observed(self, seen: Seen) -> Observation:
        """Return what is compared with; labels are used where they are aligned."""
        labels = seen.labels if self._classes else None
        return Observation(seen.smashed, labels, self.view.public_labels, self._classes)

    def update(self, observed: Observation, server: nn.Module | None) -> float:
        """Take one step of the pseudo-client and one of the critic; return the former's loss."""
        assert server is not None, "the threat model declares the server's network"
        given = self.parameters
        self.stand_in.encoder.train()
        batch = observed.draw(given.client_batch_size, self.generator)
        labels = self.view.public_labels[batch.public]
        encoded, penalty = self.stand_in.encode(self.view.public_images[batch.public], labels)
        task = self.view.loss(self.stand_in.outputs(server, encoded), labels)
        self.log("pseudo-client loss", task)
        loss = given.task * task + penalty
        if given.moments or given.critic:
            unit = observed.unit(encoded.smashed)
            made = observed.standardise(encoded.smashed, unit)
        if given.moments:
            distance = observed.distance(made, unit, batch.labels)
            self.log(_DISTANCE, distance)
            loss = loss + given.moments * distance
        if given.critic:
            loss = loss - given.critic * self._critic(made, batch.labels).mean()
        take_step(self.optimizer, loss)
        if given.critic:
            private = observed.standardise(observed.smashed[batch.private], unit)
            self._train_critic(private, made.detach(), batch.labels)
        return loss.item()

    def _train_critic(self, private: Tensor, made: Tensor, labels: Tensor | None) -> None:
        """Take one step of the critic; a penalty keeps its slope along the maps near one."""
        critic = LabelledCritic(self._critic, labels)
        loss = critic(made).mean() - critic(private).mean()
        self.log("critic loss", loss)
        penalty = gradient_penalty(critic, private, made, "sample", self.generator)
        take_step(self._critic_optimizer, loss + _PENALTY * penalty)
