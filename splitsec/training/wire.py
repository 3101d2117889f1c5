"""The wire between clients and the server, which copies everything that crosses.

Only a :class:`Message`, features or a gradient cross, detached and copied by :class:`Wire`. The
other side cannot reach a graph, module or data set through them. Labels and sample identities cross
only to those whose threat model has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from splitsec.devices import all_finite
from splitsec.errors import DivergedError, PluginError
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.messages import Exchange, Message, kind_of
from splitsec.training.traffic import Traffic

_HONEST = ThreatModel(labels=True)


class Server(Protocol):
    """A server at the far end of the wire, honest or not."""

    def features(self, message: Message) -> Tensor:
        """Return features of ``message`` for the client's head (U-shaped only)."""

    def answer(self, message: Message) -> Tensor:
        """Return the gradient with respect to the smashed data of ``message``."""


class Exchanger(Protocol):
    """What a client sends its messages through: the wire, or the way to a process that has it."""

    def features(self, message: Message, rows: Tensor | None = None) -> Tensor:
        """Return the server's features; see :meth:`Wire.features`."""

    def exchange(
        self, message: Message, features: Tensor | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """Return the server's gradient; see :meth:`Wire.exchange`."""


class Wire:
    """Carries messages one way, features and gradients the other, within this process.

    Args:
        server: answers every message.
        listeners: attacks that see every exchange on the server's side, each with the threat model
            that says whether it gets labels and sample identities.
        seen: the threat model of the server; an honest one gets the labels.
        traffic: keeps what crosses of the victims, for the scorer.
    """

    def __init__(
        self,
        server: Server,
        listeners: Sequence[tuple[Callable[[Exchange], None], ThreatModel]] = (),
        *,
        seen: ThreatModel = _HONEST,
        traffic: Traffic | None = None,
    ) -> None:
        self._server = server
        self._listeners = listeners
        self._seen = seen
        self._traffic = traffic

    def features(self, message: Message, rows: Tensor | None = None) -> Tensor:
        """Send smashed data and return the server's features for the client's head, checked.

        Args:
            message: the client's message.
            rows: rows of the client's images in the batch; only who is granted sample identities
                gets them.

        Raises:
            PluginError: the answer is not a float tensor on the device of the smashed data.
            DivergedError: the message or the answer is not finite.
        """
        self._check_sent(message.smashed, "the client's smashed data", message.step)
        features = self._server.features(self._carry(message, rows))
        if not isinstance(features, Tensor) or not features.is_floating_point():
            raise PluginError(
                f"the server answered exchange {message.step} with {kind_of(features)}; "
                "expected features, a float tensor"
            )
        _check_device(features, message.smashed, message.step)
        self._check_sent(features, "the server's answer", message.step)
        return features.detach().clone()

    def exchange(
        self, message: Message, features: Tensor | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """Send a message and return the server's gradient, checked.

        Args:
            message: the client's message.
            features: the server's earlier answer, in the U-shaped configuration.
            rows: rows of the client's images in the batch; only who is granted sample identities
                gets them.

        Raises:
            PluginError: the answer is not a float tensor of the smashed data's shape and device.
            DivergedError: the message or the answer is not finite.
        """
        smashed = message.smashed
        self._check_sent(smashed, "the client's smashed data", message.step)
        if message.feature_gradient is not None:
            self._check_sent(message.feature_gradient, "the client's gradient", message.step)
        gradient = self._server.answer(self._carry(message, rows))
        if not isinstance(gradient, Tensor) or gradient.shape != smashed.shape:
            raise PluginError(
                f"the server answered exchange {message.step} with {kind_of(gradient)}; "
                f"expected a gradient of shape {tuple(smashed.shape)}"
            )
        if not gradient.is_floating_point():
            raise PluginError(
                f"the server answered exchange {message.step} with {gradient.dtype}; "
                "expected a floating-point gradient"
            )
        _check_device(gradient, smashed, message.step)
        gradient = gradient.detach().to(smashed.dtype).clone()
        if not all_finite(gradient):
            raise DivergedError(f"the server's gradient is not finite at exchange {message.step}")
        for listener, threat in self._listeners:
            seen = self._copy(message, rows, threat)
            listener(Exchange(seen, gradient.clone(), _detached(features)))
        return gradient

    def _carry(self, message: Message, rows: Tensor | None) -> Message:
        """Return the copy that crosses to the server, and keep the victims' part for the scorer."""
        crossing = self._copy(message, rows, self._seen)
        if self._traffic is not None and rows is not None:
            self._traffic.record(rows, crossing)
        return crossing

    @staticmethod
    def _check_sent(values: Tensor, what: str, step: int) -> None:
        if not all_finite(values):
            raise DivergedError(f"{what} is not finite at exchange {step}; the session diverged")

    @staticmethod
    def _copy(message: Message, rows: Tensor | None, threat: ThreatModel) -> Message:
        return message._replace(
            smashed=message.smashed.detach().clone(),
            labels=_detached(message.labels) if threat.labels else None,
            feature_gradient=_detached(message.feature_gradient),
            samples=_detached(rows) if threat.sample_ids else None,
        )


def _check_device(answered: Tensor, smashed: Tensor, step: int) -> None:
    if answered.device != smashed.device:
        raise PluginError(
            f"the server answered exchange {step} with a tensor on {answered.device}, but the "
            f"smashed data are on {smashed.device}; make new tensors on the device of the input"
        )


def _detached(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.detach().clone()
