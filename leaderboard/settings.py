"""Settings of boards: the values that all cells of a board share, and the names of its rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal

from splitsec.escaping import one_line
from splitsec.leaderboard.methods import Methods, distinct
from splitsec.plugins.names import METHODS, Kind
from splitsec.records.official import is_official
from splitsec.records.record import PROTOCOL_VERSION, Record
from splitsec.records.spec import COUNTS, CellSpec, value_in_words

By = Literal["defenses", "attacks", "targets"]

_IN_WORDS = {"training.epochs", "clients", *(f"counts.{name}" for name in COUNTS)}
"""Settings that the words of each board have anyway."""

DRAWN = frozenset({"phantom-fundus", "phantom-cxr"})
"""Data sets that are drawn. Their boards say nothing about patients, and anyone can draw the images
of a known seed again."""

_SMOKE_TEST = " (drawn images: a smoke test)"

_AXES = {
    "defenses": ("attack", "defense"),
    "attacks": ("attack", "defense"),
    "targets": ("attack", "defense", "target"),
}


def settings_of(records: Sequence[Record], by: By, methods: Methods) -> list[str]:
    """Return of each record the values that a board's cells share.

    Args:
        records: any records.
        by: kind of a board's rows.
        methods: names of methods; targets of other sources are other settings.

    Returns:
        In words, then complete, on a second line. The hash of the images is part of it where
        records that share everything else have several.
    """
    settings = [_setting(one, by, methods) for one in records]
    images: dict[str, set[str]] = {}
    for one, setting in zip(records, settings, strict=True):
        images.setdefault(setting, set()).add(_images(one))
    return [
        _setting(one, by, methods, _images(one)) if len(images[setting]) > 1 else setting
        for one, setting in zip(records, settings, strict=True)
    ]


def _images(record: Record) -> str:
    return str(record.data.get("sha256", "unknown"))[:10]


def _setting(record: Record, by: By, methods: Methods, images: str | None = None) -> str:
    spec = record.spec
    counts = f"{spec.private} private, {spec.public} public, {spec.held_out} held-out images"
    parts = [
        f"profile {spec.profile}",
        f"{plugin_name(record, 'data')} at {spec.size} px"
        + (_SMOKE_TEST if spec.data in DRAWN else ""),
        counts,
        f"{spec.clients} clients" if spec.clients > 1 else "1 client",
        f"{spec.training.epochs} epochs",
    ]
    parts += [one for one in spec.settings() if one.partition("=")[0] not in _IN_WORDS]
    if by != "targets":
        parts.insert(0, f"{plugin_name(record, 'target', methods)} cut {spec.cut_name}")
    if spec.partition_commitment is not None:
        parts.append(f"secret partition {spec.partition_commitment[:10]}")
    if record.protocol != PROTOCOL_VERSION:
        parts.append(f"protocol {record.protocol}")
    common = spec.model_dump(mode="json") | {"protocol": record.protocol}
    for name in (*_AXES[by], "seed", "threads", "changed"):
        common.pop(name, None)
    if images is not None:
        common["images"] = images
    parameters = common.pop("parameters")
    parameters = {
        f"{kind}'s": values for kind, values in parameters.items() if kind not in _AXES[by]
    }
    if by == "targets":
        common.pop("cut")
    words = one_line(" ".join(", ".join(parts).split()))
    return f"{words}\n{json.dumps(common | parameters, sort_keys=True)}"


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
            titles[setting] = one_line(", ".join([words, *differing]))
    return titles


def _leaves(values: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value inside nested JSON objects, named as by ``--set``."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _leaves(value, f"{name}.{key}" if name else key)
    else:
        yield name, json.dumps(values)


def plugin_names(
    records: Sequence[Record], methods: Methods | None = None
) -> Callable[[Record], dict[str, str]]:
    """Return a function that names a cell's attack, defense and target as rows of boards do.

    Args:
        records: the records; a name has the parameters that are not defaults, and those in which
            records differ.
        methods: names of methods; by default of the official records.
    """
    called = methods or Methods(filter(is_official, records))
    seen: dict[tuple[Kind, str, str], dict[str, Any]] = {}
    for record in records:
        for kind in METHODS:
            given = record.spec.parameters.get(kind, {})
            seen.setdefault((kind, getattr(record.spec, kind), repr(given)), given)
    values: dict[tuple[Kind, str, str], dict[str, str]] = {}  # complete to short
    for (kind, plugin, _), given in seen.items():
        for name, value in given.items():
            texts = values.setdefault((kind, plugin, name), {})
            texts[json.dumps(value)] = value_in_words(value)

    def named(record: Record, kind: Kind) -> str:
        spec = record.spec
        plain, shown = getattr(spec, kind), {}
        changed = _changed(spec, kind)
        for name, value in spec.parameters.get(kind, {}).items():
            texts = values[kind, plain, name]
            if len(texts) > 1 or name in changed:
                alike = len(set(texts.values())) < len(texts)  # such as paths of one last name
                shown[name] = json.dumps(value) if alike else texts[json.dumps(value)]
        return _with_settings(called.label(record, kind), shown)

    def names(record: Record) -> dict[str, str]:
        found: dict[str, str] = {kind: named(record, kind) for kind in METHODS}
        found["target"] += f" cut {record.spec.cut_name}"
        return found

    return names


def plugin_name(record: Record, kind: Kind, methods: Methods | None = None) -> str:
    """Return the name of a record's plug-in with the parameters that are not defaults."""
    spec = record.spec
    given = spec.parameters.get(kind, {})
    changed = {name: value_in_words(given[name]) for name in _changed(spec, kind)}
    plain = distinct(getattr(spec, kind)) if methods is None else methods.label(record, kind)
    return _with_settings(plain, changed)


def _with_settings(name: str, values: Mapping[str, str]) -> str:
    """Return a name and values, such as ``dcor:alpha=0.9``, both as they can be shown."""
    shown = ",".join(f"{one}={text}" for one, text in values.items())
    return f"{name}:{distinct(shown)}" if shown else name


def _changed(spec: CellSpec, kind: Kind) -> list[str]:
    """Return the names of a plug-in's parameters that are not defaults.

    A record from before they were kept is compared with today's defaults. Those of a plug-in that
    is not built in are not known, and all of its parameters are shown.
    """
    given = spec.parameters.get(kind, {})
    if spec.changed is not None:
        return [name for name in given if name in spec.changed.get(kind, ())]
    usual = _defaults(kind, getattr(spec, kind), spec.profile) if given else {}
    return [name for name, value in given.items() if name not in usual or usual[name] != value]


@cache
def _defaults(kind: Kind, name: str, profile: str) -> Mapping[str, Any]:
    """Return a built-in plug-in's defaults under a profile; empty for others."""
    from splitsec.plugins.loading import is_builtin, load_plugin  # imports torch, seldom needed
    from splitsec.plugins.parameters import build_parameters, profile_defaults

    if not (re.fullmatch(r"[a-z0-9+-]+", name) and is_builtin(kind, name)):
        return {}
    plugin = load_plugin(kind, name).cls
    usual = build_parameters(name, plugin.Parameters, profile_defaults(plugin, profile))
    values: dict[str, Any] = usual.model_dump(mode="json")
    return values
