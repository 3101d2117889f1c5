"""Parses the texts of a request: plug-in names, ``--set`` and ``--sweep``.

Nothing here imports torch or a plug-in; :mod:`.configured` loads the plug-ins that are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from splitsec.cells.profiles import COUNTS, Profile
from splitsec.cells.requests import Request
from splitsec.errors import UsageError, unknown_name
from splitsec.plugins.names import KINDS, Kind, plain_name


class PluginRequest(NamedTuple):
    """The name of a plug-in or data set, with the parameters given beside it."""

    spec: str
    parameters: dict[str, str]


class Settings(NamedTuple):
    """Parsed ``--set`` options.

    Attributes:
        plugins: kind to name to parameter to value.
        training: setting of ``Training`` to value.
        counts: field of ``Profile`` that counts images to value.
    """

    plugins: dict[Kind, dict[str, dict[str, str]]]
    training: dict[str, str]
    counts: dict[str, str]


class ParsedRequest(NamedTuple):
    """The parsed texts of a request.

    Attributes:
        plugins: kind to the named plug-ins, a swept one once per value; no data set if each
            target's task decides it.
        settings: settings of the plug-ins, of training and of the counts.
    """

    plugins: dict[Kind, list[PluginRequest]]
    settings: Settings


def parse_request(request: Request, profile: Profile) -> ParsedRequest:
    """Read the plug-ins and settings of a request.

    Args:
        request: the request.
        profile: names the target if the request does not.

    Raises:
        UsageError: a name is empty, a setting or sweep is malformed, or it is for a plug-in that
            this request does not have.
    """
    settings = parse_settings(request.settings)
    plugins: dict[Kind, list[PluginRequest]] = {
        "attack": parse_plugins(request.attack),
        "defense": parse_plugins(request.defense),
        "target": parse_plugins(request.target or profile.target),
        "data": parse_plugins(request.data) if request.data else [],
    }
    for text in request.sweeps:
        plugins = sweep(plugins, text)
    for kind, named in settings.plugins.items():
        for name in named:
            if not any(is_named(one, name) for one in plugins[kind]):
                raise UsageError(f"--set {kind}.{name}: this run has no {kind} {name!r}")
    return ParsedRequest(plugins, settings)


def parse_plugins(text: str) -> list[PluginRequest]:
    """Parse a comma-separated list such as ``fsha:iterations=500,critic_lr=1e-3,adra``.

    A piece with ``=`` and no name before it belongs to the plug-in before it.

    Raises:
        UsageError: the text is empty, or starts with a parameter.
    """
    requests: list[PluginRequest] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        head, equals, value = piece.partition("=")
        name, colon, key = head.rpartition(":")
        if equals and not colon:
            if not requests:
                raise UsageError(f"{text!r} starts with a parameter; put a name before it")
            requests[-1].parameters[head.strip()] = value.strip()
        elif equals:
            requests.append(PluginRequest(name, {key.strip(): value.strip()}))
        else:
            requests.append(PluginRequest(piece, {}))
    if not requests:
        raise UsageError("an empty name was given; name an attack, defense, target or data set")
    return requests


def parse_settings(settings: Sequence[str]) -> Settings:
    """Parse ``--set`` options such as ``attack.fsha.iterations=500`` or ``training.epochs=5``.

    Raises:
        UsageError: an option is malformed, or its kind is unknown.
    """
    parsed = Settings({kind: {} for kind in KINDS}, {}, {})
    flat = {"training": parsed.training, "counts": parsed.counts}
    for setting in settings:
        path, equals, value = setting.partition("=")
        kind, _, rest = path.partition(".")
        if equals and kind in flat and rest:
            flat[kind][rest] = value
            continue
        name, _, parameter = rest.rpartition(".")
        if not (equals and name and parameter):
            raise UsageError(
                f"--set {setting!r} is not of the form attack.fsha.iterations=500, "
                "training.epochs=5 or counts.private=200"
            )
        by_name = {str(known): values for known, values in parsed.plugins.items()}
        if kind not in by_name:
            raise UsageError(unknown_name("kind in --set:", kind, [*by_name, *flat]))
        by_name[kind].setdefault(name, {})[parameter] = value
    for name in parsed.counts:
        if name not in COUNTS:
            raise UsageError(unknown_name("count in --set:", name, COUNTS))
    return parsed


def sweep(plugins: dict[Kind, list[PluginRequest]], text: str) -> dict[Kind, list[PluginRequest]]:
    """Return the plug-ins, with the swept one repeated once per value of its parameter.

    Args:
        plugins: kind to the named plug-ins.
        text: such as ``defense.dcor.alpha=0.1,0.5,0.9``.

    Raises:
        UsageError: the text is malformed, or names a plug-in that the request does not have.
    """
    path, _, listed = text.partition("=")
    kind, _, rest = path.partition(".")
    name, _, parameter = rest.rpartition(".")
    values = [value.strip() for value in listed.split(",") if value.strip()]
    swept = next((known for known in plugins if known == kind), None)
    if swept is None or not (name and parameter and values):
        raise UsageError(f"--sweep {text!r} is not of the form defense.dcor.alpha=0.1,0.5,0.9")
    if not any(is_named(one, name) for one in plugins[swept]):
        raise UsageError(f"--sweep {kind}.{name}: this run has no {kind} {name!r}")
    several: list[PluginRequest] = []
    for one in plugins[swept]:
        if is_named(one, name):
            several += [one._replace(parameters={**one.parameters, parameter: v}) for v in values]
        else:
            several.append(one)
    return {**plugins, swept: several}


def is_named(request: PluginRequest, name: str) -> bool:
    """Return whether a name in ``--set`` or ``--sweep`` means this plug-in."""
    return key_of(request.spec) == key_of(name)


def key_of(spec: str) -> str:
    """Return the name that ``--set`` uses for a plug-in given by name or by path."""
    return plain_name(spec.rstrip("/\\")).rpartition("/")[2].replace("_", "-")
