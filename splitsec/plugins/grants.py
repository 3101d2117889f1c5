"""The threat policy: one table of what an attacker may see and do.

A field of :class:`ThreatModel` with its :class:`Grant` is the whole entry of a grant. Views
(:mod:`.view`), attacks in processes of their own (:mod:`splitsec.isolation`), records and the
sentences that a person reads are made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from splitsec.versioned import VersionedModel

if TYPE_CHECKING:  # torch is slow to import, and who reads a record needs none of it
    from torch import Tensor, nn

Time = Literal["start", "training", "end"]
"""When a grant exists: before any session, while the honest one runs, or once it has ended."""

Form = Literal["tensor", "tensors", "values", "model", "defense", "network", "answers"]
"""What a grant is: a tensor; tensors by name; JSON values; a split model; a defense; a network that
is copied each time it is asked for; or answers to images of the attacker's choice."""


class ImageSet(Protocol):
    """Images and their labels."""

    def all(self) -> Tensor:
        """Return the images, shape (N, C, H, W), in [0, 1]."""

    def targets(self, rows: Sequence[int]) -> Tensor:
        """Return labels of shape (N,), or masks of shape (N, 1, H, W)."""

    def __len__(self) -> int:
        """Return how many images there are."""


class TrainedClients(Protocol):
    """The clients once a session has ended; what leaves them passes the door."""

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the encoder's weights."""

    def answers(self) -> Callable[[Tensor, int], Tensor]:
        """Return what gives released smashed data of an attacker's images."""

    def pairs(self) -> dict[str, Tensor]:
        """Return private ``images``, and what is released of them as ``smashed``."""


@dataclass(frozen=True)
class Holdings:
    """What the private side holds, and grants are made of.

    Attributes:
        public: the attacker's own images.
        defense: name and parameters of the defense.
        fresh_model: gives a split model with weights of its own.
        fresh_defense: gives a defense that has begun, with random numbers of its own.
        server: the honest server's network, while its session runs.
        clients: the clients, once a session has ended.
    """

    public: ImageSet
    defense: Mapping[str, Any]
    fresh_model: Callable[[], Any]
    fresh_defense: Callable[[], Any]
    server: nn.Module | None = None
    clients: TrainedClients | None = None


@dataclass(frozen=True)
class Grant:
    """One thing that an attacker may have.

    Attributes:
        words: what it is, as a sentence lists it.
        time: when it exists, or None for what the session itself carries or allows.
        form: what it is, or None for what is no value of the view.
        give: makes it of what the private side holds at that time.
        real: whether a server of split learning has it. What no server has is an oracle.
    """

    words: str
    time: Time | None = None
    form: Form | None = None
    give: Callable[[Any], Any] | None = None
    real: bool = True


class ThreatModel(VersionedModel):
    """What an attacker sees and does. By default it sees and does nothing extra.

    Every attacker sees the smashed data that cross the wire and knows the shapes of images and
    smashed data.

    Attributes:
        active: the attack takes the server's place and answers with gradients of its own.
        listens: an active attack also sees an honest session; a passive one always does.
        public_images: images from the attacker's own, disjoint data.
        public_labels: labels of those images.
        labels: the labels that clients share with the server during training, if they do: in
            messages, and of training victims while they are reconstructed.
        sample_ids: which of a client's images each smashed data in a message is of, by an index
            that is the same in every epoch.
        server_model: the honest server's network, as it is after each exchange (passive).
        defense_spec: name and parameters of the defense, not its secrets.
        defense: an object of the same defense with the same parameters, not a client's own.
        client_architecture: a freshly initialised copy of the client's networks.
        client_weights: the weights of the trained client.
        queries: the trained client's released smashed data for images of the attacker's choice.
        pairs: an oracle: private images with their smashed data.
        client_settings: the server dictates the client's batch size and learning rate.

    Examples:
        >>> threat = ThreatModel(public_images=True, queries=True)
        >>> threat.oracle, [name for name, _ in threat.grants()]
        (True, ['public_images', 'queries'])

        A name that does not exist is refused:

        >>> ThreatModel(private_images=True)
        Traceback (most recent call last):
        pydantic_core._pydantic_core.ValidationError: 1 validation error for ThreatModel...
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    later: ClassVar[tuple[str, ...]] = ("listens", "defense", "sample_ids")

    active: bool = False
    listens: bool = False
    public_images: Annotated[
        bool,
        Grant(
            "images of its own of a similar kind",
            "start",
            "tensor",
            lambda held: held.public.all(),
        ),
    ] = False
    public_labels: Annotated[
        bool,
        Grant(
            "labels of its own images",
            "start",
            "tensor",
            lambda held: held.public.targets(range(len(held.public))),
        ),
    ] = False
    labels: Annotated[bool, Grant("the labels that clients share")] = False
    sample_ids: Annotated[
        bool, Grant("which image each smashed data is of, in every epoch", real=False)
    ] = False
    server_model: Annotated[
        bool,
        Grant("the honest server's network", "training", "network", lambda held: held.server),
    ] = False
    defense_spec: Annotated[
        bool,
        Grant(
            "the defense's name and parameters", "start", "values", lambda held: dict(held.defense)
        ),
    ] = False
    defense: Annotated[
        bool,
        Grant(
            "a copy of the defense, without its secrets",
            "start",
            "defense",
            lambda held: held.fresh_defense(),
        ),
    ] = False
    client_architecture: Annotated[
        bool,
        Grant("the client's architecture", "start", "model", lambda held: held.fresh_model()),
    ] = False
    client_weights: Annotated[
        bool,
        Grant(
            "the trained client's weights",
            "end",
            "tensors",
            lambda held: held.clients.weights(),
            real=False,
        ),
    ] = False
    queries: Annotated[
        bool,
        Grant(
            "the client's answers to images of its choice",
            "end",
            "answers",
            lambda held: held.clients.answers(),
            real=False,
        ),
    ] = False
    pairs: Annotated[
        bool,
        Grant(
            "private images with their smashed data",
            "end",
            "tensors",
            lambda held: held.clients.pairs(),
            real=False,
        ),
    ] = False
    client_settings: Annotated[
        bool, Grant("control of the client's batch size and learning rate")
    ] = False

    def grants(self) -> Iterator[tuple[str, Grant]]:
        """Yield the name and the entry of each declared grant, in the order of the table."""
        for name, grant in GRANTS.items():
            if getattr(self, name):
                yield name, grant

    @property
    def oracle(self) -> bool:
        """Whether the attack has access that a real split-learning server does not have."""
        return any(not grant.real for _, grant in self.grants())


GRANTS: dict[str, Grant] = {
    name: entry
    for name, field in ThreatModel.model_fields.items()
    for entry in field.metadata
    if isinstance(entry, Grant)
}
"""Every grant by the name of its field, in the order of the table."""


def given(threat: ThreatModel, time: Time, holdings: Holdings) -> dict[str, Any]:
    """Return what a threat model grants at one time, by name; nothing else is even made.

    Args:
        threat: what the attack declares.
        time: which of its grants.
        holdings: what the private side holds by then.
    """
    return {
        name: grant.give(holdings)
        for name, grant in threat.grants()
        if grant.time == time and grant.give is not None
    }


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
