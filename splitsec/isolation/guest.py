"""Runs in a guest's process: builds the attack from the host's message and answers calls.

Nothing private is in an attack's process: no images but its own, no client, no partition. The
clients' side has such a process, too, see :mod:`splitsec.training.client_guest`.
"""

from __future__ import annotations

import copy
import io
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitsec import errors
from splitsec.checkpoint import Checkpoints
from splitsec.devices import Device
from splitsec.errors import PluginError, SplitsecError, blaming
from splitsec.isolation.copies import ASKED, RELEASED, release_of_copy
from splitsec.isolation.grant_codec import Builders, decode_grant, fill_network
from splitsec.isolation.host import Answer
from splitsec.isolation.protocol import Channel, ClosedError, Frame, MalformedError
from splitsec.plugins.attack import Attack, Hijacking
from splitsec.plugins.defense import Defense, DefenseStart, Untrained, begin_defense
from splitsec.plugins.grants import GRANTS, ThreatModel
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.names import Kind
from splitsec.plugins.parameters import build_parameters
from splitsec.plugins.reading import expect_only_plugins, give
from splitsec.plugins.target import SplitModel, Target, split_target
from splitsec.plugins.view import ServerKnowledge, View
from splitsec.progress import Relay
from splitsec.randomness import globally_seeded
from splitsec.shapes import Shape, smashed_shape_of
from splitsec.state import UnfitError, put_back, take

_MOST_FILE_BYTES = 4 << 30
_MOST_TEXT = 10_000  # characters of an error; the host shows fewer


class Resident:
    """What lives in a guest's process: each call of the host is a method.

    Args:
        channel: connection to the host.
        label: names it in errors.
    """

    def __init__(self, channel: Channel, label: str) -> None:
        self._channel = channel
        self._process = os.getpid()
        self._label = label

    def serve(self) -> None:
        """Answer calls until the host closes the channel."""
        while True:
            try:
                frame = self._channel.receive(None)
                if frame.kind == "prepare":
                    _prepare(frame.content)
                else:
                    self._serve(frame)
            except ClosedError:
                return

    def _serve(self, frame: Frame) -> None:
        method, given = frame.content["method"], Answer(frame.content["given"], frame.tensors)
        where = "__init__()" if method == "open" else f"{method}()"
        answer, failure = Answer(), None
        try:
            with globally_seeded(frame.content["seed"]), blaming(self._label, where):
                answer = getattr(self, f"_{method}")(given)
        except SplitsecError as error:
            failure = error
        if os.getpid() != self._process:  # a process that the attack forked
            os._exit(1)
        if failure is None:
            try:
                self._channel.send("return", answer.content, answer.tensors)
            except MalformedError as error:
                failure = PluginError(f"{self._label} in {where}: {error}")
        if failure is not None:
            self._channel.send("raise", [type(failure).__name__, str(failure)[:_MOST_TEXT]])

    @property
    def _kept(self) -> object:
        """What a checkpoint saves."""
        raise NotImplementedError

    def _take(self, given: Answer) -> Answer:
        buffer = io.BytesIO()
        try:
            torch.save(take(self._kept, self._label), buffer)
        except UnfitError as error:
            raise PluginError(str(error)) from None
        return Answer(tensors={"state": torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)})

    def _put_back(self, given: Answer) -> Answer:
        content = io.BytesIO(given.tensors["state"].numpy().tobytes())
        saved = torch.load(content, weights_only=True)
        try:
            put_back(self._kept, saved, dry=True)
            put_back(self._kept, saved)
        except UnfitError as error:
            raise PluginError(str(error)) from None
        return Answer()


class AttackResident(Resident):
    """An attack in its process.

    Args:
        channel: connection to the host.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, "the attack")
        self._attack: Attack[Any] | None = None

    @property
    def _kept(self) -> object:
        return self._built

    @property
    def _built(self) -> Attack[Any]:
        assert self._attack is not None, "the host opens it first"
        return self._attack

    def _configure(self, given: Answer) -> Answer:
        """Load a plug-in, and return the facts about its class that are needed before a session."""
        from splitsec.isolation.unloaded import configure_here

        return Answer(configure_here(given.content))

    def _open(self, given: Answer) -> Answer:
        seed = torch.initial_seed()  # before a plug-in could set another
        told, tensors = given
        self._label = told["label"]
        torch.set_num_threads(told["threads"])
        plugin = load_plugin("attack", told["plugin"], told["sha256"]["attack"])
        parameters = build_parameters(self._label, plugin.cls.Parameters, told["parameters"])
        view = self._view = _view(told, tensors, self._channel)
        generator = torch.Generator().manual_seed(told["generator"])
        # Building the view's networks drew numbers here, which it did not do on the private side.
        with globally_seeded(seed), blaming(self._label, "__init__()"):
            self._attack = plugin.cls(parameters, view, generator)
        return Answer()

    def _hijacking(self, given: Answer) -> Answer:
        given_back = self._built.hijacking()
        plans = [given_back] if isinstance(given_back, Hijacking) else list(given_back)
        if not all(isinstance(plan, Hijacking) for plan in plans):
            raise PluginError(
                f"{self._label} returned {given_back!r} from hijacking(); expected Hijacking"
            )
        return Answer([list(plan) for plan in plans])

    def _features(self, given: Answer) -> Answer:
        return _given_back(self._built.features(_message(given)))

    def _answer(self, given: Answer) -> Answer:
        return _given_back(self._built.answer(_message(given)))

    def _observe(self, given: Answer) -> Answer:
        tensors = given.tensors
        self._built.observe(Exchange(_message(given), tensors["gradient"], tensors.get("features")))
        return Answer()

    def _fit(self, given: Answer) -> Answer:
        seconds = given.content["save every"]
        if seconds is not None:
            announce = partial(self._show, "message")
            shelf = _HostShelf(self._channel)
            self._built.checkpoints = Checkpoints(shelf, None, announce, seconds)
        self._built.fit(Relay(self._show))
        return Answer()

    def _compare_copy(self, given: Answer) -> Answer:
        self._view.compare_copy()
        return Answer()

    def _show(self, kind: str, *content: object) -> None:
        self._channel.send("progress", [kind, *content])

    def _reconstruct(self, given: Answer) -> Answer:
        self._view.show_victims(given.tensors.get("labels"), given.content)
        with torch.no_grad():
            return _given_back(self._built.reconstruct(given.tensors["smashed"]))

    def _reconstruct_from(self, given: Answer) -> Answer:
        count, in_training = given.content
        sessions = [given.tensors[f"session {number}"] for number in range(count)]
        self._view.show_victims(given.tensors.get("labels"), in_training)
        with torch.no_grad():
            return _given_back(self._built.reconstruct_from(sessions))

    def _curves(self, given: Answer) -> Answer:
        return Answer({str(n): list(map(float, c)) for n, c in self._built.curves().items()})

    def _convergence(self, given: Answer) -> Answer:
        return Answer([one.model_dump() for one in self._built.convergence()])


class _AskingView(View):
    """A view that requests later grants from the private side, which counts their use."""

    _channel: Channel
    _build: Builders
    _check_copy: Callable[[], None]
    _compared = False

    def compare_copy(self) -> None:
        """Show the private side what a copy of the defense releases here."""
        self._compared = True
        self._check_copy()

    def take(self, name: str) -> Any:
        """Return a grant; request it from the host if it did not exist at the start."""
        grant = GRANTS[name]
        if name == "defense" and self._threat.defense and not self._compared:
            # Here, so that a defense that looks at its callers finds the attack among them.
            self.compare_copy()
        if grant.time == "start" or grant.form is None or not getattr(self._threat, name):
            return super().take(name)
        if grant.form == "answers":
            return self._answers
        frame = ask(self._channel, name)
        return decode_grant(name, grant.form, Answer(frame.content, frame.tensors), self._build)

    def _answers(self, images: Tensor, asked: int) -> Tensor:
        return ask(self._channel, "queries", {"images": images}).tensors["smashed"]


class _HostShelf:
    """Keeps the attack's checkpoints at the host, which never parses them."""

    part_of_no_state = True

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def read(self, name: str) -> bytes | None:
        """Return the last checkpoint from the host, or None."""
        kept = ask(self._channel, f"read {name}").tensors.get("kept")
        return None if kept is None else kept.numpy().tobytes()

    def keep(self, name: str, content: bytes | memoryview) -> None:
        """Replace the checkpoint at the host."""
        ask(self._channel, f"keep {name}", {"kept": torch.frombuffer(content, dtype=torch.uint8)})

    def remove(self, name: str) -> None:
        """Remove the checkpoint from the host."""
        ask(self._channel, f"remove {name}")


def ask(channel: Channel, name: str, tensors: Mapping[str, Tensor] | None = None) -> Frame:
    """Send a request to the host and return its answer.

    Raises:
        SplitsecError: the host refused.
    """
    channel.send("ask", name, tensors)
    frame = channel.receive(None)
    if frame.kind == "raise":
        kind, text = frame.content
        raise getattr(errors, kind, PluginError)(text)
    return frame


def _view(told: Mapping[str, Any], tensors: Mapping[str, Tensor], channel: Channel) -> View:
    """Build the attack's view from the host's message."""
    plugin = load_plugin("target", told["target"], told["sha256"]["target"])
    label, values = f"target {plugin.name!r}", told["target_parameters"]
    target: Target[Any] = plugin.cls(build_parameters(label, plugin.cls.Parameters, values))
    image = Shape(*told["image"])

    def split() -> SplitModel:
        model = split_target(label, target, image, told["outputs"], told["cut"])
        return channel.device.put(model)

    spare = split()  # for networks requested later: building one then would draw numbers
    server = split().server
    fill_network(server, "server", Answer(told["server"], tensors))
    threat = ThreatModel(**told["threat"])
    known = ServerKnowledge(
        image_shape=image,
        smashed_shape=smashed_shape_of(told["smashed"]),
        outputs=told["outputs"],
        clients=told["clients"],
        exchanges_per_epoch=told["exchanges_per_epoch"],
        task=target.task_for(target.parameters),
        loss=target.loss,
        u_shaped=told["u_shaped"],
        trains=told["trains"],
        labels_shared=told["labels_shared"],
        server_architecture=server,
    )

    def begun(start: DefenseStart) -> tuple[str, Defense[Any], torch.Generator]:
        plugin = load_plugin("defense", told["defense"], told["sha256"]["defense"])
        untrained = Untrained(split, target.loss, channel.device)
        parameters = build_parameters(
            plugin.label, plugin.cls.Parameters, told["defense_parameters"]
        )
        shapes = image, known.smashed_shape
        return plugin.label, *begin_defense(
            plugin.label, lambda: plugin.cls(parameters), *shapes, start, channel.device, untrained
        )

    def check_copy() -> None:
        copy_ = begun(DefenseStart(*told["granted"]["defense"]))
        given = ask(channel, ASKED)
        released = release_of_copy(*copy_, Answer(given.content, given.tensors))
        ask(channel, RELEASED, {} if released is None else {"released": released})

    build = Builders(split, lambda start: begun(start)[1])
    granted = {
        name: decode_grant(name, grant.form, Answer(told["granted"][name], tensors), build)
        for name, grant in threat.grants()
        if grant.time == "start" and grant.form is not None
    }
    view = _AskingView(told["attack"], threat, known, granted, channel.device)
    view._check_copy = check_copy if told["check_copy"] else lambda: None
    view._channel, view._build = channel, build._replace(model=lambda: copy.deepcopy(spare))
    return view


def _prepare(plugins: Sequence[tuple[Kind, str]]) -> None:
    """Import built-in plug-ins before they are used."""
    for kind, spec in plugins:
        with suppress(SplitsecError):
            load_plugin(kind, spec)


def _message(given: Answer) -> Message:
    tensors, told = given.tensors, given.content
    return Message(
        tensors["smashed"],
        tensors.get("labels"),
        told["client"],
        told["step"],
        tensors.get("feature_gradient"),
        told["session"],
        tensors.get("samples"),
    )


def _given_back(values: object) -> Answer:
    """Return an attack's tensor, or the name of its type if it is not a tensor."""
    if isinstance(values, Tensor):
        return Answer(tensors={"values": values})
    return Answer(type(values).__name__)


def _limit() -> None:
    """Limit what this process can do and how it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted host ends it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_FILE_BYTES, _MOST_FILE_BYTES))
    with suppress(OSError):  # Linux only: if memory runs out, the system ends this process first
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with_host(handle: int) -> None:
    """End this process and its group when the host closes the channel."""
    poll = select.poll()
    poll.register(handle, 0)  # only the end of the channel wakes it
    poll.poll()
    os.killpg(0, signal.SIGKILL)


def serve(resident: Callable[[Channel], Resident]) -> None:
    """Serve the host at the other end of a socket; arguments: the socket's number, the device."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    _limit()
    expect_only_plugins()
    give([os.environ["HOME"]])  # a new folder, so all that is there is of this process
    threading.Thread(target=_end_with_host, args=(connection.fileno(),), daemon=True).start()
    resident(Channel(connection, device=Device(sys.argv[2]))).serve()


if __name__ == "__main__":
    serve(AttackResident)
