"""The clients' side of a session: all clients, which share one model, in one process.

It is built from a plan (:class:`SidePlan`), in the process of the cell or in one of its own
(:mod:`.isolated_clients`), and gives the same numbers in both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from splitsec.data.parts import Part
from splitsec.devices import Device, Precision
from splitsec.plugins.defense import Defense, DefenseStart, Untrained, begin_defense
from splitsec.plugins.target import SplitModel, Target, split_target
from splitsec.randomness import derive_seed
from splitsec.shapes import Shape, SmashedShape, smashed_shape_of
from splitsec.training.client import Client
from splitsec.training.mixing import refuse_mixing
from splitsec.training.optimizers import make_optimizer
from splitsec.training.release import Sender
from splitsec.training.settings import Training


class PluginUse(BaseModel):
    """A plug-in with its parameters, for another process.

    Attributes:
        label: names it in errors.
        spec: its name or absolute path.
        sha256: the hash that its source must have.
        parameters: resolved parameters, as JSON values; paths are absolute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    spec: str
    sha256: str
    parameters: dict[str, Any]


class SidePlan(BaseModel):
    """Everything that the clients' side of a session is built from, except images and labels.

    It is the same for a session with an honest server and for one with an attack in its place,
    except for what such a server may dictate.

    Attributes:
        target: the target.
        defense: the defense.
        cut: index of the client's last layer.
        image: shape of one image.
        smashed: shape of one image's smashed data.
        outputs: number of outputs of the model.
        training: the clients' settings.
        learning_rate: learning rate that the server dictates, or None.
        precision: in which clients compute.
        fakes_labels: whether the defense may send other labels than the true ones.
        weights: seed of the model's initial weights.
        defenses: what the defense of each client begins with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: PluginUse
    defense: PluginUse
    cut: int
    image: tuple[int, int, int]
    smashed: tuple[int, ...]
    outputs: int
    training: Training
    learning_rate: float | None
    precision: Precision = "float32"
    fakes_labels: bool = False
    weights: int
    defenses: tuple[DefenseStart, ...]

    @property
    def names(self) -> tuple[str, str]:
        """Names of the target and of the defense, for errors."""
        return self.target.label, self.defense.label

    @property
    def label(self) -> str:
        """What the clients' side is called in errors."""
        return label_of(*self.names)

    @property
    def shapes(self) -> tuple[Shape, SmashedShape]:
        """Shapes of an image and of its smashed data."""
        return Shape(*self.image), smashed_shape_of(self.smashed)

    def untrained(self, target: Target[Any], device: Device) -> Untrained:
        """Return the whole model before training, which a defense may train by itself."""
        image = self.shapes[0]

        def split() -> SplitModel:
            return split_target(self.target.label, target, image, self.outputs, self.cut)

        return Untrained(split, target.loss, device)


def label_of(target: str, defense: str) -> str:
    """Return what the clients' side is called in errors, from the labels of both."""
    return f"the clients' side ({defense}, {target})"


class ReleaseSeeds(NamedTuple):
    """Seeds of what randomised defenses draw outside of training.

    A client that knew them could tell a query from a victim, so they depend on what no client
    knows, too.

    Attributes:
        sessions: a seed of each client's session.
        images: hash of all images and labels of the cell.
    """

    sessions: tuple[int, ...]
    images: str

    def of(self, client: int, purpose: str) -> int:
        """Return the seed of one use of a client."""
        draw = {"session": self.sessions[client], "images": self.images}
        return derive_seed("release", purpose=purpose, **draw)


class ClientSide:
    """The clients of a session in this process.

    Args:
        plan: what they are built from.
        model: the split model, of which they have the client's part and the head.
        target: the target, of which the model is.
        new_defense: makes a defense that has not begun.
        parts: images and labels of each client.
        device: where the model is.

    Attributes:
        clients: the clients, in order.
    """

    def __init__(
        self,
        plan: SidePlan,
        model: SplitModel,
        target: Target[Any],
        new_defense: Callable[[], Defense[Any]],
        parts: Sequence[Part],
        device: Device,
    ) -> None:
        self.clients = []
        untrained = plan.untrained(target, device)
        for index, (part, start) in enumerate(zip(parts, plan.defenses, strict=True)):
            defense, generator = begin_defense(
                plan.defense.label, new_defense, *plan.shapes, start, device, untrained
            )
            if defense.separate:
                encoder = model.client.train(plan.training.trains)
                refuse_mixing(plan.defense.label, encoder, plan.shapes[0], device)
            sender = Sender(
                model.client, defense, generator, index, plan.names, device, plan.precision
            )
            optimizer = make_optimizer(
                plan.training,
                model.client,
                model.head,
                *defense.networks,
                learning_rate=plan.learning_rate,
            )
            shares = plan.training.shares_labels(u_shaped=model.head is not None)
            trains = plan.training.trains
            self.clients.append(
                Client(part, sender, model.head, target.loss, optimizer, trains, shares)
            )
        self._modules = [one for one in (model.client, model.head) if one is not None]
        self._best = _Remembered([], [one.sender.copied_defense() for one in self.clients])

    def parts_of_state(self) -> dict[str, object]:
        """Return the objects that a checkpoint saves."""
        return {
            "client_model": self._modules,
            "optimizers": [client.optimizer for client in self.clients],
            "defenses": [client.sender.defense for client in self.clients],
            "defense_epochs": [client.epochs for client in self.clients],
            "generators": [client.sender.generator for client in self.clients],
            "remembered": self._best,
        }

    def remember(self) -> None:
        """Keep the weights and the defenses as they are now."""
        self._best.weights = [copy.deepcopy(module.state_dict()) for module in self._modules]
        self._best.defenses = [client.sender.copied_defense() for client in self.clients]

    def recall(self) -> None:
        """Restore what was remembered last."""
        for module, weights in zip(self._modules, self._best.weights, strict=True):
            module.load_state_dict(weights)
        for client, defense in zip(self.clients, self._best.defenses, strict=True):
            client.sender.defense = defense

    def hand_over(self, model: SplitModel) -> None:
        """Do nothing: the model's parts that clients have are the very ones that they train."""

    def close(self) -> None:
        """Do nothing; a side in a process of its own ends it."""


class _Remembered:
    """Weights and defenses of an epoch."""

    def __init__(self, weights: list[dict[str, Tensor]], defenses: list[Defense[Any]]) -> None:
        self.weights = weights
        self.defenses = defenses
