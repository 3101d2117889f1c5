"""Which settings of a cell differ from the defaults of its profile; titles and boards show them."""

from __future__ import annotations

from collections.abc import Iterable

from splitsec.cells.configured import ConfiguredPlugin
from splitsec.cells.profiles import get_profile
from splitsec.plugins.parameters import merge
from splitsec.records.spec import COUNTS, CellSpec
from splitsec.training.settings import Training


def with_changes(spec: CellSpec, plugins: Iterable[ConfiguredPlugin]) -> CellSpec:
    """Return a specification that knows which of its settings differ from the defaults.

    Args:
        spec: the specification.
        plugins: its attack, defense, target and data.

    Raises:
        UsageError: there is no such profile.
    """
    profile = get_profile(spec.profile)
    changed = {}
    for one in plugins:
        changed[str(one.plugin.kind)] = list(one.changed)
        if one.plugin.kind == "target":
            layers = profile.training.model_dump(), one.plugin.cls.training.get(spec.profile, {})
            usual = Training.model_validate(merge(*layers))
            changed["training"] = [
                name for name, value in spec.training if value != getattr(usual, name)
            ]
    images = profile.images(spec.data)
    changed["counts"] = [name for name in COUNTS if getattr(spec, name) != images[name]]
    named = {what: names for what, names in sorted(changed.items()) if names}
    return spec.model_copy(update={"changed": named})
