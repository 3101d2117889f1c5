"""The view: everything that an attack can see, as its threat model declares it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from splitsec.errors import PluginError, ThreatModelViolation
from splitsec.plugins.threat import Access, ThreatModel
from splitsec.shapes import Shape, SmashedShape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from splitsec.plugins.source import Task
    from splitsec.plugins.target import SplitModel


class View:
    """Everything that one attack can see: ``self.view`` in an attack.

    The framework builds it from the threat model that the attack declares. It stores only what
    the threat model grants. Asking for anything else raises ``ThreatModelViolation``.

    Attributes:
        image_shape: shape of one image.
        smashed_shape: shape of one image's smashed data.
        outputs: number of outputs of the model: classes, or 1 for a mask.
        clients: number of clients.
        task: what the model is trained for.
        loss: the task's loss as a function of outputs and targets.
        u_shaped: whether clients keep the model's head and the labels.
        server_architecture: a freshly initialised copy of the server's own network.

    Examples:
        >>> import torch
        >>> from splitsec import Shape, ThreatModel
        >>> view = View(
        ...     attack="mine", threat=ThreatModel(public_images=True),
        ...     image_shape=Shape(3, 8, 8), smashed_shape=Shape(16, 4, 4), outputs=2, clients=1,
        ...     task="classification", loss=torch.nn.functional.cross_entropy, u_shaped=False,
        ...     server_architecture=torch.nn.Flatten(),
        ...     grants={"public_images": lambda: torch.rand(10, 3, 8, 8)},
        ... )
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

    def __init__(  # noqa: PLR0913 - what every server knows
        self,
        *,
        attack: str,
        threat: ThreatModel,
        image_shape: Shape,
        smashed_shape: SmashedShape,
        outputs: int,
        clients: int,
        task: Task,
        loss: Callable[[Tensor, Tensor], Tensor],
        u_shaped: bool,
        server_architecture: nn.Module,
        grants: Mapping[str, Callable[[], Any]],
    ) -> None:
        """Store what ``threat`` declares, and drop the rest.

        Args:
            attack: name of the attack, for errors.
            threat: the threat model that it declares.
            image_shape: shape of one image.
            smashed_shape: shape of one image's smashed data: map, tokens or vector.
            outputs: outputs of the model: classes, or 1 for a mask.
            clients: number of clients.
            task: what the model is trained for.
            loss: the task's loss as a function of outputs and targets.
            u_shaped: whether clients keep the model's head and the labels.
            server_architecture: a freshly initialised copy of the server's own network.
            grants: from a grant's name to a function that returns what is granted. It is called
                only if the threat model declares the grant.
        """
        self._threat = threat
        self.image_shape = image_shape
        self.smashed_shape = smashed_shape
        self.outputs = outputs
        self.clients = clients
        self.task = task
        self.loss = loss
        self.u_shaped = u_shaped
        self.server_architecture = server_architecture
        self._access = Access()
        self._attack = attack
        self._used: set[str] = set()
        self._granted = {name: give() for name, give in grants.items() if getattr(threat, name)}
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

    def grant(self, name: str, value: Any) -> None:
        """Add a grant that exists only later, such as the trained client's weights.

        The framework calls this. It does nothing if the threat model does not declare ``name``.
        """
        if getattr(self._threat, name):
            self._granted[name] = value

    def deny(self, what: str) -> NoReturn:
        """Raise ``ThreatModelViolation`` for something that the threat model does not declare."""
        raise ThreatModelViolation(
            f"attack {self._attack!r} asked for {what!r}, which its threat model does not "
            f"declare; if a server of that kind has it, declare ThreatModel({what}=True)"
        )

    def _get(self, name: str) -> Any:
        if not getattr(self._threat, name):
            self.deny(name)
        if name not in self._granted:
            raise PluginError(
                f"attack {self._attack!r} asked for {name!r} too early; it is granted when the "
                "client has been trained, in fit()"
            )
        self._used.add(name)
        return self._granted[name]

    @property
    def public_images(self) -> Tensor:
        """The attacker's own images, shape (N, C, H, W), in [0, 1]."""
        images: Tensor = self._get("public_images")
        return images

    @property
    def public_labels(self) -> Tensor:
        """Labels of the attacker's own images, shape (N,), or their masks, (N, 1, H, W)."""
        labels: Tensor = self._get("public_labels")
        return labels

    @property
    def defense_spec(self) -> dict[str, Any]:
        """Name and parameters of the defense: ``{"name": ..., "parameters": {...}}``."""
        spec: dict[str, Any] = self._get("defense_spec")
        return spec

    @property
    def client_architecture(self) -> SplitModel:
        """A freshly initialised split model, with the client's encoder and head."""
        model: SplitModel = self._get("client_architecture")
        return model

    @property
    def client_weights(self) -> dict[str, Tensor]:
        """Weights of the trained client's encoder; available in ``fit``."""
        weights: dict[str, Tensor] = self._get("client_weights")
        return weights

    @property
    def server_model(self) -> nn.Module:
        """A copy of the honest server's network as it is now, for passive attacks."""
        copy: Callable[[], nn.Module] = self._get("server_model")
        return copy()

    @property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Private images (N, C, H, W) and their smashed data (N, c, h, w); available in ``fit``.

        No real server has them: they are an oracle.
        """
        pairs: tuple[Tensor, Tensor] = self._get("pairs")
        self._access.pairs = len(pairs[0])
        return pairs

    def query(self, images: Tensor) -> Tensor:
        """Return the smashed data that the trained client releases for chosen images.

        Every image counts as one query.

        Args:
            images: shape (N, C, H, W), in [0, 1].

        Returns:
            Smashed data, shape (N, *smashed_shape).

        Raises:
            ThreatModelViolation: the threat model does not declare queries.
            PluginError: the client has not been trained yet; ask in ``fit``.
        """
        answer: Callable[[Tensor, int], Tensor] = self._get("queries")
        asked = self._access.queries
        self._access.queries += len(images)
        return answer(images, asked)

    def __getattr__(self, name: str) -> NoReturn:
        if name in self._never_granted:
            raise ThreatModelViolation(
                f"attack {self._attack!r} asked for {name!r}; no threat model grants it"
            )
        raise AttributeError(f"a View has no attribute {name!r}")
