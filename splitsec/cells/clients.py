"""Builds the clients' side of a cell's sessions, in this process or in one of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from splitsec.cells.cell import Cell
from splitsec.data.parts import Data
from splitsec.errors import NotApplicable, PluginError, UsageError
from splitsec.isolation.copies import DefenseCopy, Expected, check_same
from splitsec.isolation.host import Guest
from splitsec.isolation.plugin_paths import unchanged_files
from splitsec.plugins.defense import Defense, DefenseStart, begin_defense
from splitsec.plugins.grants import GRANTS, ThreatModel
from splitsec.plugins.loading import absolute_spec
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import SplitModel, Target
from splitsec.randomness import derive_seed
from splitsec.shapes import SmashedShape
from splitsec.state import UnfitError
from splitsec.training.isolated_clients import MODULE, IsolatedSide
from splitsec.training.release import AT_ONCE, Sender
from splitsec.training.sides import ClientSide, PluginUse, SidePlan, label_of
from splitsec.training.trained import features_of


def plan_of(cell: Cell, data: Data, smashed: SmashedShape, learning_rate: float | None) -> SidePlan:
    """Return what the clients of a session are built from.

    Args:
        cell: the cell.
        data: its images.
        smashed: shape of one image's smashed data.
        learning_rate: learning rate that the server dictates, or None.
    """
    target, defense = (
        PluginUse(
            label=one.label,
            spec=absolute_spec(one.plugin.kind, one.plugin.spec),
            sha256=one.plugin.sha256,
            parameters=one.values() | one.absolute_inputs(),
        )
        for one in (cell.target, cell.defense)
    )
    clients = range(len(data.private))
    return SidePlan(
        target=target,
        defense=defense,
        cut=cell.spec.cut,
        image=tuple(cell.image),
        smashed=tuple(smashed),
        outputs=data.outputs,
        training=cell.spec.training,
        learning_rate=learning_rate,
        precision=cell.spec.precision,
        fakes_labels="defense" not in cell.descriptions and cell.defense.plugin.cls.fakes_labels,
        weights=derive_seed("initialisation", **cell.client_key()),
        defenses=tuple(defense_start(cell, "defense", client=client) for client in clients),
    )


def start_clients(cell: Cell) -> Guest:
    """Start a process for the clients of one session of a cell whose clients are isolated.

    It imports torch for seconds, so it is started while something else goes on.
    """
    assert cell.apart is not None, "the clients are isolated"
    methods = (cell.target, cell.defense)
    inputs = [Path(path) for one in methods for path in one.absolute_inputs().values()]
    sources = [*unchanged_files(one.plugin for one in methods), *inputs]
    label = label_of(*(one.label for one in methods))
    guest = Guest(label, cell.apart, sources, cell.device, module=MODULE, charged=False)
    guest.prepare(one.plugin for one in methods)
    return guest


def side_of(
    cell: Cell,
    plan: SidePlan,
    model: SplitModel,
    target: Target[Any],
    data: Data,
    guest: Guest | None = None,
) -> ClientSide | IsolatedSide:
    """Return the clients of a session.

    Args:
        cell: the cell.
        plan: what they are built from.
        model: the split model; clients in this process train their parts of it.
        target: the target, of which the model is.
        data: the cell's images.
        guest: a process of :func:`start_clients`, if one has been started.
    """
    parts = data.private
    if cell.apart is None:
        return ClientSide(plan, model, target, partial(new_defense, cell), parts, cell.device)
    precision = cell.spec.precision
    server = partial(features_of, model.server, name=cell.target.label, precision=precision)
    guest = guest or start_clients(cell)
    return IsolatedSide(plan, parts, guest, None if model.head is None else server)


def new_defense(cell: Cell) -> Defense[Any]:
    """Return a cell's defense before it begins."""
    defense: Defense[Any] = cell.defense.plugin.cls(cell.defense.parameters)
    return defense


def check_defense_acts(cell: Cell) -> None:
    """Raise a NotApplicable for a defense that needs training, where nothing is trained."""
    if cell.spec.training.trains or cell.spec.defense == "none":
        return
    plugin = cell.defense.plugin
    classes = [one.cls for one in plugin.parts or (plugin,)]
    why = None
    if all(getattr(cls, "release", None) is Defense.release for cls in classes):
        why = "changes the training and not what is sent"
    elif any(getattr(cls, "networks", Defense.networks) is not Defense.networks for cls in classes):
        why = "sends what a network has learned to make of the smashed data"
    if why is not None:
        raise NotApplicable(
            f"{cell.defense.label} {why}, and nothing is trained here (training.mode=inference)"
        )


def refuse_frozen(label: str, client: nn.Module) -> None:
    """Raise an error for a client whose weights are frozen but whose batch statistics are not.

    Raises:
        UsageError: such statistics would change in training, so that the client would be another.
    """
    weights = list(client.parameters())
    if any(weight.requires_grad for weight in weights) or not weights:
        return
    for name, module in client.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            raise UsageError(
                f"{label}: all weights of the client are frozen (requires_grad=False), but its "
                f"batch normalisation {name!r} would go on learning from what it sees; use the "
                "model as it is with --set training.mode=inference, or unfreeze it"
            )


def refuse_unknown(label: str, threat: ThreatModel) -> None:
    """Raise an error if an attack is granted a network where the traffic was recorded elsewhere.

    Raises:
        NotApplicable: nobody knows the networks, and the client answers no queries.
    """
    for name in ("client_architecture", "client_weights", "server_model", "queries"):
        if getattr(threat, name):
            raise NotApplicable(
                f"{label} needs {GRANTS[name].words}, and the traffic was recorded elsewhere"
            )


def copy_of_defense(
    cell: Cell, data: Data, smashed: SmashedShape, target: Target[Any]
) -> Defense[Any]:
    """Return a defense that has begun, with random numbers that no client has.

    Args:
        cell: the cell.
        data: its images.
        smashed: shape of one image's smashed data.
        target: the target as an attacker may have it, without trained weights.
    """
    start, make = defense_start(cell, _COPY), partial(new_defense, cell)
    untrained = plan_of(cell, data, smashed, None).untrained(target, cell.device)
    shapes = cell.image, smashed
    return begin_defense(cell.defense.label, make, *shapes, start, cell.device, untrained)[0]


_COPY = "attacker's defense"  # purpose of the copy that an attack may have


def granted_copy(
    cell: Cell,
    data: Data,
    smashed: SmashedShape,
    new_model: Callable[[], SplitModel],
    target: Target[Any],
) -> DefenseCopy:
    """Return the copy of the defense that an isolated attack builds by itself.

    Args:
        cell: the cell.
        data: its images.
        smashed: shape of one image's smashed data.
        new_model: makes the model with its initial weights.
        target: the target, of which the model is.
    """
    start = defense_start(cell, _COPY)
    if "defense" not in cell.descriptions:  # built in, or trusted
        return DefenseCopy(start)

    def expected() -> Expected:
        plan = plan_of(cell, data, smashed, None)
        plan = plan.model_copy(update={"defenses": (start,) * len(plan.defenses)})
        model, images, seed = new_model(), _checked_images(data), start.generator
        undefended = Sender(
            model.client,
            Defense(Parameters()),
            device=cell.device,
            precision=cell.spec.precision,
        )
        side = side_of(cell, plan, model, target, data)
        try:
            released = side.clients[0].sender.release(images, seed)
        finally:
            side.close()
        before = undefended.release(images, seed)
        return Expected(images, before, released, seed)

    return DefenseCopy(start, expected)


def check_sent(
    cell: Cell,
    data: Data,
    smashed: SmashedShape,
    model: SplitModel,
    target: Target[Any],
    sent: IsolatedSide,
) -> None:
    """Check that a client sends what a copy with the same state sends of the same images.

    With the copy of :func:`granted_copy` this compares what an attack has with what is really sent,
    although the attack's copy lacks the client's state and random numbers.

    Args:
        cell: the cell.
        data: its images.
        smashed: shape of one image's smashed data.
        model: the split model.
        target: the target, of which the model is.
        sent: the clients.

    Raises:
        PluginError: the copies disagree, or the defense's state cannot be copied.
    """
    label, images = cell.defense.label, _checked_images(data)
    seed = derive_seed("copies", images=data.sha256)
    again = side_of(cell, plan_of(cell, data, smashed, None), model, target, data)
    assert isinstance(again, IsolatedSide), "so are the clients of the session"
    try:
        again.set_state(sent.state())
        copied = again.clients[0].sender.release(images, seed)
    except UnfitError as error:
        raise PluginError(f"the state of {label} cannot be copied and compared: {error}") from None
    finally:
        again.close()
    check_same(label, copied, sent.clients[0].sender.release(images, seed), "with the same state")


def _checked_images(data: Data) -> Tensor:
    """Return the images on which copies are compared: an attacker may ask about them, too."""
    return data.public.batch(range(min(AT_ONCE, len(data.public))))


def defense_start(cell: Cell, purpose: str, **draw: Any) -> DefenseStart:
    """Return what a defense begins with; each purpose has its own random numbers."""
    draw = {
        "session": cell.client_key(),
        **draw,
        "cut": cell.spec.cut,
        "defense": cell.spec.defense,
        "parameters": cell.spec.parameters["defense"],
    }
    networks = derive_seed(f"{purpose}'s networks", **draw)
    training = cell.spec.training
    return DefenseStart(derive_seed(purpose, **draw), networks, training.epochs, training.trains)
