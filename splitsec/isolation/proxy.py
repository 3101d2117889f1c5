"""Stands for an isolated attack: forwards each call to its guest and checks the answer."""

from __future__ import annotations

import copy
import math
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from splitsec.checkpoint import Checkpoints
from splitsec.devices import all_finite, zeros_for
from splitsec.errors import DivergedError, PluginError, SplitsecError
from splitsec.isolation.copies import ASKED, RELEASED, CopyCheck
from splitsec.isolation.grant_codec import encode_grant
from splitsec.isolation.host import Answer, Guest
from splitsec.isolation.opening import Roles, opening
from splitsec.isolation.plugin_paths import unchanged_files
from splitsec.isolation.processes import short
from splitsec.isolation.protocol import Frame, MalformedError
from splitsec.plugins.attack import Attack, Hijacking
from splitsec.plugins.convergence import Convergence, read_convergence
from splitsec.plugins.grants import GRANTS, ThreatModel
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.view import View
from splitsec.progress import Progress
from splitsec.state import UnfitError

_NUMBERS = ("client", "step", "session")  # of a message; all else are tensors
_DOUBLE_BYTES = 8  # of the largest type that an answer may have
_MOST_QUERY_BYTES = 1 << 30
_MOST_STATE_BYTES = 4 << 30
_MOST_KEPT = 20  # stages
_MOST_SESSIONS = 32  # that an attack may run
_MOST_NUMBER = 10**9  # that a plan may hold
_MOST_BATCHES = 4  # of the client's batch size that it must hold at once
_MOST_IMAGES = 64  # that it must hold at once, if these are more
_USED = struct.Struct("<d")  # seconds, before each checkpoint of a guest
_MOST_VALUE = 1e30  # of a curve: larger values cannot be drawn
_MOST_CURVES, _MOST_POINTS, _MOST_NAME = 100, 1_000_000, 100


class IsolatedAttack(Attack[Any]):
    """Forwards every call to a guest and checks its answer.

    Args:
        roles: the plug-ins that the guest loads, and its isolation.
        view: the grants of its threat model; their use is counted here.
        seed: seed of the attack's own generator.

    Raises:
        SplitsecError: building the attack raised, or the guest broke the rules.
    """

    def __init__(self, roles: Roles, view: View, seed: int) -> None:
        self.checkpoints = Checkpoints()
        self.reconstructs = roles.attack.cls.reconstructs  # type: ignore[misc]  # the class variable
        self._kept: dict[str, int] = {}
        self._most_images = max(_MOST_IMAGES, _MOST_BATCHES * roles.batch_size)
        self._label = roles.attack.label
        self._view = view
        self._image = view.image_shape
        self._features = _features_of(view) if view.u_shaped else 0
        self._copy = None
        if view.threat.defense:
            self._copy = CopyCheck(roles.defense.label, view.take("defense"))
        loaded = roles.loaded(view.threat)
        files = [*unchanged_files(loaded), *roles.inputs]
        self._guest = Guest(self._label, roles.isolation, files, roles.device)
        self._guest.prepare(loaded)
        try:
            self._call("open", opening(roles, view, seed))
            self._answered()
        except BaseException:
            self._guest.close()
            raise

    @classmethod
    def threat_model(cls, parameters: Any) -> ThreatModel:
        """Raise an error: the framework calls the plug-in's own class."""
        raise PluginError(
            "the guest of an isolated attack declares its threat model, not the proxy"
        )

    def close(self) -> None:
        """End its process."""
        self._guest.close()

    def hijacking(self) -> list[Hijacking]:
        """Ask the guest; see :class:`splitsec.Attack`."""
        plans = self._call("hijacking").content
        if not isinstance(plans, list) or not 1 <= len(plans) <= _MOST_SESSIONS:
            raise PluginError(
                f"{self._label} returned no Hijacking from hijacking(), or more than "
                f"{_MOST_SESSIONS}"
            )
        self._answered()
        return [self._plan(plan) for plan in plans]

    def _plan(self, plan: Any) -> Hijacking:
        match plan:
            case [exchanges, batch_size, rate]:
                numbers = [one for one in (exchanges, batch_size, rate) if isinstance(one, int)]
                if max(numbers, default=0) > _MOST_NUMBER:
                    raise PluginError(f"{self._label} asks for too much in hijacking()")
                if isinstance(batch_size, int) and batch_size > self._most_images:
                    raise PluginError(
                        f"{self._label} dictates {batch_size:,} images per exchange; an isolated "
                        f"attack may dictate up to {self._most_images} here ({_MOST_BATCHES} times "
                        f"training.batch_size, or {_MOST_IMAGES})"
                    )
                return Hijacking(exchanges, batch_size, rate)
        raise PluginError(f"{self._label} returned no Hijacking from hijacking()")

    def features(self, message: Message) -> Tensor:
        """Ask the guest; see :class:`splitsec.Attack`."""
        most = len(message.smashed) * self._features * _DOUBLE_BYTES
        return self._directed("features", message, most)

    def answer(self, message: Message) -> Tensor:
        """Ask the guest; see :class:`splitsec.Attack`."""
        most = message.smashed.numel() * _DOUBLE_BYTES
        return self._directed("answer", message, most)

    def observe(self, exchange: Exchange) -> None:
        """Tell the guest; see :class:`splitsec.Attack`."""
        content, tensors = _sent(exchange.message)
        given = {"gradient": exchange.gradient, "features": exchange.features}
        self._call("observe", Answer(content, {**tensors, **_present(given)}))

    def fit(self, progress: Progress) -> None:
        """Let the guest train; see :class:`splitsec.Attack`."""
        saving = self.checkpoints.shelf is not None
        given = Answer({"save every": self.checkpoints.every_seconds if saving else None})
        self._call("fit", given, progress=progress, keeps=saving)
        if self._copy is not None:
            self._copy.compare(lambda: self._call("compare_copy"))

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Ask the guest; see :class:`splitsec.Attack`."""
        most = len(smashed) * math.prod(self._image) * _DOUBLE_BYTES
        given = _present({"smashed": smashed, "labels": self._labels()})
        return self._tensor("reconstruct", Answer(self._view.in_training, given), most)

    def reconstruct_from(self, sessions: Sequence[Tensor]) -> Tensor:
        """Ask the guest; see :class:`splitsec.Attack`."""
        most = len(sessions[0]) * math.prod(self._image) * _DOUBLE_BYTES
        sent = {f"session {number}": smashed for number, smashed in enumerate(sessions)}
        told = [len(sent), self._view.in_training]
        given = Answer(told, {**sent, **_present({"labels": self._labels()})})
        return self._tensor("reconstruct_from", given, most)

    def _labels(self) -> Tensor | None:
        """Return the labels that the view shows for this call, if it may show any."""
        return self._view.labels if self._view.threat.labels else None

    def curves(self) -> dict[str, list[float]]:
        """Ask the guest; see :class:`splitsec.Attack`.

        Raises:
            PluginError: the guest returned no curves, or curves that are too long.
        """
        given = self._call("curves").content
        if not isinstance(given, dict) or len(given) > _MOST_CURVES:
            raise PluginError(f"{self._label} returned no mapping of curves from curves()")
        if not all(len(name) <= _MOST_NAME and name.isprintable() for name in given):
            raise PluginError(f"{self._label} gave a curve a name that cannot be printed")
        for name, values in given.items():
            if not isinstance(values, list) or not all(type(one) is float for one in values):
                raise PluginError(f"{self._label} returned no list of numbers as {name!r}")
        if any(math.isfinite(one) and abs(one) > _MOST_VALUE for v in given.values() for one in v):
            raise PluginError(f"{self._label} returned curves that reach beyond {_MOST_VALUE:g}")
        if sum(map(len, given.values())) > _MOST_POINTS:
            raise PluginError(f"{self._label} returned curves of over {_MOST_POINTS:,} points")
        return given

    def convergence(self) -> list[Convergence]:
        """Ask the guest; see :class:`splitsec.Attack`."""
        return read_convergence(self._call("convergence").content, self._label)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the guest's state, as bytes that this side never parses.

        Raises:
            UnfitError: the guest cannot give it.
        """
        try:
            answer = self._call("take", most_bytes=_MOST_STATE_BYTES)
            state = self._due(answer, "take", "state")
        except SplitsecError as error:
            raise UnfitError(str(error)) from error
        return {"state": state, "seconds": torch.tensor(self._guest.used, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Send a saved state back to the guest; the time that it had used then stays used.

        If the guest refuses it, only this attack fails, at its next call.
        """
        if "seconds" in state:
            self._guest.charge(state["seconds"].item())
        try:
            self._call("put_back", Answer(tensors={"state": state["state"]}))
        except SplitsecError as error:
            self._guest.failure = error
        self._answered()

    def _call(
        self,
        method: str,
        given: Answer = Answer(),  # noqa: B008 - it is frozen
        most_bytes: int = 0,
        progress: Progress | None = None,
        keeps: bool = False,
    ) -> Answer:
        threat = self._view.threat
        asks_bytes = _MOST_QUERY_BYTES * (threat.queries or threat.defense)
        if keeps:
            asks_bytes = _MOST_STATE_BYTES
        return self._guest.call(
            method,
            given,
            most_bytes=most_bytes,
            asked=self._grant,
            asks_bytes=asks_bytes,
            progress=progress,
        )

    def _directed(self, method: str, message: Message, most_bytes: int) -> Tensor:
        """Call the guest in a session that it controls; the clients' time counts as its own."""
        self._guest.charge(self._used + time.monotonic() - self._since)
        values = self._tensor(method, _sent(message), most_bytes)
        self._answered()
        return values

    def _answered(self) -> None:
        """Remember when the guest answered and how much time it had used."""
        self._since, self._used = time.monotonic(), self._guest.used

    def _tensor(self, method: str, given: Answer, most_bytes: int) -> Tensor:
        values = self._due(self._call(method, given, most_bytes), method, "values")
        if not all_finite(values):
            raise DivergedError(f"{self._label} gave values that are not finite in {method}()")
        return values

    def _due(self, answer: Answer, method: str, name: str) -> Tensor:
        if name not in answer.tensors:
            raise PluginError(
                f"{self._label} returned {short(str(answer.content))} from {method}(); "
                "expected a tensor"
            )
        return answer.tensors[name]

    def _grant(self, name: str, frame: Frame) -> Answer:
        """Answer the guest's request for a grant that exists only later or changes."""
        form = GRANTS[name].form if name in GRANTS else None
        if form == "answers":
            return Answer(tensors={"smashed": self._view.query(self._images(frame))})
        if form is not None:
            return encode_grant(name, form, self._view.take(name))
        if name in (ASKED, RELEASED) and self._copy is not None:
            try:
                return self._copy.answer(name, frame.tensors)
            except SplitsecError as error:
                self._guest.failure = error
                raise
        what, _, stage = name.partition(" ")
        if what in ("read", "keep", "remove"):
            return self._saved(what, stage, frame)
        raise MalformedError("it asked for something that does not exist")

    def _saved(self, what: str, stage: str, frame: Frame) -> Answer:
        """Read, keep or remove a checkpoint of the guest: bytes that this side never parses.

        A checkpoint is limited to the size of a state, so that a guest cannot fill the disk. It
        includes the time that the attack had used, which stays used.
        """
        shelf, name = self.checkpoints.shelf, self.checkpoints.name(f"isolated {stage}")
        if shelf is None:
            raise MalformedError("it asked for something that does not exist")
        if what == "read":
            kept = shelf.read(name)
            if kept is None or len(kept) <= _USED.size:
                return Answer()
            (used,) = _USED.unpack_from(kept)
            self._guest.charge(used)
            content = bytearray(memoryview(kept)[_USED.size :])
            return Answer(tensors={"kept": torch.frombuffer(content, dtype=torch.uint8)})
        if what == "remove":
            shelf.remove(name)
            self._kept.pop(name, None)
            return Answer()
        given = frame.tensors.get("kept")
        if given is None or given.dtype != torch.uint8 or given.dim() != 1:
            raise MalformedError("it sent no bytes to be kept")
        sizes = {**self._kept, name: len(given)}
        if sum(sizes.values()) > _MOST_STATE_BYTES:
            raise PluginError(f"{self._label} saves more than {_MOST_STATE_BYTES:,} bytes")
        if len(sizes) > _MOST_KEPT:
            raise PluginError(f"{self._label} saves more than {_MOST_KEPT} stages")
        shelf.keep(name, b"".join((_USED.pack(self._guest.used), given.numpy().data)))
        self._kept = sizes
        return Answer()

    def _images(self, frame: Frame) -> Tensor:
        """Return the images of the guest's query, checked for a client's encoder."""
        images = frame.tensors.get("images")
        due = tuple(self._image)
        if images is None or images.dim() != 4 or tuple(images.shape[1:]) != due:
            raise PluginError(f"{self._label} asks about no images of shape {due} in query()")
        if not images.is_floating_point() or not len(images):
            raise PluginError(f"{self._label} asks about no float images in query()")
        each = max(math.prod(self._image), math.prod(self._view.smashed_shape))
        if len(images) * each * _DOUBLE_BYTES > _MOST_QUERY_BYTES:
            raise PluginError(f"{self._label} asks about {len(images):,} images at once in query()")
        images = images.float()
        if not (torch.isfinite(images) & (images >= 0) & (images <= 1)).all():
            raise PluginError(f"{self._label} asks about images outside [0, 1] in query()")
        return images


@torch.no_grad()
def _features_of(view: View) -> int:
    """Return the number of features that the honest server's network computes for one image."""
    server = copy.deepcopy(view.server_architecture).eval()
    features: Tensor = server(zeros_for(server, 1, *view.smashed_shape))
    return features.numel()


def _sent(message: Message) -> Answer:
    values = message._asdict()
    tensors = {name: values.pop(name) for name in list(values) if name not in _NUMBERS}
    return Answer(values, _present(tensors))


def _present(tensors: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    return {name: one for name, one in tensors.items() if one is not None}
