"""Computes a cell's identity: the hash of everything that decides its numbers.

Plug-ins and the toolbox count by their code without comments and docstrings
(:func:`splitsec.plugins.source_code.code_sha256`). Files that parameters name count by their
content, and data sets by their images, not by their code or their place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from splitsec.cells.configured import ConfiguredPlugin
from splitsec.plugins.importing import source_of
from splitsec.plugins.loading import Plugin
from splitsec.records.record import PROTOCOL_VERSION
from splitsec.records.spec import CellSpec

TOOLBOX = "splitsec.plugins.toolbox"


def cell_id(identity: dict[str, Any]) -> str:
    """Return the SHA-256 of a cell's identity."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def identity(
    spec: CellSpec, plugins: Iterable[ConfiguredPlugin], data_sha256: str
) -> dict[str, Any]:
    """Return everything that decides a cell's numbers, as JSON values.

    Args:
        spec: the cell's specification.
        plugins: its attack, defense, target and data; of an ensemble the members count, too.
        data_sha256: hash of the decoded images and labels.
    """
    plugins = list(plugins)
    methods = [one.plugin for one in plugins if one.plugin.kind != "data"]
    parameters = {
        one.plugin.kind: _content(spec.parameters[one.plugin.kind], one) for one in plugins
    }
    members = [
        [one.plugin.name, _content(one.values(), one), code_of(one.plugin)]
        for ensemble in plugins
        for one in ensemble.members
    ]
    return {
        "spec": spec.model_dump(mode="json", exclude={"changed"}) | {"parameters": parameters},
        "sources": {plugin.kind: code_of(plugin) for plugin in methods},
        "shared": shared_code(),
        "data": data_sha256,
        "protocol": PROTOCOL_VERSION,
        **({"members": members} if members else {}),
    }


def session_key(spec: CellSpec, plugins: Iterable[ConfiguredPlugin]) -> str:
    """Return the hash of everything that decides the honest session, except the images.

    Cells that differ only in their attack share it and run together.

    Args:
        spec: the specification of one of the cells.
        plugins: its attack, defense, target and data.
    """
    own = {one.plugin.kind: one for one in plugins if one.plugin.kind != "attack"}
    asked = spec.model_dump(mode="json", exclude={"attack", "profile", "changed"})
    asked["parameters"] = {
        kind: _content(spec.parameters[one.plugin.kind], one) for kind, one in own.items()
    }
    code = [code_of(own["defense"].plugin), code_of(own["target"].plugin), shared_code()]
    return hashlib.sha256(json.dumps([asked, code], sort_keys=True).encode()).hexdigest()


def client_key(spec: CellSpec, target: ConfiguredPlugin) -> dict[str, Any]:
    """Return the values that initialisation and batch order depend on.

    They exclude cut and defense: every cut and every defense starts from the same weights and sees
    the same batches, so that no difference between them comes from the random numbers.
    """
    parameters = _content(spec.parameters["target"], target)
    for name in target.plugin.cls.seeds_ignore:
        parameters.pop(name, None)
    return {
        "target": spec.target,
        "parameters": parameters,
        "data": spec.data,
        "image": [spec.channels, spec.size, spec.size],
        "partition": spec.partition,
        "clients": spec.clients,
        "seed": spec.seed,
    }


def _content(values: Mapping[str, Any], plugin: ConfiguredPlugin) -> dict[str, Any]:
    """Return a plug-in's parameters with the content of files instead of their paths."""
    paths = list(plugin.parameters.input_paths())
    if plugin.plugin.kind == "data":  # the same images, whether the usual place is named or not
        paths = plugin.parameters.input_names()
    kept = {name: value for name, value in values.items() if name not in paths}
    return kept | {**plugin.inputs}


def code_of(plugin: Plugin) -> list[str]:
    """Return the hash of a plug-in's code and the name of its class."""
    return [plugin.code, plugin.cls.__qualname__]


def shared_code() -> str:
    """Return the hash of the toolbox, the code that plug-ins may share."""
    return source_of(TOOLBOX).code
