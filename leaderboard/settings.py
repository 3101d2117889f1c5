"""Settings of boards: the values that all cells of a board share, and the names of its rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from splitsec.records.record import PROTOCOL_VERSION, Record
from splitsec.records.spec import CellSpec

By = Literal["defenses", "attacks", "targets"]

_AXES = {
    "defenses": ("attack", "defense"),
    "attacks": ("attack", "defense"),
    "targets": ("attack", "defense", "target"),
}


def setting_of(record: Record, by: By) -> str:
    """Return the values that a board's cells share: in words, then complete, on a second line."""
    spec = record.spec
    counts = f"{spec.private} private, {spec.public} public, {spec.held_out} held-out images"
    parts = [
        f"profile {spec.profile}",
        f"{spec.data} at {spec.size} px",
        counts,
        f"{spec.clients} clients" if spec.clients > 1 else "1 client",
        f"{spec.training.epochs} epochs",
    ]
    if by != "targets":
        parts.insert(0, f"{spec.target} cut {spec.cut}")
    if spec.partition_commitment is not None:
        parts.append(f"secret partition {spec.partition_commitment[:10]}")
    if record.protocol != PROTOCOL_VERSION:
        parts.append(f"protocol {record.protocol}")
    common = spec.model_dump(mode="json") | {"protocol": record.protocol}
    for name in (*_AXES[by], "seed", "threads"):
        common.pop(name)
    parameters = common.pop("parameters")
    parameters = {
        f"{kind}'s": values for kind, values in parameters.items() if kind not in _AXES[by]
    }
    if by == "targets":
        common.pop("cut")
    return f"{', '.join(parts)}\n{json.dumps(common | parameters, sort_keys=True)}"


def titles_of(settings: Iterable[str]) -> dict[str, str]:
    """Return each setting's words, with the differences if two have the same words."""
    alike: dict[str, dict[str, dict[str, str]]] = {}
    for setting in settings:
        words, _, whole = setting.partition("\n")
        alike.setdefault(words, {})[setting] = dict(_leaves(json.loads(whole)))
    titles = {}
    for words, several in alike.items():
        names = dict.fromkeys(name for leaves in several.values() for name in leaves)
        for setting, leaves in several.items():
            differing = [
                f"{name}={leaves[name]}"
                for name in names
                if name in leaves and len({one.get(name) for one in several.values()}) > 1
            ]
            titles[setting] = ", ".join([words, *differing])
    return titles


def _leaves(values: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value inside nested JSON objects, named as by ``--set``."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _leaves(value, f"{name}.{key}" if name else key)
    else:
        yield name, json.dumps(values)


def plugin_names(records: Sequence[Record]) -> Callable[[CellSpec], dict[str, str]]:
    """Return a function that names a cell's attack, defense and target as rows of boards do.

    Args:
        records: the records; a name has the parameters in which they differ.
    """
    seen: dict[tuple[str, str, str], dict[str, Any]] = {}
    for record in records:
        for kind in ("attack", "defense", "target"):
            given = record.spec.parameters.get(kind, {})
            seen.setdefault((kind, getattr(record.spec, kind), repr(given)), given)
    values: dict[tuple[str, str, str], set[str]] = {}
    for (kind, plugin, _), given in seen.items():
        for name, value in given.items():
            values.setdefault((kind, plugin, name), set()).add(json.dumps(value))

    def names(spec: CellSpec) -> dict[str, str]:
        found = {}
        for kind in ("attack", "defense", "target"):
            plain = getattr(spec, kind)
            differing = [
                f"{name}={value}"
                for name, value in spec.parameters.get(kind, {}).items()
                if len(values[kind, plain, name]) > 1
            ]
            found[kind] = plain + (f":{','.join(differing)}" if differing else "")
        found["target"] += f" cut {spec.cut}"
        return found

    return names
