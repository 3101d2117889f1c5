"""The view: everything that an attack can see, as its threat model declares it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from torch import Tensor, nn

from splitsec.devices import CPU, Device
from splitsec.errors import PluginError, ThreatModelViolation
from splitsec.plugins.defense import Defense
from splitsec.plugins.grants import GRANTS, Access, ThreatModel
from splitsec.plugins.source import Task
from splitsec.plugins.target import Loss, SplitModel
from splitsec.shapes import Shape, SmashedShape


@dataclass(frozen=True)
class ServerKnowledge:
    """What every server knows of the session that it takes part in.

    Attributes:
        image_shape: shape of one image.
        smashed_shape: shape of one image's smashed data.
        outputs: number of outputs of the model: classes, or 1 for a mask.
        clients: number of clients.
        exchanges_per_epoch: exchanges in which an honest session shows each image once.
        task: what the model is trained for.
        loss: the task's loss as a function of outputs and targets.
        u_shaped: whether clients keep the model's head and the labels.
        server_architecture: a freshly initialised copy of the server's own network.
        trains: whether the session trains the model. Else it is used as it is, and the gradients
            that cross are zero.
        labels_shared: whether clients send labels.

    Examples:
        >>> import torch
        >>> from splitsec import Shape
        >>> known = ServerKnowledge(
        ...     image_shape=Shape(3, 8, 8), smashed_shape=Shape(16, 4, 4), outputs=2, clients=1,
        ...     exchanges_per_epoch=16, task="classification", u_shaped=False,
        ...     loss=torch.nn.functional.cross_entropy, server_architecture=torch.nn.Flatten(),
        ... )
        >>> print(known.smashed_shape)
        16x4x4
    """

    image_shape: Shape
    smashed_shape: SmashedShape
    outputs: int
    clients: int
    exchanges_per_epoch: int
    task: Task
    loss: Loss
    u_shaped: bool
    server_architecture: nn.Module
    trains: bool = True
    labels_shared: bool = True


class View:
    """Everything that one attack can see: ``self.view`` in an attack.

    The framework builds it from the threat model that the attack declares. It stores only what
    the threat model grants. Asking for anything else raises ``ThreatModelViolation``. Every grant
    is an attribute, and so is everything of ``ServerKnowledge``.

    Args:
        attack: name of the attack, for errors.
        threat: the threat model that it declares.
        known: what every server knows; its attributes are attributes of the view.
        granted: what the threat model grants at the start, by name.
        device: where what it grants is put.

    Attributes:
        image_shape: shape of one image.
        smashed_shape: shape of one image's smashed data.
        outputs: number of outputs of the model: classes, or 1 for a mask.
        clients: number of clients.
        exchanges_per_epoch: exchanges in which an honest session shows each image once.
        task: what the model is trained for.
        loss: the task's loss as a function of outputs and targets.
        u_shaped: whether clients keep the model's head and the labels.
        server_architecture: a freshly initialised copy of the server's own network.
        trains: whether the session trains the model, or uses it as it is.
        labels_shared: whether clients send labels.
        in_training: whether the smashed data of the current call of ``reconstruct`` were sent in
            training, or by the trained client. Every server knows which.
        device: where all tensors and networks of the view are, and what crosses the wire. An
            attack puts its own networks there.

    ``labels`` is different for each call of ``reconstruct``, see :attr:`labels`.

    Examples:
        >>> import torch
        >>> from splitsec import Shape, ThreatModel
        >>> from splitsec.plugins.view import ServerKnowledge
        >>> known = ServerKnowledge(
        ...     image_shape=Shape(3, 8, 8), smashed_shape=Shape(16, 4, 4), outputs=2, clients=1,
        ...     exchanges_per_epoch=16, task="classification", u_shaped=False,
        ...     loss=torch.nn.functional.cross_entropy, server_architecture=torch.nn.Flatten(),
        ... )
        >>> images = torch.rand(10, 3, 8, 8)
        >>> view = View("mine", ThreatModel(public_images=True), known, {"public_images": images})
        >>> view.public_images.shape
        torch.Size([10, 3, 8, 8])
        >>> view.query(view.public_images)
        Traceback (most recent call last):
        splitsec.errors.ThreatModelViolation: attack 'mine' asked for 'queries', which its ...
    """

    part_of_no_state: ClassVar[bool] = True  # an attack holds it, and is saved without it

    _never_granted: ClassVar[frozenset[str]] = frozenset(
        {"private_images", "private_labels", "private", "validation", "held_out", "victims"}
    )

    def __init__(
        self,
        attack: str,
        threat: ThreatModel,
        known: ServerKnowledge,
        granted: Mapping[str, Any],
        device: Device = CPU,
    ) -> None:
        self._threat = threat
        self.device = device
        self.in_training = False
        self.image_shape = known.image_shape
        self.smashed_shape = known.smashed_shape
        self.outputs = known.outputs
        self.clients = known.clients
        self.exchanges_per_epoch = known.exchanges_per_epoch
        self.task = known.task
        self.loss = known.loss
        self.u_shaped = known.u_shaped
        self.server_architecture = known.server_architecture
        self.trains = known.trains
        self.labels_shared = known.labels_shared
        self._access = Access()
        self._attack = attack
        self._used: set[str] = set()
        self._granted: dict[str, Any] = {}
        self.add({"labels": None, **granted})
        if threat.public_images:
            self._access.public_images = len(self._granted["public_images"])

    @property
    def threat(self) -> ThreatModel:
        """The threat model that the attack declared."""
        return self._threat

    @property
    def access(self) -> Access:
        """How much of its grants the attack has used so far, as a copy."""
        return self._access.model_copy()

    @property
    def used(self) -> frozenset[str]:
        """Names of the grants that the attack has used so far."""
        return frozenset(self._used)

    def add(self, granted: Mapping[str, Any]) -> None:
        """Add grants that exist only later, such as the trained client's weights.

        The framework calls this. What the threat model does not declare is left out.
        """
        declared = {name: value for name, value in granted.items() if getattr(self._threat, name)}
        self._granted |= self.device.put(declared)

    def show_victims(self, labels: Tensor | None, in_training: bool) -> None:
        """Show what a server knows of the victims of the next call.

        The framework calls this before ``reconstruct`` and ``reconstruct_from``.

        Args:
            labels: as clients sent them, shape (N,); None if they sent none. They are shown only
                if the threat model declares labels.
            in_training: whether their smashed data were sent in training.
        """
        self.in_training = in_training
        if self._threat.labels:
            self.add({"labels": labels})

    def deny(self, what: str) -> NoReturn:
        """Raise ``ThreatModelViolation`` for something that the threat model does not declare."""
        raise ThreatModelViolation(
            f"attack {self._attack!r} asked for {what!r}, which its threat model does not "
            f"declare; if a server of that kind has it, declare ThreatModel({what}=True)"
        )

    def take(self, name: str) -> Any:
        """Return a grant and count its use; the attribute of that name does the same.

        Raises:
            ThreatModelViolation: the threat model does not declare it.
            PluginError: it does not exist yet.
        """
        if not getattr(self._threat, name):
            self.deny(name)
        if name not in self._granted:
            raise PluginError(
                f"attack {self._attack!r} asked for {name!r} too early; it is granted when the "
                "client has been trained, in fit()"
            )
        self._used.add(name)
        value = self._granted[name]
        if name == "pairs":
            self._access.pairs = len(value["images"])
        return copy.deepcopy(value) if GRANTS[name].form == "network" else value

    @property
    def public_images(self) -> Tensor:
        """The attacker's own images, shape (N, C, H, W), in [0, 1]."""
        images: Tensor = self.take("public_images")
        return images

    @property
    def public_labels(self) -> Tensor:
        """Labels of the attacker's own images, shape (N,), or their masks, (N, 1, H, W)."""
        labels: Tensor = self.take("public_labels")
        return labels

    @property
    def labels(self) -> Tensor | None:
        """Labels of the N victims that ``reconstruct`` is called with, shape (N,), or None.

        Training victims have those that their clients sent. It is None for held-out victims, whose
        labels are never sent, where clients keep their labels, and outside these calls; in
        ``answer`` and ``observe`` a message has its own.

        Raises:
            ThreatModelViolation: the threat model does not declare labels.
        """
        labels: Tensor | None = self.take("labels")
        return labels

    @property
    def defense_spec(self) -> dict[str, Any]:
        """Name and parameters of the defense: ``{"name": ..., "parameters": {...}}``."""
        spec: dict[str, Any] = self.take("defense_spec")
        return spec

    @property
    def defense(self) -> Defense[Any]:
        """An object of the clients' defense that has begun, with random numbers of its own.

        An adaptive attack uses its ``release`` and ``penalty`` in whatever it trains.
        """
        defense: Defense[Any] = self.take("defense")
        return defense

    @property
    def client_architecture(self) -> SplitModel:
        """A freshly initialised split model, with the client's encoder and head."""
        model: SplitModel = self.take("client_architecture")
        return model

    @property
    def client_weights(self) -> dict[str, Tensor]:
        """Weights of the trained client's encoder; available in ``fit``."""
        weights: dict[str, Tensor] = self.take("client_weights")
        return weights

    @property
    def server_model(self) -> nn.Module:
        """A copy of the honest server's network as it is now."""
        model: nn.Module = self.take("server_model")
        return model

    @property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """N private images (N, C, H, W) and their smashed data: an oracle; available in ``fit``."""
        pairs: dict[str, Tensor] = self.take("pairs")
        return pairs["images"], pairs["smashed"]

    def query(self, images: Tensor) -> Tensor:
        """Ask the trained client for the released smashed data of chosen images.

        Args:
            images: shape (N, C, H, W), in [0, 1].

        Returns:
            Smashed data, shape (N, *smashed_shape).

        Raises:
            ThreatModelViolation: the threat model does not declare queries.
            PluginError: the client has not been trained yet; ask in ``fit``.
        """
        answer: Callable[[Tensor, int], Tensor] = self.take("queries")
        asked = self._access.queries
        self._access.queries += len(images)
        return answer(images, asked)

    def __getattr__(self, name: str) -> Any:
        if name in self._never_granted:
            raise ThreatModelViolation(
                f"attack {self._attack!r} asked for {name!r}; no threat model grants it"
            )
        if name in GRANTS and GRANTS[name].form is not None:
            return self.take(name)
        raise AttributeError(f"a View has no attribute {name!r}")
