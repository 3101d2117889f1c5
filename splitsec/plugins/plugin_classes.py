"""Finds the classes of plug-ins in an imported module."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

from splitsec.plugins.names import Kind

BASES: dict[Kind, tuple[str, str]] = {
    "attack": ("splitsec.plugins.attack", "Attack"),
    "defense": ("splitsec.plugins.defense", "Defense"),
    "target": ("splitsec.plugins.target", "Target"),
    "data": ("splitsec.plugins.source", "Source"),
}
"""Module and name of the base class of each kind."""

OTHERWISE: dict[Kind, str] = {
    "target": "; for a network, name what builds it, as FILE.py:FUNCTION",
}
"""How else a file can be a plug-in, for errors."""


def own_classes(kind: Kind, module: ModuleType, wanted: str | None) -> dict[str, type[Any]]:
    """Return the classes of a kind that a module defines, abstract ones among them.

    Args:
        kind: attack, defense, target or data.
        module: an imported plug-in.
        wanted: the class that is asked for, or None. For a target it may also be a function, or a
            class, that builds a network.
    """
    base, own = _base(kind), f"{module.__name__}."
    defined = {
        key: value
        for key, value in vars(module).items()
        if callable(value) and f"{getattr(value, '__module__', '')}.".startswith(own)
    }
    found = {
        key: value
        for key, value in defined.items()
        if inspect.isclass(value) and issubclass(value, base)
    }
    if kind == "target" and wanted in defined and wanted not in found:
        from splitsec.plugins.toolbox.whole_models import builds_network, target_of

        if builds_network(defined[wanted]):
            found[wanted] = target_of(defined[wanted], module.__name__)
    return found


def _base(kind: Kind) -> type[Any]:
    module, name = BASES[kind]
    base: type[Any] = getattr(importlib.import_module(module), name)
    return base
