"""Loads the plug-ins that a request names and resolves their parameters.

An isolated attack is described by a process of its own instead of loaded here.
"""

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
        """Its name in errors, such as ``attack 'fsha'``."""
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
        request: its name and the parameters given beside it.
        settings: name to parameter to value, as ``--set`` gives them.
        profile: name of the profile; the plug-in's class may state defaults for it.

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
    """Configure attacks; isolated ones that are not built in are described, not loaded."""
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
    """Return the parameters that were set for a plug-in; later layers win."""
    by_setting = [values for name, values in (settings or {}).items() if is_named(request, name)]
    return [*by_setting, request.parameters]


def described(description: Description) -> ConfiguredPlugin:
    """Return the attack of a description, without loading its code."""
    return ConfiguredPlugin(description.plugin(), description.given())


def isolation_of(spec: str, isolation: Isolation | None) -> Isolation | None:
    """Return how an attack is isolated, or None if it may run in this process."""
    if isolation is None or (isolation.attacks == "others" and is_builtin("attack", spec)):
        return None
    return isolation


def is_apart(spec: str, isolation: Isolation | None) -> bool:
    """Return whether an attack is loaded only in a process of its own."""
    return isolation is not None and not is_builtin("attack", spec)


def with_parameters(plugin: Plugin, values: Mapping[str, Any]) -> ConfiguredPlugin:
    """Return a plug-in with these parameters and defaults for the others.

    Raises:
        UsageError: an unknown parameter, or a value out of range.
    """
    label = f"{plugin.kind} {plugin.name!r}"
    return ConfiguredPlugin(plugin, build_parameters(label, plugin.cls.Parameters, values))


def check_names(plugins: Sequence[ConfiguredPlugin]) -> None:
    """Raise a UsageError if two sources would have the same name in the records."""
    sources: dict[str, str] = {}
    for one in plugins:
        code = f"{one.plugin.cls.__qualname__} of {one.plugin.source}"
        known = sources.setdefault(one.plugin.name, code)
        if known != code:
            raise UsageError(f"{one.label} is two things, {known} and {code}; rename one")
