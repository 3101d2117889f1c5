"""Threat models: what an attack declares that it sees and does."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ThreatModel(BaseModel):
    """What an attacker can see and do. Everything defaults to the weaker attacker.

    Every attacker sees the smashed data that crosses the wire and knows the shapes.

    Attributes:
        active: the attack takes the server's place and answers with gradients of its own.
        public_images: images from the attacker's own, disjoint data.
        public_labels: labels of those images.
        labels: the labels that clients share with the server during training, if they do.
        server_model: the honest server's network, as it is after each exchange (passive).
        defense_spec: name and parameters of the defense, not its secrets.
        client_architecture: a freshly initialised copy of the client's networks.
        client_weights: the weights of the trained client.
        queries: the trained client's released smashed data for images of the attacker's choice.
        pairs: an oracle: private images with their smashed data.
        client_settings: the server dictates the client's batch size and learning rate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    active: bool = False
    public_images: bool = False
    public_labels: bool = False
    labels: bool = False
    server_model: bool = False
    defense_spec: bool = False
    client_architecture: bool = False
    client_weights: bool = False
    queries: bool = False
    pairs: bool = False
    client_settings: bool = False

    @property
    def oracle(self) -> bool:
        """Whether the attack uses what no split-learning server has."""
        return self.pairs or self.queries or self.client_weights


class Access(BaseModel):
    """What an attack used.

    Attributes:
        queries: images for which it asked the client's smashed data.
        public_images: public images that it was given.
        pairs: private pairs that it was given.
    """

    model_config = ConfigDict(extra="forbid")

    queries: int = 0
    public_images: int = 0
    pairs: int = 0
