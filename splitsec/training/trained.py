"""The trained session: its clients and weights, and the releases, queries and pairs from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from splitsec.data.parts import Part
from splitsec.errors import blaming
from splitsec.plugins.target import SplitModel
from splitsec.training.client import Client
from splitsec.training.loop import Session
from splitsec.training.traffic import Traffic

_AT_ONCE = 64  # images in evaluation mode


@dataclass
class TrainedSession:
    """A finished session, held by the framework only.

    Attributes:
        model: all parts of the split model; after an active attack the server's is untrained.
        clients: the private side; they share one model.
        session: its course.
        losses: the task loss of every exchange, if a client or the honest server computed it.
        traffic: what was last sent of each training victim.
        epochs: measure to its value on validation images after each epoch, or empty.
        honest: whether the server was the honest one.
    """

    model: SplitModel
    clients: list[Client]
    session: Session
    losses: list[float]
    traffic: Traffic
    epochs: dict[str, list[float]] = field(default_factory=dict)
    honest: bool = True

    def release(self, images: Tensor, purpose: str) -> Tensor:
        """Return released smashed data of images of shape (N, C, H, W), in evaluation mode.

        The images are divided among the clients, in order.
        """
        return torch.cat(
            [
                client.sender.send_in_evaluation(block, purpose).smashed
                for client, block in self._shares(images)
            ]
        )

    @torch.no_grad()
    def predict(self, images: Tensor, purpose: str) -> tuple[Tensor, Tensor]:
        """Return released smashed data and the model's outputs, in evaluation mode.

        Args:
            images: shape (N, C, H, W), in [0, 1]; divided among the clients, in order.
            purpose: seeds a randomised defense, together with the session's seed.
        """
        modules = [part for part in self.model if part is not None]
        modes = [module.training for module in modules]
        for module in modules:
            module.eval()
        sent, outputs = [], []
        for client, block in self._shares(images):
            encoded = client.sender.send_in_evaluation(block, purpose)
            sent.append(encoded.smashed)
            split = [torch.split(values, _AT_ONCE) for values in (encoded.smashed, *encoded.skips)]
            outputs += [self._finish(*batch) for batch in zip(*split, strict=True)]
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)
        return torch.cat(sent), torch.cat(outputs)

    @torch.no_grad()
    def features(self, smashed: Tensor) -> Tensor:
        """Return what the server's own network makes of smashed data, in evaluation mode.

        Args:
            smashed: (N, *smashed_shape).
        """
        server = self.model.server
        training = server.training
        with blaming(self.clients[0].sender.names[0], "the server's forward() in evaluation"):
            server.eval()
            made = [server(batch) for batch in torch.split(smashed, _AT_ONCE)]
            server.train(training)
        return torch.cat(made)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the encoder's weights."""
        state = self.model.client.state_dict()
        return {name: value.detach().clone() for name, value in state.items()}

    def answers(self) -> Callable[[Tensor, int], Tensor]:
        """Return a function that answers queries; it holds only the first client's sender.

        It takes images of shape (N, C, H, W), in [0, 1], and the number of earlier queries.
        """
        sender = self.clients[0].sender
        return lambda images, asked: sender.send_in_evaluation(images, f"query {asked}").smashed

    def pairs(self) -> dict[str, Tensor]:
        """Return all private ``images``, and their released smashed data as ``smashed``."""
        images = [client.part.all() for client in self.clients]
        smashed = [
            client.sender.send_in_evaluation(own, "pairs").smashed
            for client, own in zip(self.clients, images, strict=True)
        ]
        return {"images": torch.cat(images), "smashed": torch.cat(smashed)}

    def _finish(self, smashed: Tensor, *skips: Tensor) -> Tensor:
        with blaming(self.clients[0].sender.names[0], "forward() in evaluation"):
            outputs: Tensor = self.model.server(smashed)
            if self.model.head is not None:
                outputs = self.model.head(outputs, *skips)
        return outputs

    def _shares(self, images: Tensor) -> list[tuple[Client, Tensor]]:
        shares = torch.tensor_split(images, len(self.clients))
        return [(one, share) for one, share in zip(self.clients, shares, strict=True) if len(share)]


def victim_images(private: Sequence[Part], victims: Sequence[tuple[int, int]]) -> Tensor:
    """Return the training victims' images, shape (N, C, H, W), in the order of ``victims``."""
    return torch.cat([private[client].batch([row]) for client, row in victims])
