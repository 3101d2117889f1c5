"""From what a person asked to cells: grids expanded, names loaded, parameters resolved.

Everything that can be wrong with a request is found here, before anything is trained.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from splitsec.choice import Chosen, check_names, choose, choose_attacks, isolation_of, key_of
from splitsec.data import DataSpec, Part, list_sources
from splitsec.data.secret import commitment
from splitsec.data.source import Task
from splitsec.data.sources import source_task
from splitsec.errors import PluginError, UsageError, blaming
from splitsec.images import Shape
from splitsec.isolation import Isolation
from splitsec.isolation.description import Description, StandIn
from splitsec.parameters import Parameters, build_parameters
from splitsec.plugins import (
    Plugin,
    source_sha256,
)
from splitsec.randomness import seeded_global_generator
from splitsec.record import PROTOCOL_VERSION
from splitsec.spec import (
    COUNTS,
    CellSpec,
    PluginRequest,
    Training,
    get_profile,
    merge,
    parse_requests,
    parse_settings,
)
from splitsec.target import SplitModel, Target, check_target, smashed_shape

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Cell:
    """One cell of a grid, ready to run.

    Attributes:
        spec: everything that decides its numbers, but for the sources' hashes.
        attack: the loaded attack.
        defense: the loaded defense.
        target: the loaded target.
        data: the loaded source of the images.
        isolation: how its attack is kept apart, or None where it runs in this process; no part
            of the cell's id.
    """

    spec: CellSpec
    attack: Chosen
    defense: Chosen
    target: Chosen
    data: Chosen
    isolation: Isolation | None = None

    @property
    def image(self) -> Shape:
        """Shape of one image."""
        return Shape(self.spec.channels, self.spec.size, self.spec.size)

    @property
    def chosen(self) -> tuple[Chosen, Chosen, Chosen, Chosen]:
        """Attack, defense, target and data."""
        return self.attack, self.defense, self.target, self.data

    @property
    def description(self) -> Description | None:
        """What is known of the attack where it is not loaded in this process, else None."""
        cls = self.attack.plugin.cls
        return cls.description if issubclass(cls, StandIn) else None

    def data_spec(self) -> DataSpec:
        """Return the part of the specification that decides the images.

        Raises:
            UsageError: the images would be too small, or parts too few.
        """
        spec = self.spec
        for name, least in (("private", 2), ("held_out", 1), ("victims", 1)):
            count = getattr(spec, name)
            if count < least * spec.clients:
                raise UsageError(
                    f"{spec.clients} clients need {least * spec.clients} {name} images or more, "
                    f"and there are {count}; ask for fewer clients or --set counts.{name}"
                )
        return _checked(
            DataSpec,
            {
                "name": spec.data,
                "plugin": None if self.data.plugin.spec == spec.data else self.data.plugin.spec,
                "parameters": spec.parameters["data"],
                "size": spec.size,
                "channels": spec.channels,
                "partition": spec.partition,
                "partition_commitment": spec.partition_commitment,
                "private": spec.private,
                "public": spec.public,
                "validation": spec.validation,
                "held_out": spec.held_out,
                "clients": spec.clients,
                "public_from": spec.public_from,
            },
        )

    def cell_id(self, data_sha256: str) -> str:
        """Return the hash of everything that decides the numbers.

        Args:
            data_sha256: hash of the decoded images and labels.
        """
        text = json.dumps(self.identity(data_sha256), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def identity(self, data_sha256: str) -> dict[str, Any]:
        """Return everything that decides the numbers, as JSON values.

        Args:
            data_sha256: hash of the decoded images and labels.
        """
        # Of the data it is the images that count, whatever made them.
        methods = (self.attack.plugin, self.defense.plugin, self.target.plugin)
        return {
            "spec": self.spec.model_dump(mode="json"),
            "sources": {plugin.kind: _source(plugin) for plugin in methods},
            "shared": _shared_source(),
            "data": data_sha256,
            "protocol": PROTOCOL_VERSION,
        }

    def session_key(self) -> str:
        """Return the hash of everything that decides the honest session.

        Cells that differ in their attack alone share it, and are run together.
        """
        spec = self.spec.model_dump(mode="json", exclude={"attack": True, "profile": True})
        spec["parameters"].pop("attack")
        sources = [_source(self.defense.plugin), _source(self.target.plugin), _shared_source()]
        return hashlib.sha256(json.dumps([spec, sources], sort_keys=True).encode()).hexdigest()

    def client_key(self) -> dict[str, Any]:
        """Return what initialisation and batch order depend on.

        Neither the cut nor the defense is among it: every cut and every defense starts from
        the same weights and sees the same batches, so that differences between them are not
        those of two seeds.
        """
        spec = self.spec
        return {
            "target": spec.target,
            "parameters": spec.parameters["target"],
            "data": spec.data,
            "image": list(self.image),
            "partition": spec.partition,
            "clients": spec.clients,
            "seed": spec.seed,
        }


def _source(plugin: Plugin) -> list[str]:
    """Return what tells a plug-in's code from others: its source and its class."""
    return [plugin.sha256, plugin.cls.__qualname__]


@cache
def _shared_source() -> list[str]:
    """Return the hashes of the core's modules that are parts of plug-ins' methods."""
    folder = Path(__file__).parent
    return [source_sha256(folder / f"{name}.py") for name in ("inversion", "layers", "networks")]


def victims_of(private: Sequence[Part], count: int) -> list[tuple[int, int]]:
    """Choose the victims among the private images, spread evenly over the clients.

    Parts are in random order, classes mixed, so the first rows are a random sample.

    Args:
        private: one part per client.
        count: how many victims are wanted.

    Returns:
        (client, row) of each victim; fewer than ``count`` where there are fewer images.
    """
    shares = [count // len(private) + (i < count % len(private)) for i in range(len(private))]
    return [
        (client, row)
        for client, (part, share) in enumerate(zip(private, shares, strict=True))
        for row in range(min(share, len(part)))
    ]


def resolve(  # noqa: PLR0913 - one argument per axis of the grid
    *,
    attack: str,
    defense: str,
    target: str | None = None,
    data: str | None = None,
    cut: str | int | None = None,
    size: str | int | None = None,
    channels: int = 3,
    clients: int = 1,
    profile: str = "quick",
    seeds: Sequence[int] = (0,),
    settings: Sequence[str] = (),
    sweeps: Sequence[str] = (),
    public_from: str = "same",
    threads: int | None = None,
    isolation: Isolation | None = None,
) -> list[Cell]:
    """Expand a request into cells; every list-valued text makes a grid.

    Args:
        attack: such as ``"fsha"`` or ``"fsha:iterations=500,./mine.py"``.
        defense: such as ``"none,dcor:alpha=0.9"``.
        target: likewise; the profile's by default.
        data: likewise; the profile's by default.
        cut: such as ``"2,3"``; the target's default by default.
        size: height and width in pixels, such as ``"32,64"``; the profile's by default.
        channels: 1 or 3.
        clients: number of clients.
        profile: name of a profile.
        seeds: one cell each.
        settings: such as ``"attack.fsha.iterations=500"`` or ``"training.epochs=5"``.
        sweeps: such as ``"defense.dcor.alpha=0.1,0.5,0.9"``: the plug-in once per value.
        public_from: ``"same"`` or ``"shifted"``.
        threads: CPU threads; the profile's by default.
        isolation: how attacks are kept apart; by default all of them run, and are loaded, in
            this process.

    The partition is the public one, or of the secret that is set here, see
    :mod:`splitsec.data.secret`.

    Returns:
        The cells; the seed varies fastest, then defense, attack, cut, size, data, target.

    Raises:
        UsageError: an unknown name, parameter or cut, a value out of range, or a secret that
            cannot be used.
        PluginError: a plug-in cannot be loaded.
    """
    defaults = get_profile(profile)
    given = parse_settings(settings)
    parsed = given.plugins
    requests = {
        "attack": parse_requests(attack),
        "defense": parse_requests(defense),
        "target": parse_requests(target or defaults.target),
        "data": parse_requests(data) if data else [],
    }
    for text in sweeps:
        _sweep(requests, text)
    for kind, named in parsed.items():
        for name in named:
            if all(key_of(request.spec) != key_of(name) for request in requests[kind]):
                raise UsageError(f"--set {kind}.{name}: this run has no {kind} {name!r}")
    attacks = choose_attacks(requests["attack"], parsed["attack"], profile, isolation)
    defenses = [choose("defense", r, parsed["defense"], profile) for r in requests["defense"]]
    targets = [choose("target", r, parsed["target"], profile) for r in requests["target"]]
    data_sets = [choose("data", r, parsed["data"], profile) for r in requests["data"]]
    for chosen in (attacks, defenses, targets, data_sets):
        check_names(chosen)
    asked_data: list[Chosen | None] = [*data_sets] or [None]
    usual = {
        task: choose("data", PluginRequest(defaults.data[task], {}), profile=profile)
        for task in {chosen.plugin.cls.task for chosen in targets}
        if not data_sets and task in defaults.data
    }
    partition_commitment = commitment()
    cells: list[Cell] = []
    for chosen_target, one_data, pixels, one_cut, chosen_attack, chosen_defense, seed in (
        itertools.product(
            targets, asked_data, _numbers("size", size), _numbers("cut", cut),
            attacks, defenses, seeds,
        )
    ):  # fmt: skip
        check_target(chosen_target.label, chosen_target.plugin.cls, one_cut)
        task = chosen_target.plugin.cls.task
        chosen_data = one_data or usual[task]
        _check_task(chosen_target.label, task, chosen_data)
        images = {name: getattr(defaults, name) for name in ("size", *COUNTS)}
        images |= defaults.for_data.get(chosen_data.plugin.name, {})
        training = build_training(
            defaults.training, chosen_target.plugin.cls.training.get(profile, {}), given.training
        )
        values = {
            **images,
            "target": chosen_target.plugin.name,
            "cut": chosen_target.plugin.cls.default_cut if one_cut is None else one_cut,
            "data": chosen_data.plugin.name,
            "size": images["size"] if pixels is None else pixels,
            "channels": channels,
            "clients": clients,
            "attack": chosen_attack.plugin.name,
            "defense": chosen_defense.plugin.name,
            "profile": profile,
            "seed": seed,
            "public_from": public_from,
            "partition_commitment": partition_commitment,
            **given.counts,
            "threads": threads or defaults.threads,
            "training": training,
            "parameters": {
                "target": chosen_target.parameters.model_dump(mode="json"),
                "data": chosen_data.parameters.model_dump(mode="json"),
                "attack": chosen_attack.parameters.model_dump(mode="json"),
                "defense": chosen_defense.parameters.model_dump(mode="json"),
            },
        }
        cell = Cell(
            _checked(CellSpec, values), chosen_attack, chosen_defense, chosen_target, chosen_data,
            isolation_of(chosen_attack.plugin.spec, isolation),
        )  # fmt: skip
        cell.data_spec()
        cells.append(cell)
    _check_splits(cells)
    return cells


def _check_task(label: str, task: Task, data: Chosen) -> None:
    """Raise a UsageError unless the data are labelled for what the target is trained for."""
    labelled = data.plugin.cls.task
    if labelled != task:
        fitting = ", ".join(name for name, _ in list_sources() if source_task(name) == task)
        raise UsageError(
            f"{label} is trained for {task}, but {data.label} are labelled for {labelled}; "
            f"use --data with one of {fitting}"
        )


def _sweep(requests: dict[str, list[PluginRequest]], text: str) -> None:
    """Put a plug-in's request once per value of a parameter in its place."""
    path, _, values = text.partition("=")
    kind, _, rest = path.partition(".")
    name, _, parameter = rest.rpartition(".")
    given = [value.strip() for value in values.split(",") if value.strip()]
    if kind not in requests or not (name and parameter and given):
        raise UsageError(f"--sweep {text!r} is not of the form defense.dcor.alpha=0.1,0.5,0.9")
    swept = [request for request in requests[kind] if key_of(request.spec) == key_of(name)]
    if not swept:
        raise UsageError(f"--sweep {kind}.{name}: this run has no {kind} {name!r}")
    requests[kind] = [
        PluginRequest(request.spec, merge(request.parameters, changed))
        for request in requests[kind]
        for changed in ([{parameter: value} for value in given] if request in swept else [{}])
    ]


def _numbers(name: str, text: str | int | None) -> list[int | None]:
    if text is None:
        return [None]
    try:
        return [int(part) for part in str(text).split(",")]
    except ValueError:
        raise UsageError(f"--{name} {text!r} is not a list of whole numbers") from None


def build_training(defaults: Training, *layers: Mapping[str, Any]) -> Training:
    """Return training settings with some of them replaced; later layers win.

    Raises:
        UsageError: an unknown setting, or a value of the wrong type or range.
    """

    class _Training(Training, Parameters):  # for build_parameters' errors
        pass

    values = merge(defaults.model_dump(), *layers)
    return Training(**build_parameters("training", _Training, values).model_dump())


def _checked(cls: type[M], values: Mapping[str, Any]) -> M:
    """Build a specification, or raise a UsageError that names the value at fault."""
    try:
        return cls(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {first['msg']} (got {first['input']!r})") from None


def _check_splits(cells: Sequence[Cell]) -> None:
    """Split each target once, as the cells would.

    Raises:
        UsageError: a target cannot be split so for images of this size.
        PluginError: a target raised.
    """
    tried: set[str] = set()
    for cell in cells:
        key = json.dumps(cell.client_key() | {"cut": cell.spec.cut, "seed": 0}, sort_keys=True)
        if key in tried:
            continue
        tried.add(key)
        with blaming(cell.target.label, "split() or the client's forward()"):
            target: Target[Any] = cell.target.plugin.cls(cell.target.parameters)
            outputs = 2 if target.task == "classification" else 1
            smashed_shape(build_model(cell, target, outputs).client, cell.image)


def build_model(
    cell: Cell, target: Target[Any], outputs: int, stage: str = "initialisation"
) -> SplitModel:
    """Build a cell's split target; another stage name gives other initial weights.

    Raises:
        UsageError: the target cannot be split so.
        PluginError: the target raised, or gave no split model.
    """
    label = cell.target.label
    with blaming(label, "split()"), seeded_global_generator(stage, cell.client_key()):
        model: object = target.split(cell.image, outputs, cell.spec.cut)
    if not isinstance(model, SplitModel):
        kind = type(model).__name__
        raise PluginError(f"{label} returned {kind} from split(); a SplitModel is due")
    return model
