"""Plug-ins as they are asked for, loaded or described, with their parameters resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitsec.cells.plugin_requests import PluginRequest, is_named
from splitsec.errors import UsageError
from splitsec.isolation import Isolation
from splitsec.isolation.unloaded import AttackRequest, Description, describe
from splitsec.plugins.loading import Plugin, is_builtin, load_plugin
from splitsec.plugins.names import Kind
from splitsec.plugins.parameters import Parameters, build_parameters, merge


@dataclass(frozen=True)
class ConfiguredPlugin:
    """A loaded plug-in with its resolved parameters."""

    plugin: Plugin
    parameters: Parameters

    @property
    def label(self) -> str:
        """How errors name it, such as ``attack 'fsha'``."""
        return self.plugin.label


def configure(
    kind: Kind,
    request: PluginRequest,
    settings: Mapping[str, Mapping[str, str]] | None = None,
    profile: str = "quick",
) -> ConfiguredPlugin:
    """Load a plug-in and resolve its parameters.

    Args:
        kind: attack, defense, target or data.
        request: how it is asked for.
        settings: name to parameter to value, as ``--set`` gives them.
        profile: whose defaults its class may state.

    Raises:
        UsageError: an unknown name or parameter, or a value out of range.
        PluginError: it cannot be loaded.
    """
    plugin = load_plugin(kind, request.spec)
    by_profile = getattr(plugin.cls, "profiles", {}).get(profile, {})
    return with_parameters(plugin, merge(by_profile, *_layers(request, settings)))


def configure_attacks(
    requests: Sequence[PluginRequest],
    settings: Mapping[str, Mapping[str, str]],
    profile: str,
    isolation: Isolation | None,
) -> list[ConfiguredPlugin]:
    """Configure attacks; those that are not built in are not loaded here if they are isolated."""
    unloaded = [request for request in requests if is_apart(request.spec, isolation)]
    known: dict[int, ConfiguredPlugin] = {}
    if isolation is not None and unloaded:
        asked = [AttackRequest(request.spec, _layers(request, settings)) for request in unloaded]
        found = describe(asked, profile, isolation)
        known = {id(request): described(one) for request, one in zip(unloaded, found, strict=True)}
    return [
        known.get(id(request)) or configure("attack", request, settings, profile)
        for request in requests
    ]


def _layers(
    request: PluginRequest, settings: Mapping[str, Mapping[str, str]] | None
) -> list[Mapping[str, Any]]:
    """Return what was set of a plug-in's parameters; later layers win."""
    by_setting = [values for name, values in (settings or {}).items() if is_named(request, name)]
    return [*by_setting, request.parameters]


def described(description: Description) -> ConfiguredPlugin:
    """Return an attack that is known by its description alone."""
    return ConfiguredPlugin(description.plugin(), description.given())


def isolation_of(spec: str, isolation: Isolation | None) -> Isolation | None:
    """Return how an attack is kept apart, or None where it may run in this process."""
    if isolation is None or (isolation.attacks == "others" and is_builtin("attack", spec)):
        return None
    return isolation


def is_apart(spec: str, isolation: Isolation | None) -> bool:
    """Return whether an attack is loaded in a process of its own only."""
    return isolation is not None and not is_builtin("attack", spec)


def with_parameters(plugin: Plugin, values: Mapping[str, Any]) -> ConfiguredPlugin:
    """Return a plug-in with parameters of its class, the rest by default.

    Raises:
        UsageError: an unknown parameter, or a value out of range.
    """
    label = f"{plugin.kind} {plugin.name!r}"
    return ConfiguredPlugin(plugin, build_parameters(label, plugin.cls.Parameters, values))


def check_names(plugins: Sequence[ConfiguredPlugin]) -> None:
    """Raise a UsageError where two sources would go by one name in the records."""
    sources: dict[str, str] = {}
    for one in plugins:
        code = f"{one.plugin.cls.__qualname__} of {one.plugin.source}"
        known = sources.setdefault(one.plugin.name, code)
        if known != code:
            raise UsageError(f"{one.label} is two things, {known} and {code}; rename one")
