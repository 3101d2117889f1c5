"""Runs in the process of the clients' side: holds its images and labels, and answers calls.

No label of any other image is here, nor the server, the attack or the scorer. A call says what is
done (a step, images sent, a head's work), never what for: a session with an attack makes the same
calls as an honest one, and a query the same as a victim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splitsec.data.parts import Part
from splitsec.isolation.guest import Resident, ask, serve
from splitsec.isolation.host import Answer
from splitsec.isolation.protocol import Channel
from splitsec.plugins.defense import Defense
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.messages import Message
from splitsec.plugins.parameters import build_parameters
from splitsec.plugins.target import Target, split_target
from splitsec.randomness import globally_seeded
from splitsec.training.release import Use
from splitsec.training.sides import ClientSide, PluginUse, SidePlan


class ClientResident(Resident):
    """The clients' side in its process.

    Args:
        channel: connection to the host.
    """

    _side: ClientSide
    _use: Use
    _skips: tuple[Tensor, ...]

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, "the clients' side")

    @property
    def _kept(self) -> object:
        return self._side.parts_of_state()

    def _open(self, given: Answer) -> Answer:
        torch.set_num_threads(given.content["threads"])
        plan = SidePlan.model_validate(given.content["plan"])
        device = self._channel.device
        target: Target[Any] = _made("target", plan.target)
        with globally_seeded(plan.weights):
            model = split_target(plan.target.label, target, plan.shapes[0], plan.outputs, plan.cut)
        parts = [_part(given.tensors, client) for client in range(len(plan.defenses))]

        def defense() -> Defense[Any]:
            made: Defense[Any] = _made("defense", plan.defense)
            return made

        self._side = ClientSide(plan, device.put(model), target, defense, parts, device)
        self._side.clients[0].begin()
        return Answer()

    def _step(self, given: Answer) -> Answer:
        index, step, rate = given.content
        client = self._side.clients[index]
        if rate is not None:
            client.set_rate(rate)
        return Answer(client.step(given.tensors["rows"], _Way(self._channel), step))

    def _send(self, given: Answer) -> Answer:
        index, seed = given.content
        if seed is not None:
            self._use = self._side.clients[index].sender.in_use(seed)
        smashed, self._skips = self._use.send(given.tensors["images"])
        return Answer(tensors={"smashed": smashed})

    def _finish(self, given: Answer) -> Answer:
        client = self._side.clients[0]  # all have one head
        return Answer(tensors={"outputs": client.finish(given.tensors["features"], self._skips)})

    def _remember(self, given: Answer) -> Answer:
        self._side.remember()
        return Answer()

    def _recall(self, given: Answer) -> Answer:
        self._side.recall()
        return Answer()

    def _weights(self, given: Answer) -> Answer:
        client = self._side.clients[0]
        modules = {"client": client.sender.encoder, "head": client.head}
        return Answer(
            tensors={
                f"{part}/{name}": value
                for part, module in modules.items()
                if module is not None
                for name, value in module.state_dict().items()
            }
        )


class _Way:
    """The way to the wire, which is in the host's process."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def features(self, message: Message, rows: Tensor | None = None) -> Tensor:
        """Send smashed data, and return the server's features."""
        return ask(self._channel, "features", {"smashed": message.smashed}).tensors["features"]

    def exchange(
        self, message: Message, features: Tensor | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """Send what the server needs for its step, and return its gradient."""
        sent = {"smashed": message.smashed}
        if message.labels is not None:
            sent["labels"] = message.labels
        if message.feature_gradient is not None:
            sent = {"feature_gradient": message.feature_gradient}
        return ask(self._channel, "exchange", sent).tensors["gradient"]


def _made(kind: Any, use: PluginUse) -> Any:
    plugin = load_plugin(kind, use.spec, use.sha256)
    return plugin.cls(build_parameters(use.label, plugin.cls.Parameters, use.parameters))


def _part(tensors: Mapping[str, Tensor], client: int) -> Part:
    """Return a client's part from what the host sent of it."""
    images, targets = (tensors[f"{name} {client}"].numpy() for name in ("images", "targets"))
    indices = np.arange(len(images))
    if targets.ndim > 1:
        return Part(images, np.zeros(len(images), np.int64), indices, targets)
    return Part(images, targets, indices)


if __name__ == "__main__":
    serve(ClientResident)
