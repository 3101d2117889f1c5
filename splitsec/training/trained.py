"""The trained session: its clients and weights, and the releases, queries and pairs from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from splitsec.data.parts import Part
from splitsec.devices import Precision, computing, in_batches
from splitsec.errors import blaming
from splitsec.plugins.target import SplitModel
from splitsec.training.client import SessionClient
from splitsec.training.isolated_clients import IsolatedSide
from splitsec.training.loop import Session
from splitsec.training.release import AT_ONCE
from splitsec.training.sides import ClientSide, ReleaseSeeds
from splitsec.training.traffic import Traffic


@dataclass
class TrainedSession:
    """A finished session, held by the framework only.

    Attributes:
        model: all parts of the split model; after an active attack the server's is untrained.
        side: the clients, which share one model. If they have a process of their own, the model
            here has their weights once the session has ended.
        session: its course.
        losses: the task loss of every exchange, if a client or the honest server computed it.
        traffic: what was last sent of each training victim.
        epochs: measure to its value on validation images after each epoch, or empty.
        honest: whether the server was the honest one.
        seeds: seeds of what randomised defenses draw outside of training.
        precision: in which the server computes.
    """

    model: SplitModel
    side: ClientSide | IsolatedSide
    seeds: ReleaseSeeds
    session: Session
    losses: list[float]
    traffic: Traffic
    epochs: dict[str, list[float]] = field(default_factory=dict)
    honest: bool = True
    precision: Precision = "float32"

    @property
    def clients(self) -> Sequence[SessionClient]:
        """The clients, in order."""
        return self.side.clients

    def close(self) -> None:
        """End the clients' process, if they have one."""
        self.side.close()

    def release(self, images: Tensor, purpose: str) -> Tensor:
        """Return released smashed data of images of shape (N, C, H, W), in evaluation mode.

        The images are divided among the clients, in order.
        """
        return torch.cat(
            [
                client.sender.release(block, self.seeds.of(client.index, purpose))
                for client, block in self._shares(images)
            ]
        )

    def predict(self, images: Tensor, purpose: str) -> tuple[Tensor, Tensor]:
        """Return released smashed data and the model's outputs, in evaluation mode.

        Args:
            images: shape (N, C, H, W), in [0, 1]; divided among the clients, in order.
            purpose: seeds a randomised defense, together with the session's seed.
        """
        made = [
            client.predict(block, self.seeds.of(client.index, purpose), self.features)
            for client, block in self._shares(images)
        ]
        sent, outputs = zip(*made, strict=True)
        return torch.cat(sent), torch.cat(outputs)

    def features(self, smashed: Tensor) -> Tensor:
        """Return what the server's own network makes of smashed data, in evaluation mode.

        Args:
            smashed: (N, *smashed_shape).
        """
        name = self.clients[0].sender.names[0]
        return features_of(self.model.server, smashed, name, self.precision)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the encoder's weights."""
        state = self.model.client.state_dict()
        return {name: value.detach().clone() for name, value in state.items()}

    def answers(self) -> Callable[[Tensor, int], Tensor]:
        """Return a function that answers queries; it holds only the first client's sender.

        It takes images of shape (N, C, H, W), in [0, 1], and the number of earlier queries.
        """
        sender, seeds = self.clients[0].sender, self.seeds
        return lambda images, asked: sender.release(images, seeds.of(0, f"query {asked}"))

    def pairs(self) -> dict[str, Tensor]:
        """Return all private ``images``, and their released smashed data as ``smashed``."""
        images = [client.part.all() for client in self.clients]
        smashed = [
            client.sender.release(own, self.seeds.of(client.index, "pairs"))
            for client, own in zip(self.clients, images, strict=True)
        ]
        return {"images": torch.cat(images), "smashed": torch.cat(smashed)}

    def _shares(self, images: Tensor) -> list[tuple[SessionClient, Tensor]]:
        shares = torch.tensor_split(images, len(self.clients))
        return [(one, share) for one, share in zip(self.clients, shares, strict=True) if len(share)]


@torch.no_grad()
def features_of(
    server: nn.Module, smashed: Tensor, name: str, precision: Precision = "float32"
) -> Tensor:
    """Return what a server's network makes of smashed data, in evaluation mode.

    Args:
        server: the network.
        smashed: (N, *smashed_shape).
        name: of the target, for errors.
        precision: in which it computes.
    """
    training = server.training
    with blaming(name, "the server's forward() in evaluation"):
        server.eval()
        with computing(precision, smashed):
            made = in_batches(server, smashed, AT_ONCE)
        server.train(training)
    outputs = torch.cat(made)
    return outputs if precision == "float32" else outputs.float()


def victim_images(private: Sequence[Part], victims: Sequence[tuple[int, int]]) -> Tensor:
    """Return the training victims' images, shape (N, C, H, W), in the order of ``victims``."""
    return torch.cat([private[client].batch([row]) for client, row in victims])
