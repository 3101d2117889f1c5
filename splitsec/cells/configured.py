"""Loads the plug-ins that a request names and resolves their parameters.

An isolated attack is described by a process of its own instead of loaded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from splitsec.cells.plugin_requests import PluginRequest, is_named
from splitsec.data.files import user_path
from splitsec.errors import PluginError, UsageError, blaming, reason
from splitsec.files import sha256_of_content
from splitsec.isolation import Isolation
from splitsec.isolation.unloaded import UNLOADED, Description, UnloadedRequest, describe
from splitsec.plugins.ensemble import Ensemble, Member
from splitsec.plugins.loading import Plugin, is_builtin, load_plugin
from splitsec.plugins.names import METHODS, Kind, plain_name
from splitsec.plugins.parameters import (
    Parameters,
    build_parameters,
    merge,
    profile_defaults,
    unlike_defaults,
)


@dataclass(frozen=True)
class ConfiguredPlugin:
    """A loaded plug-in with its resolved parameters.

    Attributes:
        plugin: the plug-in.
        parameters: its parameters.
        inputs: from each parameter that names a file or folder to the SHA-256 of its content;
            empty for a data set, whose images count.
        changed: names of the parameters whose values are not the defaults of the profile.
        members: the attacks of an ensemble; empty for all else.
    """

    plugin: Plugin
    parameters: Parameters
    inputs: Mapping[str, str] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    members: tuple[ConfiguredPlugin, ...] = ()

    @property
    def label(self) -> str:
        """Its name in errors, such as ``attack 'fsha'``."""
        return self.plugin.label

    def values(self) -> dict[str, Any]:
        """Return its parameters as JSON values."""
        return self.parameters.model_dump(mode="json")

    def absolute_inputs(self) -> dict[str, str]:
        """Return the paths of the files that the parameters name, absolute."""
        paths = self.parameters.input_paths().items()
        return {name: str(user_path(path).absolute()) for name, path in paths}

    def check_inputs(self) -> None:
        """Check that the files that the parameters name have not changed since they were resolved.

        Raises:
            PluginError: one has changed or is missing.
        """
        for name, path in self.parameters.input_paths().items():
            if name in self.inputs and _sha256(self.label, name, path) != self.inputs[name]:
                raise PluginError(
                    f"{path}, the parameter {name!r} of {self.label}, has been changed since the "
                    "run began; run it again"
                )


def configure(
    kind: Kind,
    request: PluginRequest,
    settings: Mapping[str, Mapping[str, str]] | None = None,
    profile: str = "quick",
) -> ConfiguredPlugin:
    """Load a plug-in and resolve its parameters.

    Args:
        kind: attack, defense, target or data.
        request: its name and the parameters given beside it.
        settings: name to parameter to value, as ``--set`` gives them.
        profile: name of the profile; the plug-in's class may state defaults for it.

    Raises:
        UsageError: an unknown name or parameter, or a value out of range.
        PluginError: it cannot be loaded.
    """
    return with_parameters(
        load_plugin(kind, request.spec), merge(*_layers(request, settings)), profile
    )


def strengths_of(spec: str) -> str:
    """Return the strengths that a built-in defense states, as a sweep: ``alpha=0.1,0.5``.

    Raises:
        UsageError: it states none, or is not built in, so that its code may not run here.
    """
    if not is_builtin("defense", spec):
        name = plain_name(spec)
        raise UsageError(
            f"--sweep defense.{name}: only built-in defenses state their strengths; write "
            f"--sweep defense.{name}.PARAMETER=VALUE,VALUE"
        )
    strength = load_plugin("defense", spec).cls.strength
    if strength is None:
        raise UsageError(f"--sweep defense.{spec}: this defense has no strength")
    return f"{strength.parameter}={','.join(strength.texts)}"


def configure_all(
    kind: Kind,
    requests: Sequence[PluginRequest],
    settings: Mapping[str, Mapping[str, str]],
    profile: str,
    isolation: Isolation | None,
) -> list[ConfiguredPlugin]:
    """Configure attacks or defenses; isolated ones that are not built in are described, not loaded.

    Args:
        kind: attack or defense.
        requests: their names and the parameters given beside them.
        settings: name to parameter to value, as ``--set`` gives them.
        profile: name of the profile; a plug-in's class may state defaults for it.
        isolation: how they are isolated.
    """
    unloaded = [request for request in requests if is_apart(kind, request.spec, isolation)]
    known: dict[int, ConfiguredPlugin] = {}
    if isolation is not None and unloaded:
        asked = [UnloadedRequest(request.spec, _layers(request, settings)) for request in unloaded]
        found = describe(kind, asked, profile, isolation)
        known = {
            id(request): described(one, profile)
            for request, one in zip(unloaded, found, strict=True)
        }
    return [
        known.get(id(request)) or configure(kind, request, settings, profile)
        for request in requests
    ]


def _layers(
    request: PluginRequest, settings: Mapping[str, Mapping[str, str]] | None
) -> list[Mapping[str, Any]]:
    """Return the parameters that were set for a plug-in; later layers win."""
    by_setting = [values for name, values in (settings or {}).items() if is_named(request, name)]
    return [*by_setting, request.parameters]


def described(description: Description, profile: str) -> ConfiguredPlugin:
    """Return the plug-in of a description, without loading its code.

    Args:
        description: of an attack or a defense.
        profile: name of the profile that gives the defaults of an ensemble's members.
    """
    one = _with_inputs(description.plugin(), description.given(), tuple(description.changed))
    return replace(one, members=_configured(map(Member._make, description.members), profile))


class Kept(NamedTuple):
    """How the sides of a cell are isolated; None for a side that may run in this process.

    Attributes:
        attack: how its attack is.
        clients: how its clients are.
    """

    attack: Isolation | None
    clients: Isolation | None


def isolations(specs: Mapping[Kind, str], isolation: Isolation | None) -> Kept:
    """Return how the sides of a cell are isolated.

    The clients run a stranger's defense or target, and so do attacks that have a copy of it, so it
    isolates both.

    Args:
        specs: kind to the plug-in's name or path.
        isolation: how plug-ins are isolated.
    """
    apart = {
        kind: isolation is not None
        and (isolation.attacks == "all" or not is_builtin(kind, specs[kind]))
        for kind in METHODS
    }
    clients = isolation if apart["defense"] or apart["target"] else None
    return Kept(isolation if apart["attack"] else clients, clients)


def is_apart(kind: Kind, spec: str, isolation: Isolation | None) -> bool:
    """Return whether an attack or a defense is loaded only in processes of its own."""
    return kind in UNLOADED and isolation is not None and not is_builtin(kind, spec)


def with_parameters(plugin: Plugin, values: Mapping[str, Any], profile: str) -> ConfiguredPlugin:
    """Return a plug-in with these parameters and defaults for the others.

    Args:
        plugin: the plug-in.
        values: parameter to value.
        profile: name of the profile; the plug-in's class may state defaults for it.

    Raises:
        UsageError: an unknown parameter, or a value out of range.
    """
    label = f"{plugin.kind} {plugin.name!r}"
    usual = profile_defaults(plugin.cls, profile)
    parameters = build_parameters(label, plugin.cls.Parameters, merge(usual, values))
    configured = _with_inputs(plugin, parameters, unlike_defaults(parameters, usual))
    if not issubclass(plugin.cls, Ensemble):
        return configured
    with blaming(label, "members()"):
        members = list(plugin.cls.members(parameters))
    return replace(configured, members=_configured(members, profile))


def _configured(members: Iterable[Member], profile: str) -> tuple[ConfiguredPlugin, ...]:
    """Return the attacks of an ensemble with the defaults of a profile.

    Raises:
        UsageError: there is no such attack or parameter.
    """
    return tuple(
        with_parameters(load_plugin("attack", one.attack), one.parameters, profile)
        for one in members
    )


def _with_inputs(
    plugin: Plugin, parameters: Parameters, changed: tuple[str, ...]
) -> ConfiguredPlugin:
    """Hash the files that parameters name.

    Raises:
        UsageError: one is missing or cannot be read.
    """
    paths = {} if plugin.kind == "data" else parameters.input_paths()
    inputs = {name: _sha256(plugin.label, name, path) for name, path in paths.items()}
    return ConfiguredPlugin(plugin, parameters, inputs, changed)


def _sha256(label: str, name: str, path: str) -> str:
    try:
        return sha256_of_content(user_path(path))
    except OSError as error:
        said = f"parameter {name!r} of {label}: cannot read {path}: {reason(error)}"
        raise UsageError(said) from None


def check_names(plugins: Sequence[ConfiguredPlugin]) -> None:
    """Raise a UsageError if two sources would have the same name in the records."""
    sources: dict[str, str] = {}
    for one in plugins:
        code = f"{one.plugin.cls.__qualname__} of {one.plugin.source}"
        known = sources.setdefault(one.plugin.name, code)
        if known != code:
            raise UsageError(f"{one.label} is two things, {known} and {code}; rename one")
