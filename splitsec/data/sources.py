"""Builds the sources of data sets from their names and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splitsec.errors import blaming
from splitsec.plugins.loading import Plugin, load_plugin
from splitsec.plugins.parameters import build_parameters


def get_source(spec: str, parameters: Mapping[str, Any]) -> Any:
    """Return a data set's source with its parameters.

    Args:
        spec: name, ``distribution/name`` or path, see :mod:`splitsec.plugins.loading`.
        parameters: parameters of the source.

    Raises:
        UsageError: an unknown name or parameter.
        PluginError: the source cannot be loaded.
    """
    return build_source(load_plugin("data", spec), parameters)


def build_source(plugin: Plugin, parameters: Mapping[str, Any]) -> Any:
    """Return a loaded source with its parameters.

    Raises:
        UsageError: an unknown parameter.
        PluginError: the source raised.
    """
    label = f"data {plugin.name!r}"
    given = build_parameters(label, plugin.cls.Parameters, parameters)
    with blaming(label, "__init__()"):
        return plugin.cls(given)
