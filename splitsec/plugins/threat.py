"""Threat models: what an attack declares to see and to do."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ThreatModel(BaseModel):
    """What an attacker sees and does. By default it sees and does nothing extra.

    Every attacker sees the smashed data that cross the wire and knows the shapes of images and
    smashed data.

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

    Examples:
        >>> threat = ThreatModel(public_images=True, queries=True)
        >>> threat.public_images, threat.active, threat.oracle
        (True, False, True)

        A name that does not exist is refused:

        >>> ThreatModel(private_images=True)
        Traceback (most recent call last):
        pydantic_core._pydantic_core.ValidationError: 1 validation error for ThreatModel...
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
        """Whether the attack has access that a real split-learning server does not have."""
        return self.pairs or self.queries or self.client_weights


class Access(BaseModel):
    """How much of its grants an attack used; records hold it.

    Attributes:
        queries: number of images for which it asked the client for smashed data.
        public_images: number of public images that it received.
        pairs: number of private images that it received with their smashed data.

    Examples:
        >>> Access(queries=500)
        Access(queries=500, public_images=0, pairs=0)
    """

    model_config = ConfigDict(extra="forbid")

    queries: int = 0
    public_images: int = 0
    pairs: int = 0
