"""Describes a plug-in for a person: its parameters and, of an attack, its threat models."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from splitsec.errors import blaming
from splitsec.plugins.ensemble import Ensemble, together
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.loading import Plugin, load_plugin
from splitsec.plugins.parameters import build_parameters

_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
_NAMES = {"null": "empty", "string": "text", "boolean": "true, false"}


class ParameterDescription(NamedTuple):
    """A parameter of a plug-in.

    Attributes:
        name: its name.
        default: its default, as a person writes it.
        profiles: profile to its default there, where that is another one.
        values: the values that it may have, in words.
        meaning: its unit, and the value in the paper.
    """

    name: str
    default: str
    profiles: dict[str, str]
    values: str
    meaning: str


def text_of(plugin: Plugin) -> str:
    """Return the docstring of a plug-in's module, or of its class if that has none."""
    module = inspect.getmodule(plugin.cls)
    found = (module.__doc__ if module else None) or plugin.cls.__doc__ or ""
    return inspect.cleandoc(found)


def parameters_of(plugin: Plugin) -> list[ParameterDescription]:
    """Return the parameters of a plug-in, in the order of its class."""
    schema = plugin.cls.Parameters.model_json_schema().get("properties", {})
    profiles = getattr(plugin.cls, "profiles", {})
    return [
        ParameterDescription(
            name,
            "(required)"
            if field.is_required()
            else _value_text(field.get_default(call_default_factory=True)),
            {
                profile: _value_text(values[name])
                for profile, values in profiles.items()
                if name in values
            },
            _domain_text(schema[name]),
            field.description or "",
        )
        for name, field in plugin.cls.Parameters.model_fields.items()
    ]


def strength_of(plugin: Plugin) -> str:
    """Return in a sentence which parameter makes a defense weak or strong."""
    strength = plugin.cls.strength
    if strength is None:
        return "It has no strength to vary."
    return f"Its strength is {strength.parameter}, from weak to strong {', '.join(strength.texts)}."


def threat_models_of(plugin: Plugin) -> dict[str, ThreatModel]:
    """Return an attack's threat model by default, as ``""``, and by profile where it differs.

    Raises:
        PluginError: the attack raised.
    """
    found: dict[str, ThreatModel] = {}
    for profile, values in {"": {}, **plugin.cls.profiles}.items():
        threat = threat_model_of(plugin, values)
        if threat != found.get(""):
            found[profile] = threat
    return found


def threat_model_of(plugin: Plugin, values: Mapping[str, Any]) -> ThreatModel:
    """Return what an attack declares; of an ensemble, what its members declare together.

    Args:
        plugin: the attack.
        values: its parameters; those that are not given have their defaults.

    Raises:
        PluginError: the attack raised.
    """
    given = build_parameters(plugin.label, plugin.cls.Parameters, values)
    with blaming(plugin.label, "threat_model()"):
        if not issubclass(plugin.cls, Ensemble):
            threat: ThreatModel = plugin.cls.threat_model(given)
            return threat
        members = [
            threat_model_of(load_plugin("attack", one.attack), one.parameters)
            for one in plugin.cls.members(given)
        ]
    return together(members)


def _value_text(value: object) -> str:
    """Return a value as a person writes it on the command line."""
    return "empty" if value is None else json.dumps(value, default=str).replace('"', "")


def _domain_text(schema: Mapping[str, Any]) -> str:
    """Return in words the values that a parameter's JSON Schema allows."""
    return " or ".join(_option(option) for option in schema.get("anyOf", [schema]))


def _option(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    limits = [f"{words} {schema[key]:g}" for key, words in _LIMITS.items() if key in schema]
    kind = str(schema.get("type", "value"))
    return " ".join([_NAMES.get(kind, kind), *([", ".join(limits)] if limits else [])])
