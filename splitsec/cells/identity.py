"""Computes a cell's identity: the hash of everything that decides its numbers.

Plug-ins and the toolbox count by their code without comments and docstrings
(:func:`splitsec.plugins.source_code.code_sha256`). Data sets count by their images, not their code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from splitsec.plugins.loading import Plugin
from splitsec.plugins.source_code import code_sha256
from splitsec.records.record import PROTOCOL_VERSION
from splitsec.records.spec import CellSpec

TOOLBOX = "splitsec.plugins.toolbox"


def cell_id(identity: dict[str, Any]) -> str:
    """Return the SHA-256 of a cell's identity."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def identity(spec: CellSpec, methods: Iterable[Plugin], data_sha256: str) -> dict[str, Any]:
    """Return everything that decides a cell's numbers, as JSON values.

    Args:
        spec: the cell's specification.
        methods: its attack, defense and target.
        data_sha256: hash of the decoded images and labels.
    """
    return {
        "spec": spec.model_dump(mode="json"),
        "sources": {plugin.kind: code_of(plugin) for plugin in methods},
        "shared": shared_code(),
        "data": data_sha256,
        "protocol": PROTOCOL_VERSION,
    }


def session_key(spec: CellSpec, defense: Plugin, target: Plugin) -> str:
    """Return the hash of everything that decides the honest session.

    Cells that differ only in their attack share it and run together.
    """
    asked = spec.model_dump(mode="json", exclude={"attack": True, "profile": True})
    asked["parameters"].pop("attack")
    code = [code_of(defense), code_of(target), shared_code()]
    return hashlib.sha256(json.dumps([asked, code], sort_keys=True).encode()).hexdigest()


def client_key(spec: CellSpec) -> dict[str, Any]:
    """Return the values that initialisation and batch order depend on.

    They exclude cut and defense: every cut and every defense starts from the same weights and sees
    the same batches, so that no difference between them comes from the random numbers.
    """
    return {
        "target": spec.target,
        "parameters": spec.parameters["target"],
        "data": spec.data,
        "image": [spec.channels, spec.size, spec.size],
        "partition": spec.partition,
        "clients": spec.clients,
        "seed": spec.seed,
    }


def code_of(plugin: Plugin) -> list[str]:
    """Return the hash of a plug-in's code and the name of its class."""
    return [plugin.code, plugin.cls.__qualname__]


@cache
def shared_code() -> str:
    """Return the hash of the toolbox, the code that plug-ins may share."""
    spec = find_spec(TOOLBOX)
    assert spec is not None and spec.submodule_search_locations, "it is part of splitsec"
    return code_sha256(Path(next(iter(spec.submodule_search_locations))))
