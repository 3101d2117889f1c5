"""Pseudo-client: a passive server trains a client of its own against its own successive models.

After PCAT (Gao, Zhang, "PCAT: functionality and data stealing from split learning by
pseudo-client attack", USENIX Security 2023). It needs neither queries nor pairs: the server
follows the protocol, and after each exchange trains a pseudo-client on public labelled images so
that its current model, held fixed, classifies them. The pseudo-client's smashed data come to
resemble the client's, and a decoder that inverts them is turned on the client's.

It has what a plain honest-but-curious server has: its own model, the labels that are shared with
it (public batches then have the same classes as the private batch, as in PCAT), labelled images
of a similar kind, and the client's architecture. PCAT also tries other architectures; this does
not. Against a U-shaped client it trains a head of its own as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from splitsec.attack import Attack
from splitsec.errors import PluginError, UsageError
from splitsec.inversion import Inversion, InversionParameters, invert
from splitsec.progress import Progress
from splitsec.target import encode
from splitsec.threat import ThreatModel, View
from splitsec.wire import Exchange


class PseudoClientParameters(InversionParameters):
    """Parameters of the pseudo-client attack."""

    client_lr: float = Field(
        1e-3, gt=0, allow_inf_nan=False, description="Adam, pseudo-client; paper 1e-3"
    )
    every: int = Field(1, ge=1, description="exchanges per update of the pseudo-client; paper 1")
    afterwards: int = Field(
        100, ge=0, description="updates against the final server model; paper 0"
    )
    align_labels: bool = Field(
        True, description="draw public batches with the private batch's labels, where shared"
    )


class PseudoClient(Attack[PseudoClientParameters]):
    """Trains a stand-in for the client and inverts that."""

    Parameters: ClassVar[type[PseudoClientParameters]] = PseudoClientParameters
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"afterwards": 0}}

    def __init__(
        self, parameters: PseudoClientParameters, view: View, generator: torch.Generator
    ) -> None:
        super().__init__(parameters, view, generator)
        if len(view.public_images) < 4:
            raise UsageError("attack 'pseudo-client' needs public images; there are too few")
        self._encoder, _, self._head = view.client_architecture
        modules = [self._encoder] if self._head is None else [self._encoder, self._head]
        weights = [weight for module in modules for weight in module.parameters()]
        self._optimizer = torch.optim.Adam(weights, lr=parameters.client_lr, fused=True)
        self._seen = 0
        self._batch_size = 0
        self._losses: list[float] = []
        self._inversion: Inversion | None = None

    @classmethod
    def threat_model(cls, parameters: PseudoClientParameters) -> ThreatModel:
        """Declare what an honest-but-curious server with labelled images of its own has."""
        return ThreatModel(
            public_images=True,
            public_labels=True,
            labels=parameters.align_labels,
            server_model=True,
            client_architecture=True,
        )

    def observe(self, exchange: Exchange) -> None:
        """Train the pseudo-client against the server model as it is now."""
        self._seen += 1
        self._batch_size = len(exchange.message.smashed)
        if self._seen % self.parameters.every == 0:
            self._update(self.view.server_model, exchange.message.labels)

    def fit(self, progress: Progress) -> None:
        """Finish the pseudo-client, and train a decoder on what it makes of public images."""
        server = self.view.server_model
        with progress.stage("training the pseudo-client", self.parameters.afterwards) as stage:
            for _ in range(self.parameters.afterwards):
                self._update(server, None)
                stage.advance(note=f"loss {self._losses[-1]:.3f}")
        self._encoder.eval()
        images = self.view.public_images
        with torch.no_grad():
            smashed = [encode(self._encoder, part).smashed for part in torch.split(images, 64)]
        self._inversion = invert(
            self.parameters, images, torch.cat(smashed), self.generator, progress,
            "training the pseudo-client's decoder", self.checkpoints,
        )  # fmt: skip

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Decode smashed data of shape (N, c, h, w)."""
        if self._inversion is None:
            raise PluginError("attack 'pseudo-client' has no decoder before fit()")
        return self._inversion.reconstruct(smashed)

    def curves(self) -> dict[str, list[float]]:
        """Return the pseudo-client's task loss per update, and the decoder's losses."""
        decoder = {} if self._inversion is None else self._inversion.curves
        return {"pseudo-client loss": self._losses, **decoder}

    def _update(self, server: nn.Module, labels: Tensor | None) -> None:
        """Take one step of the pseudo-client; the server's weights are not changed."""
        rows = self._rows(labels)
        server.requires_grad_(False)
        encoded = encode(self._encoder.train(), self.view.public_images[rows])
        outputs = server(encoded.smashed)
        if self._head is not None:
            outputs = self._head(outputs, *encoded.skips)
        loss = self.view.loss(outputs, self.view.public_labels[rows])
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        self._losses.append(loss.item())

    def _rows(self, labels: Tensor | None) -> Tensor:
        """Draw public images: with the given labels where there are such, else any."""
        public = self.view.public_labels
        count = self._batch_size or 32
        if labels is None or not self.parameters.align_labels:
            return torch.randint(len(public), (count,), generator=self.generator)
        rows = []
        for label, wanted in enumerate(torch.bincount(labels).tolist()):
            fitting = (public == label).nonzero().flatten()
            if wanted and len(fitting):
                drawn = torch.randint(len(fitting), (wanted,), generator=self.generator)
                rows.append(fitting[drawn])
        return torch.cat(rows) if rows else self._rows(None)
