"""Parses the texts of a request: plug-in names, ``--set`` and ``--sweep``.

Nothing here imports torch or a plug-in; :mod:`.configured` loads the plug-ins that are named.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from splitsec.cells.profiles import Profile
from splitsec.cells.requests import Request
from splitsec.errors import UsageError, unknown_name
from splitsec.plugins.names import KINDS, Kind, is_source, is_there, plain_name
from splitsec.records.spec import COUNTS

_MAPS = re.compile(r"[^=:/\\]+:[^=:/\\]+")  # such as 1-4:ill, and no path


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


def parse_request(
    request: Request, profile: Profile, strengths: Callable[[str], str]
) -> ParsedRequest:
    """Read the plug-ins and settings of a request.

    Args:
        request: the request.
        profile: names the target if the request does not.
        strengths: from a defense's name to what a sweep without values means, such as
            ``alpha=0.1,0.5``.

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
        plugins = sweep(plugins, text, strengths)
    for kind, named in settings.plugins.items():
        for name in named:
            if not any(is_named(one, name) for one in plugins[kind]):
                raise UsageError(f"--set {kind}.{name}: this run has no {kind} {name!r}")
    return ParsedRequest(plugins, settings)


def parse_plugins(text: str) -> list[PluginRequest]:
    """Parse a comma-separated list such as ``fsha:iterations=500,critic_lr=1e-3,adra``.

    A piece with ``=`` and no name before it belongs to the plug-in before it. A comma or ``=`` in
    the name of a file or folder that is there is part of that name. A piece such as ``1-4:1``
    after a value such as ``0:0`` is part of that value, as in ``folder:classes=0:0,1-4:1``.

    Raises:
        UsageError: the text is empty, or starts with a parameter.
    """
    requests: list[PluginRequest] = []
    mapping: str | None = None  # the parameter that was just given, if it maps
    for piece in _pieces(text):
        if mapping is not None and piece.maps():
            requests[-1].parameters[mapping] += f",{piece.name}"
            continue
        mapping = piece.parameter if _MAPS.fullmatch(piece.value) else None
        if piece.name:
            requests.append(PluginRequest(piece.name, {}))
        elif not requests:
            raise UsageError(f"{text!r} starts with a parameter; put a name before it")
        if piece.parameter is not None:
            requests[-1].parameters[piece.parameter] = piece.value
    if not requests:
        raise UsageError("an empty name was given; name an attack, defense, target or data set")
    return requests


class _Piece(NamedTuple):
    """A piece of a list: a name, a parameter, or both."""

    name: str
    parameter: str | None
    value: str

    def maps(self) -> bool:
        """Return whether it maps one thing to another and names no plug-in."""
        return (
            self.parameter is None and not is_source(self.name) and bool(_MAPS.fullmatch(self.name))
        )

    def ends_with_a_path(self) -> bool:
        """Return whether its end is the path of a file or folder that is there."""
        return is_source(self.name) if self.parameter is None else is_there(self.value)


def _pieces(text: str) -> Iterator[_Piece]:
    """Yield the pieces between commas; those that together name what is there are one."""
    parts = text.split(",")
    while parts:
        several = [_split_piece(one) for one in itertools.accumulate(parts, "{},{}".format)]
        whole = [n for n, one in enumerate(several, 1) if one.ends_with_a_path()]
        begun = [n for n, one in enumerate(several, 1) if is_source(one.name)]
        count = next(iter([*whole, *begun, 1]))
        if ",".join(parts[:count]).strip():
            yield several[count - 1]
        del parts[:count]


def _split_piece(piece: str) -> _Piece:
    piece = piece.strip()
    if is_source(piece):
        return _Piece(piece, None, "")
    for found in re.finditer(r":\s*(\w+)\s*=", piece):
        if is_source(piece[: found.start()]):  # which may have another = in its path
            return _Piece(piece[: found.start()], found[1], piece[found.end() :].strip())
    head, equals, value = piece.partition("=")
    if not equals:
        return _Piece(piece, None, "")
    name, _, key = head.rpartition(":")
    return _Piece(name.strip(), key.strip(), value.strip())


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


def sweep(
    plugins: dict[Kind, list[PluginRequest]], text: str, strengths: Callable[[str], str]
) -> dict[Kind, list[PluginRequest]]:
    """Return the plug-ins, with the swept one repeated once per value of its parameter.

    Args:
        plugins: kind to the named plug-ins.
        text: such as ``defense.dcor.alpha=0.1,0.5,0.9``, or ``defense.dcor`` for the strengths
            that the defense states.
        strengths: as for :func:`parse_request`.

    Raises:
        UsageError: the text is malformed, or names a plug-in that the request does not have.
    """
    kind, _, named = text.partition(".")
    asked = [one.spec for one in plugins["defense"] if is_named(one, named)]
    if kind == "defense" and asked and "=" not in text:
        text = f"{text}.{strengths(asked[0])}"
    path, _, listed = text.partition("=")
    kind, _, rest = path.partition(".")
    name, _, parameter = rest.rpartition(".")
    values = [value.strip() for value in listed.split(",") if value.strip()]
    swept = next((known for known in plugins if known == kind), None)
    if swept is None or not (name and parameter and values):
        raise UsageError(
            f"--sweep {text!r} is not of the form defense.dcor.alpha=0.1,0.5,0.9, nor defense.dcor "
            "for a defense of this run"
        )
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
    """Return whether a name in ``--set`` or ``--sweep`` means this plug-in.

    The name of an installed one counts with and without its distribution.
    """
    whole, asked = _key_of(request.spec), _key_of(name)
    return asked in (whole, whole.rpartition("/")[2])


def _key_of(spec: str) -> str:
    """Return the name that ``--set`` uses for a plug-in given by name or by path."""
    return plain_name(spec.rstrip("/\\")).replace("_", "-")
