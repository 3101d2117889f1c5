"""Describes an attack or a defense without importing it: a guest does, and sends a description.

Importing a plug-in runs its code, so the process that scores and judges never does. A guest checks
the plug-in's parameters and computes the threat model of an attack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from torch import Tensor

from splitsec.errors import NotApplicable, PluginError, blaming
from splitsec.isolation import Isolation
from splitsec.isolation.host import Answer, Guest
from splitsec.isolation.processes import short
from splitsec.plugins.attack import Attack
from splitsec.plugins.defense import Defense
from splitsec.plugins.description import threat_model_of
from splitsec.plugins.ensemble import Ensemble
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.loading import (
    Plugin,
    absolute_spec,
    entry_point_of,
    is_builtin,
    load_plugin,
    plugin_path,
)
from splitsec.plugins.module_files import Package, package_of
from splitsec.plugins.names import Kind, plain_name
from splitsec.plugins.parameters import (
    Parameters,
    build_parameters,
    merge,
    profile_defaults,
    unlike_defaults,
)
from splitsec.plugins.source_code import read_source
from splitsec.plugins.view import View

UNLOADED: tuple[Kind, ...] = ("attack", "defense")
"""Kinds of plug-ins that are described."""

_SECONDS = 900.0  # time limit for describing a plug-in


class UnloadedRequest(NamedTuple):
    """A request for a plug-in: its name or path, and layers of parameters, of which later win."""

    spec: str
    layers: Sequence[Mapping[str, Any]]


class _GuestAnswer(BaseModel):
    """A guest's description of an attack."""

    model_config = ConfigDict(extra="forbid")

    module: str
    cls: str = Field(max_length=200, pattern=r"^[A-Za-z_][\w.]*$")
    parameters: dict[str, Any]
    changed: list[str]
    input_paths: dict[str, str]
    reconstructs: bool = False
    threat: ThreatModel | None = None
    refusal: str | None = None
    members: list[tuple[str, dict[str, Any]]] = Field(default_factory=list)
    randomised: bool = False


class Description(BaseModel):
    """A plug-in and its parameters, described without loading it.

    Attributes:
        kind: attack or defense.
        name: its name in records.
        module: module that defines its class.
        spec: its name or path as given.
        source: its file or folder.
        sha256: hash of its source.
        code: hash of its code without comments and docstrings.
        cls: the name of its class.
        reconstructs: of an attack, see :class:`splitsec.Attack`.
        parameters: resolved parameters, as JSON values.
        changed: those that are not its defaults, as it says.
        input_paths: those that name files, see :meth:`splitsec.Parameters.input_paths`.
        threat: threat model of an attack with these parameters, or None if it has none.
        refusal: why an attack does not apply with these parameters, or None.
        members: of an ensemble, names of built-in attacks and their parameters.
        randomised: of a defense, see :class:`splitsec.Defense`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "attack"
    name: str
    module: str
    spec: str
    source: str
    sha256: str
    code: str
    cls: str
    reconstructs: bool = False
    parameters: dict[str, Any]
    changed: list[str] = Field(default_factory=list)
    input_paths: dict[str, str] = Field(default_factory=dict)
    threat: ThreatModel | None = None
    refusal: str | None = None
    members: list[tuple[str, dict[str, Any]]] = Field(default_factory=list)
    randomised: bool = False

    def plugin(self) -> Plugin:
        """Return a plug-in with a stand-in for the class that is not loaded."""
        return Plugin(
            self.kind, self.name, self.spec, _stand_in(self), self.source, self.sha256, self.code
        )

    def moved(self, spec: str) -> Description:
        """Return the same description under another name or path."""
        source = read_source(plugin_path(self.kind, spec) or package_of(self.module).source)
        told = {
            "spec": spec,
            "source": str(source.path),
            "sha256": source.sha256,
            "code": source.code,
        }
        return self.model_copy(update=told)

    def given(self) -> Parameters:
        """Return its parameters."""
        given = _CheckedParameters(**self.parameters)
        given._paths = dict(self.input_paths)
        return given


class _CheckedParameters(Parameters):
    """Parameters that the guest has checked."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    _paths: dict[str, str] = PrivateAttr(default_factory=dict)

    def input_paths(self) -> dict[str, str]:
        """Return the paths that were given, by the names of their parameters."""
        return self._paths


class StandIn(Attack[Any]):
    """Stands for the class of an attack that is not loaded in this process."""

    description: Description

    def __init__(self, parameters: Parameters, view: View, generator: torch.Generator) -> None:
        raise PluginError(f"attack {self.description.name!r} is isolated, and cannot be run here")

    @classmethod
    def threat_model(cls, parameters: Parameters) -> ThreatModel:
        """Return the declared threat model.

        Raises:
            NotApplicable: the attack said so instead of declaring one.
        """
        told = cls.description
        if told.threat is None:
            raise NotApplicable(short(told.refusal or "it declares no threat model"))
        return told.threat

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Raise an error: the attack is not loaded."""
        raise PluginError("an attack that is not loaded reconstructs nothing")


class DefenseStandIn(Defense[Any]):
    """Stands for the class of a defense that is not loaded in this process."""

    description: Description

    def __init__(self, parameters: Parameters) -> None:
        raise PluginError(f"defense {self.description.name!r} is isolated, and cannot be run here")


def described_by(plugin: Plugin) -> Description | None:
    """Return the description of a plug-in that is not loaded in this process, else None."""
    if issubclass(plugin.cls, StandIn | DefenseStandIn):
        return plugin.cls.description
    return None


def _stand_in(description: Description) -> type[StandIn | DefenseStandIn]:
    given = {"description": description, "__qualname__": description.cls}
    if description.kind == "defense":
        given["randomised"] = description.randomised
        return type(description.cls, (DefenseStandIn,), given)
    given["reconstructs"] = description.reconstructs
    return type(description.cls, (StandIn,), given)


def describe(
    kind: Kind, requests: Sequence[UnloadedRequest], profile: str, isolation: Isolation
) -> list[Description]:
    """Describe plug-ins; each is loaded once, in a process of its own.

    Args:
        kind: attack or defense.
        requests: the plug-ins.
        profile: name of the profile that gives their defaults.
        isolation: how they are isolated.

    Raises:
        UsageError: there is no such plug-in or parameter.
        PluginError: a plug-in cannot be loaded, or broke the rules.
    """
    found: dict[int, Description] = {}
    for spec in dict.fromkeys(request.spec for request in requests):
        name = plain_name(spec)
        path = plugin_path(kind, spec)
        point = entry_point_of(kind, spec)
        if path is None and point is None:
            load_plugin(kind, spec)  # neither: this raises the error about the name
        package = package_of(point.module) if point else None
        source = read_source(package.source if package else (path or Path()).resolve())
        limits = isolation.model_copy(update={"seconds": min(isolation.seconds, _SECONDS)})
        label = f"{kind} {name!r}"
        guest = Guest(label, limits, source.places)
        try:
            for place, request in enumerate(requests):
                if request.spec == spec:
                    asked = {
                        "kind": kind,
                        "label": label,
                        "spec": absolute_spec(kind, spec),
                        "sha256": source.sha256,
                        "layers": list(request.layers),
                        "profile": profile,
                    }
                    told = _checked(label, guest.call("configure", Answer(asked)).content)
                    _refuse_paths_of_its_own(label, told, request)
                    _refuse_members_of_its_own(label, told)
                    _refuse_other_packages(label, told, package)
                    found[place] = Description(
                        kind=kind,
                        name=name,
                        spec=spec,
                        source=str(path or source.path),
                        sha256=source.sha256,
                        code=source.code,
                        **told.model_dump(),
                    )
        finally:
            guest.close()
    return [found[place] for place in range(len(requests))]


def _checked(label: str, content: Any) -> _GuestAnswer:
    try:
        return _GuestAnswer.model_validate(content)
    except ValidationError:
        raise PluginError(f"{label} describes itself in a way that cannot be read") from None


def _refuse_paths_of_its_own(label: str, told: _GuestAnswer, request: UnloadedRequest) -> None:
    """Raise a PluginError if a path was not given by the request: the attack would be shown it."""
    given = merge(*request.layers)
    for name, path in told.input_paths.items():
        if given.get(name) != path or told.parameters.get(name) != path:
            raise PluginError(f"{label} names a file that nobody gave: {short(f'{name}={path}')}")


def _refuse_members_of_its_own(label: str, told: _GuestAnswer) -> None:
    """Raise a PluginError if a member is not built in: this process would load it."""
    for name, _ in told.members:
        if not is_builtin("attack", name):
            raise PluginError(
                f"{label} is isolated, so its members must be built in; {short(name)!r} is not"
            )


def _refuse_other_packages(label: str, told: _GuestAnswer, package: Package | None) -> None:
    """Raise a PluginError if the class is outside the package that the entry point names."""
    if package and not f"{told.module}.".startswith(f"{package.name}."):
        raise PluginError(f"{label} describes a class from another package than its own")


def configure_here(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Load a plug-in in a guest, and return the values that :class:`Description` needs.

    Args:
        asked: kind, label, spec, hash of the source, layers and profile.

    Raises:
        PluginError: the source is not the one that the host hashed, or the plug-in broke the rules.
    """
    plugin = load_plugin(asked["kind"], asked["spec"], asked["sha256"])
    usual = profile_defaults(plugin.cls, asked["profile"])
    label = asked["label"]
    values = merge(usual, *asked["layers"])
    parameters = build_parameters(label, plugin.cls.Parameters, values)
    told = {
        "module": plugin.cls.__module__,
        "cls": plugin.cls.__qualname__,
        "parameters": parameters.model_dump(mode="json"),
        "changed": unlike_defaults(parameters, usual),
        "input_paths": parameters.input_paths(),
    }
    if plugin.kind == "defense":
        return told | {"randomised": bool(plugin.cls.randomised)}
    threat, refusal = None, None
    try:
        threat = threat_model_of(plugin, values)
    except NotApplicable as error:
        refusal = str(error)
    if refusal is None and not isinstance(threat, ThreatModel):
        raise PluginError(f"{label} returned no ThreatModel from threat_model()")
    return told | {
        "reconstructs": bool(plugin.cls.reconstructs),
        "threat": None if threat is None else threat.model_dump(),
        "refusal": refusal,
        "members": _members(plugin, parameters),
    }


def _members(plugin: Plugin, parameters: Parameters) -> list[tuple[str, dict[str, Any]]]:
    """Return the attacks of an ensemble as JSON values; none of any other attack."""
    if not issubclass(plugin.cls, Ensemble):
        return []
    with blaming(plugin.label, "members()"):
        return [(one.attack, dict(one.parameters)) for one in plugin.cls.members(parameters)]
