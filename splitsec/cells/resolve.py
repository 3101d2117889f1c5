"""From a request to cells: grids expanded, names loaded, parameters resolved.

Everything that can be wrong with a request is found here, before anything is trained.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from splitsec.cells.cell import Cell, build_model, validated
from splitsec.cells.configured import (
    ConfiguredPlugin,
    check_names,
    configure,
    configure_attacks,
    isolation_of,
    key_of,
)
from splitsec.cells.requests import (
    COUNTS,
    PluginRequest,
    get_profile,
    parse_requests,
    parse_settings,
)
from splitsec.data.secret import commitment
from splitsec.errors import UsageError, blaming
from splitsec.isolation import Isolation
from splitsec.plugins.loading import is_builtin, list_plugins, load_plugin
from splitsec.plugins.parameters import Parameters, build_parameters, merge
from splitsec.plugins.source import Task
from splitsec.plugins.target import Target, check_target, smashed_shape
from splitsec.records.spec import CellSpec
from splitsec.training.settings import Training

M = TypeVar("M", bound=BaseModel)


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
    attacks = configure_attacks(requests["attack"], parsed["attack"], profile, isolation)
    defenses = [configure("defense", r, parsed["defense"], profile) for r in requests["defense"]]
    targets = [configure("target", r, parsed["target"], profile) for r in requests["target"]]
    data_sets = [configure("data", r, parsed["data"], profile) for r in requests["data"]]
    for chosen in (attacks, defenses, targets, data_sets):
        check_names(chosen)
    asked_data: list[ConfiguredPlugin | None] = [*data_sets] or [None]
    usual = {
        task: configure("data", PluginRequest(defaults.data[task], {}), profile=profile)
        for task in {chosen.plugin.cls.task for chosen in targets}
        if not data_sets and task in defaults.data
    }
    partition_commitment = commitment()
    cells: list[Cell] = []
    for (
        chosen_target,
        one_data,
        pixels,
        one_cut,
        chosen_attack,
        chosen_defense,
        seed,
    ) in itertools.product(
        targets,
        asked_data,
        _numbers("size", size),
        _numbers("cut", cut),
        attacks,
        defenses,
        seeds,
    ):
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
            validated(CellSpec, values),
            chosen_attack,
            chosen_defense,
            chosen_target,
            chosen_data,
            isolation_of(chosen_attack.plugin.spec, isolation),
        )
        cell.data_spec()
        cells.append(cell)
    _check_splits(cells)
    return cells


def _check_task(label: str, task: Task, data: ConfiguredPlugin) -> None:
    """Raise a UsageError unless the data are labelled for what the target is trained for."""
    labelled = data.plugin.cls.task
    if labelled != task:
        known = [one.name for one in list_plugins("data") if is_builtin("data", one.name)]
        fitting = ", ".join(name for name in known if load_plugin("data", name).cls.task == task)
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
