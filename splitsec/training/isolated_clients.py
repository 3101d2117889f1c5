"""The clients' side in a process of its own: forwards each call to it and checks the answer.

The process gets the private images and labels of the clients when it starts, and later images to
be sent, without labels. The wire, the server, the attack and the scorer stay on this side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from splitsec.data.parts import Part
from splitsec.devices import on_cpu
from splitsec.errors import PluginError, SplitsecError
from splitsec.isolation.host import Answer, Guest
from splitsec.isolation.protocol import Frame, MalformedError
from splitsec.plugins.messages import Message, kind_of
from splitsec.plugins.target import SplitModel
from splitsec.state import UnfitError
from splitsec.training.release import AT_ONCE
from splitsec.training.sides import SidePlan
from splitsec.training.wire import Exchanger

MODULE = "splitsec.training.client_guest"
"""What the process of the clients runs."""

_DOUBLE_BYTES = 8  # of the largest type that an answer may have
_MOST_BYTES = 4 << 30  # of weights, of a state, and of what crosses the wire at once


class IsolatedSide:
    """The clients of a session in a process of their own.

    Args:
        plan: what they are built from.
        parts: images and labels of each client.
        guest: their process, which runs :data:`MODULE` and knows nothing yet.
        server: what the server makes of smashed data, in evaluation mode; None unless clients
            have a head.

    Attributes:
        clients: the clients, in order.

    Raises:
        SplitsecError: the target or the defense raised, or broke the rules.
    """

    def __init__(
        self,
        plan: SidePlan,
        parts: Sequence[Part],
        guest: Guest,
        server: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.guest = guest
        tensors = {}
        for client, part in enumerate(parts):
            tensors[f"images {client}"] = torch.from_numpy(part.images)
            targets = part.labels if part.masks is None else part.masks
            tensors[f"targets {client}"] = torch.from_numpy(targets)
        told = {"plan": plan.model_dump(mode="json"), "threads": torch.get_num_threads()}
        try:
            _call(self.guest, "open", Answer(told, tensors))
        except BaseException:
            self.guest.close()
            raise
        self.clients = [
            IsolatedClient(index, part, IsolatedSender(index, plan, self.guest, server))
            for index, part in enumerate(parts)
        ]

    def parts_of_state(self) -> dict[str, object]:
        """Return what a checkpoint saves: bytes that this side never parses."""
        return {"clients": _RemoteState(self.guest)}

    def state(self) -> Mapping[str, Tensor]:
        """Return the state of the clients, as bytes that this side never parses.

        Raises:
            UnfitError: the process cannot give it.
        """
        return _RemoteState(self.guest).state_dict()

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state of clients that were built from the same plan."""
        _RemoteState(self.guest).load_state_dict(state)

    def remember(self) -> None:
        """Keep the weights and the defenses as they are now."""
        _call(self.guest, "remember")

    def recall(self) -> None:
        """Restore what was remembered last."""
        _call(self.guest, "recall")

    def hand_over(self, model: SplitModel) -> None:
        """Load the clients' weights into the parts that they have of a model.

        Raises:
            PluginError: the weights are not of such a model.
        """
        sent = _call(self.guest, "weights", most_bytes=_MOST_BYTES).tensors
        for part, module in (("client", model.client), ("head", model.head)):
            if module is not None:
                own = {
                    name.removeprefix(f"{part}/"): value
                    for name, value in sent.items()
                    if name.startswith(f"{part}/")
                }
                try:
                    module.load_state_dict(own)
                except RuntimeError:
                    label = self.clients[0].sender.label
                    raise PluginError(f"{label} gave weights of another model") from None

    def close(self) -> None:
        """End the process."""
        self.guest.close()


class _RemoteState:
    """The state of the clients' side, as a checkpoint saves and restores it."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def state_dict(self) -> dict[str, Tensor]:
        """Return it.

        Raises:
            UnfitError: the process cannot give it.
        """
        try:
            tensors = _call(self._guest, "take", most_bytes=_MOST_BYTES).tensors
        except SplitsecError as error:
            raise UnfitError(str(error)) from error
        return {"state": tensors["state"]}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Send a saved state back."""
        _call(self._guest, "put_back", Answer(tensors={"state": state["state"]}))


class IsolatedClient:
    """A client in another process.

    Args:
        index: its number, from 0.
        part: its images and labels, by which what it sends is checked.
        sender: what leaves it after training.
    """

    def __init__(self, index: int, part: Part, sender: IsolatedSender) -> None:
        self.index = index
        self.part = part
        self.sender = sender
        self._rate: float | None = None

    def begin(self) -> None:
        """Do nothing: its model is in training mode from the start."""

    def set_rate(self, rate: float) -> None:
        """Set its learning rate for the next steps."""
        self._rate = rate

    def step(self, rows: Tensor, wire: Exchanger, step: int) -> float | None:
        """Let it train on one batch; see :meth:`splitsec.training.client.Client.step`."""
        exchange = _Exchange(self, rows, wire, step)
        guest = self.sender.guest
        try:
            answer = guest.call(
                "step",
                Answer([self.index, step, self._rate], {"rows": rows}),
                asked=exchange.answer,
                asks_bytes=_MOST_BYTES,
            )
        except _ServerSideError as error:
            guest.close()
            raise error.error from None
        if exchange.due:
            raise PluginError(f"{self.sender.label} sent nothing in exchange {step}")
        if answer.content is not None and not isinstance(answer.content, float):
            raise PluginError(f"{self.sender.label} gave a loss that is no number")
        return answer.content

    def predict(
        self, images: Tensor, seed: int, server: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return what it sends of images and the outputs; see :meth:`.client.Client.predict`."""
        return self.sender.used(images, seed, server)


class IsolatedSender:
    """What leaves a client in another process after training.

    Args:
        client: its number, from 0.
        plan: what it was built from.
        guest: its process.
        server: what the server makes of smashed data; None unless clients have a head.

    Attributes:
        guest: its process.
        smashed: shape of one image's smashed data.
        label: names its side in errors.
        names: names of the target and of the defense, for errors.
        u_shaped: whether it has a head.
        trains: whether it trains, or uses the model as it is.
        shares_labels: whether it sends labels.
        fakes_labels: whether it may send other labels than the true ones.
    """

    def __init__(
        self,
        client: int,
        plan: SidePlan,
        guest: Guest,
        server: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.guest = guest
        self.smashed = tuple(plan.smashed)
        self.names = plan.names
        self.label = plan.label
        self.u_shaped = server is not None
        self.trains = plan.training.trains
        self.shares_labels = plan.training.shares_labels(u_shaped=self.u_shaped)
        self.fakes_labels = plan.fakes_labels
        self._client = client
        self._server = server

    def release(self, images: Tensor, seed: int) -> Tensor:
        """Return released smashed data, in evaluation mode.

        A client with a head gets features for every image, as it would in use: otherwise it could
        tell images whose outputs nobody wants.
        """
        return self.used(images, seed, self._server or _nothing)[0]

    def used(
        self, images: Tensor, seed: int, server: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return released smashed data and outputs; see :meth:`.client.Client.predict`."""
        sent, outputs = [], []
        for number, batch in enumerate(torch.split(images, AT_ONCE)):
            told = [self._client, None if number else seed]
            most = len(batch) * math.prod(self.smashed) * _DOUBLE_BYTES
            due = (len(batch), *self.smashed)
            smashed = self._asked("send", Answer(told, {"images": batch}), most, "smashed", due)
            made = server(smashed)
            if self.u_shaped:
                given = Answer(None, {"features": made})
                made = self._asked("finish", given, _MOST_BYTES, "outputs", None)
            sent.append(smashed)
            outputs.append(made)
        return torch.cat(sent), torch.cat(outputs)

    def _asked(
        self, method: str, given: Answer, most_bytes: int, name: str, due: tuple[int, ...] | None
    ) -> Tensor:
        answer = _call(self.guest, method, given, most_bytes)
        try:
            return _due(answer.tensors, name, due)
        except MalformedError as error:
            raise PluginError(f"{self.label} in {method}(): {error}") from None


class _ServerSideError(Exception):
    """An error on this side of the wire, of which the clients' process learns nothing."""

    def __init__(self, error: SplitsecError) -> None:
        super().__init__()
        self.error = error


class _Exchange:
    """Takes what a client's process sends in one step, in the order that it has to keep.

    Attributes:
        due: what it has to send next, and after that.
    """

    def __init__(self, client: IsolatedClient, rows: Tensor, wire: Exchanger, step: int) -> None:
        self.due = ["features", "exchange"] if client.sender.u_shaped else ["exchange"]
        self._client = client
        self._rows = rows
        self._wire = wire
        self._step = step
        self._message: Message | None = None
        self._features: Tensor | None = None

    def answer(self, name: str, frame: Frame) -> Answer:
        """Carry what was sent over the wire, and return what came back."""
        if name not in self.due[:1]:
            raise MalformedError("it sent something out of turn")
        self.due.pop(0)
        message = self._message or self._read(frame.tensors)
        try:
            if name == "features":
                self._message = message
                self._features = self._wire.features(message, self._rows)
                return Answer(tensors={"features": self._features})
            if self._features is not None and self._client.sender.trains:
                given = _due(frame.tensors, "feature_gradient", tuple(self._features.shape))
                message = message._replace(feature_gradient=given)
            gradient = self._wire.exchange(message, self._features, self._rows)
        except SplitsecError as error:
            raise _ServerSideError(error) from error
        return Answer(tensors={"gradient": gradient})

    def _read(self, sent: Mapping[str, Tensor]) -> Message:
        sender, rows = self._client.sender, self._rows
        smashed = _due(sent, "smashed", (len(rows), *sender.smashed))
        labels = sent.get("labels")
        due = self._client.part.targets(rows.tolist()) if sender.shares_labels else None
        if (labels is None) != (due is None):
            raise MalformedError("it sent other labels than its images have")
        if labels is not None and due is not None:
            own = on_cpu(labels)
            fits = own.shape == due.shape and own.dtype == due.dtype
            if not fits or not (sender.fakes_labels or torch.equal(own, due)):
                raise MalformedError("it sent other labels than its images have")
        return Message(smashed, labels, self._client.index, self._step)


def _call(guest: Guest, method: str, given: Answer | None = None, most_bytes: int = 0) -> Answer:
    """Call whatever is not an exchange, always with the same seed of torch's global generator.

    The scorer's own seed would tell whether images are a query's or the victims'. What is sent
    depends on its release's seed alone.
    """
    return guest.call(method, given or Answer(), most_bytes=most_bytes, seed=0)


def _due(sent: Mapping[str, Tensor], name: str, shape: tuple[int, ...] | None) -> Tensor:
    """Return a tensor that was sent, once its type and shape have been checked."""
    values = sent.get(name)
    if values is None or not values.is_floating_point():
        raise MalformedError(f"it sent {kind_of(values)} as {name}; expected a float tensor")
    if shape is not None and tuple(values.shape) != shape:
        raise MalformedError(f"it sent {name} of shape {tuple(values.shape)}; expected {shape}")
    return values


def _nothing(smashed: Tensor) -> Tensor:
    return smashed[:0]
