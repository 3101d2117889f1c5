"""Makes cells from a request: expands the grid, loads plug-ins, resolves parameters.

Every error in a request is found here, before anything is trained.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from splitsec.cells.cell import Cell, build_model, validated
from splitsec.cells.changes import with_changes
from splitsec.cells.configured import (
    ConfiguredPlugin,
    check_names,
    configure,
    configure_all,
    isolations,
    strengths_of,
)
from splitsec.cells.plugin_requests import ParsedRequest, PluginRequest, Settings, parse_request
from splitsec.cells.profiles import Profile, get_profile
from splitsec.cells.requests import Request
from splitsec.data.secret import commitment
from splitsec.errors import NotApplicable, UsageError, blaming
from splitsec.isolation import Isolation
from splitsec.isolation.unloaded import UNLOADED
from splitsec.plugins.loading import is_builtin, list_plugins, load_plugin
from splitsec.plugins.parameters import Parameters, build_parameters, merge
from splitsec.plugins.source import Task
from splitsec.plugins.target import Target, check_target, smashed_shape
from splitsec.records.spec import CellSpec
from splitsec.training.settings import Training


class ConfiguredPlugins(NamedTuple):
    """The plug-ins of a request, loaded.

    Attributes:
        attacks: in the order of the request, like the lists below.
        defenses: one or more.
        targets: one or more.
        data: data sets; empty if each target's task decides which one is used.
        usual_data: task to the profile's data set for it, if ``data`` is empty.
    """

    attacks: list[ConfiguredPlugin]
    defenses: list[ConfiguredPlugin]
    targets: list[ConfiguredPlugin]
    data: list[ConfiguredPlugin]
    usual_data: dict[Task, ConfiguredPlugin]


class Combination(NamedTuple):
    """One cell of a grid, before its defaults are looked up.

    Attributes:
        target: the loaded target.
        data: the loaded source of the images.
        size: height and width of the images in pixels, or None for the profile's.
        cut: index of the client's last layer, or None for the target's default.
        attack: the loaded attack.
        defense: the loaded defense.
        seed: the seed.
    """

    target: ConfiguredPlugin
    data: ConfiguredPlugin
    size: int | None
    cut: int | None
    attack: ConfiguredPlugin
    defense: ConfiguredPlugin
    seed: int


def resolve(request: Request, isolation: Isolation | None = None) -> list[Cell]:
    """Expand a request into cells.

    The partition is the public one, or that of the secret that is set on this machine, see
    :mod:`splitsec.data.secret`.

    Args:
        request: the request.
        isolation: how attacks are isolated; by default all are loaded and run in this process.

    Returns:
        The cells; the seed varies fastest, then defense, attack, cut, size, data, target.

    Raises:
        UsageError: an unknown name, parameter or cut, a value out of range, or a secret that
            cannot be used.
        PluginError: a plug-in cannot be loaded.
    """
    profile = get_profile(request.profile)
    parsed = parse_request(request, profile, strengths_of)
    loaded = load_plugins(parsed, request.profile, isolation)
    partition_commitment = commitment()
    cells = []
    for one in combinations(request, loaded):
        spec = make_spec(request, profile, parsed.settings, one, partition_commitment)
        plugins = (one.attack, one.defense, one.target, one.data)
        kept = isolations({used.plugin.kind: used.plugin.spec for used in plugins}, isolation)
        cell = Cell(spec, *plugins, kept.attack, kept.clients)
        cell.data_spec()
        cells.append(cell)
    check_splits(cells)
    return cells


def load_plugins(
    parsed: ParsedRequest, profile: str, isolation: Isolation | None = None
) -> ConfiguredPlugins:
    """Load what a request names, with its parameters.

    Args:
        parsed: the plug-ins and settings of the request.
        profile: name of the profile whose defaults a plug-in may state.
        isolation: how attacks are isolated; those that are not built in are then described by
            a process of their own.

    Raises:
        UsageError: an unknown name or parameter, a value out of range, or two sources of one name.
        PluginError: a plug-in cannot be loaded.
    """
    asked, given = parsed.plugins, parsed.settings.plugins
    attacks, defenses = (
        configure_all(kind, asked[kind], given[kind], profile, isolation) for kind in UNLOADED
    )
    targets = [configure("target", one, given["target"], profile) for one in asked["target"]]
    data = [configure("data", one, given["data"], profile) for one in asked["data"]]
    for plugins in (attacks, defenses, targets, data):
        check_names(plugins)
    tasks = set() if data else {task_of(one) for one in targets}
    usual = get_profile(profile).data
    usual_data = {
        task: configure("data", PluginRequest(usual[task], {}), profile=profile)
        for task in tasks
        if task in usual
    }
    return ConfiguredPlugins(attacks, defenses, targets, data, usual_data)


def combinations(request: Request, plugins: ConfiguredPlugins) -> Iterator[Combination]:
    """Yield the cells of a grid, the seed varying fastest.

    Args:
        request: gives sizes, cuts and seeds.
        plugins: its loaded plug-ins.

    Raises:
        UsageError: a target has no such cut, or the data are not labelled for its task.
    """
    data_sets: Sequence[ConfiguredPlugin | None] = plugins.data or [None]
    for target, data, size, cut, attack, defense, seed in itertools.product(
        plugins.targets,
        data_sets,
        request.size or [None],
        request.cut or [None],
        plugins.attacks,
        plugins.defenses,
        request.seed,
    ):
        check_target(target.label, target.plugin.cls, cut)
        task = task_of(target)
        labelled = data or plugins.usual_data[task]
        check_task(target.label, task, labelled)
        yield Combination(target, labelled, size, cut, attack, defense, seed)


def make_spec(
    request: Request,
    profile: Profile,
    settings: Settings,
    combination: Combination,
    partition_commitment: str | None = None,
) -> CellSpec:
    """Return the specification of one cell.

    Args:
        request: gives the values that all its cells share; fields that the specification has are
            copied.
        profile: gives the values that the request leaves open.
        settings: settings of training and counts; they win over the profile's.
        combination: the values of this cell alone.
        partition_commitment: commitment to the secret that splits the images, if any.

    Raises:
        UsageError: a value is out of range.
    """
    one = combination
    target = one.target.plugin.cls
    plugins = {"target": one.target, "data": one.data, "attack": one.attack, "defense": one.defense}
    shared = request.model_dump(include=set(CellSpec.model_fields))
    if request.threads is None:
        shared["threads"] = profile.threads
    images: dict[str, Any] = {**profile.images(one.data.plugin.name), **settings.counts}
    if one.size is not None:
        images["size"] = one.size
    by_target = target.training.get(request.profile, {})
    spec = validated(
        CellSpec,
        {
            **shared,
            **images,
            **{kind: plugin.plugin.name for kind, plugin in plugins.items()},
            "cut": target.default_cut if one.cut is None else one.cut,
            "seed": one.seed,
            "partition_commitment": partition_commitment,
            "training": build_training(profile.training, by_target, settings.training),
            "parameters": {
                kind: plugin.parameters.model_dump(mode="json") for kind, plugin in plugins.items()
            },
        },
    )
    return with_changes(spec, plugins.values())


def task_of(target: ConfiguredPlugin) -> Task:
    """Return what a target is trained for."""
    task: Task = target.plugin.cls.task_for(target.parameters)
    return task


def check_task(label: str, task: Task, data: ConfiguredPlugin) -> None:
    """Raise a UsageError unless the data are labelled for the target's task."""
    labelled = data.plugin.cls.task_for(data.parameters)
    if labelled != task:
        names = [one.name for one in list_plugins("data") if is_builtin("data", one.name)]
        known = {name: load_plugin("data", name).cls for name in names}
        fitting = ", ".join(
            name if one.task == task else one.other_tasks[task]
            for name, one in known.items()
            if task in (one.task, *one.other_tasks)
        )
        raise UsageError(
            f"{label} is trained for {task}, but {data.label} are labelled for {labelled}; "
            f"use --data with one of {fitting}"
        )


def build_training(defaults: Training, *layers: Mapping[str, Any]) -> Training:
    """Return training settings with some of them replaced; later layers win.

    Raises:
        UsageError: an unknown setting, or a value of the wrong type or range.
    """

    class _Training(Training, Parameters):  # for build_parameters' errors
        pass

    values = merge(defaults.model_dump(), *layers)
    return Training(**build_parameters("training", _Training, values).model_dump())


def check_splits(cells: Sequence[Cell]) -> None:
    """Split each target once, as the cells would; one that does not apply is left to its cells.

    Raises:
        UsageError: a target cannot be split at this cut for images of this size.
        PluginError: a target raised.
    """
    tried: set[str] = set()
    for cell in cells:
        where = [cell.spec.cut, cell.spec.parameters["target"]]
        key = json.dumps([cell.client_key() | {"seed": 0}, *where], sort_keys=True)
        if key in tried:
            continue
        tried.add(key)
        with (
            suppress(NotApplicable),  # its cells are skipped, and their records say why
            blaming(cell.target.label, "split() or the client's forward()"),
        ):
            target: Target[Any] = cell.target.plugin.cls(cell.target.parameters)
            outputs = 2 if task_of(cell.target) == "classification" else 1
            smashed_shape(build_model(cell, target, outputs).client, cell.image)
