"""What to run: one cell's specification, profiles, and how text becomes either.

Nothing here imports torch or a plug-in; resolving a cell's parameters does, in
:func:`splitsec.cells.resolve.resolve`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from splitsec.errors import UsageError, unknown_name
from splitsec.training.settings import Training


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(_Frozen):
    """Defaults of everything that a command does not say; see profiles.toml.

    Attributes:
        target: default target.
        data: task to its default data set.
        size: height and width of the images, pixels.
        private: images of all clients together.
        public: images of the attacker.
        validation: images that choose between trivial attackers.
        held_out: images that train nothing.
        victims: private images whose traffic is attacked and scored.
        threads: CPU threads; part of what decides the numbers.
        training: the clients' settings.
        for_data: data set to its own size and counts, where it cannot do with the profile's.
    """

    target: str
    data: dict[str, str]
    size: int
    private: int
    public: int
    validation: int
    held_out: int
    victims: int
    threads: int
    training: Training
    for_data: dict[str, dict[str, int]] = Field(default_factory=dict)


class PluginRequest(NamedTuple):
    """A plug-in or data set as asked for, with the parameters given beside it."""

    spec: str
    parameters: dict[str, str]


def profiles() -> dict[str, Profile]:
    """Return all profiles by name."""
    text = resources.files("splitsec.cells").joinpath("profiles.toml").read_text(encoding="utf-8")
    return {name: Profile(**values) for name, values in tomllib.loads(text).items()}


def get_profile(name: str) -> Profile:
    """Return a profile.

    Raises:
        UsageError: there is none of that name.
    """
    known = profiles()
    if name not in known:
        raise UsageError(unknown_name("profile", name, known))
    return known[name]


def parse_requests(text: str) -> list[PluginRequest]:
    """Parse a comma-separated list such as ``fsha:iterations=500,critic_lr=1e-3,adra``.

    A piece with ``=`` and no name before it belongs to the request before it.

    Raises:
        UsageError: the text is empty, or starts with a parameter.
    """
    requests: list[PluginRequest] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        head, equals, value = piece.partition("=")
        name, colon, key = head.rpartition(":")
        if equals and not colon:
            if not requests:
                raise UsageError(f"{text!r} starts with a parameter; a name is due before it")
            requests[-1].parameters[head.strip()] = value.strip()
        elif equals:
            requests.append(PluginRequest(name, {key.strip(): value.strip()}))
        else:
            requests.append(PluginRequest(piece, {}))
    if not requests:
        raise UsageError("an empty name was given where an attack, defense, target or data is due")
    return requests


class Settings(NamedTuple):
    """Parsed ``--set`` options.

    Attributes:
        plugins: kind to name to parameter to value.
        training: setting of ``Training`` to value.
        counts: field of ``Profile`` that counts images to value.
    """

    plugins: dict[str, dict[str, dict[str, str]]]
    training: dict[str, str]
    counts: dict[str, str]


COUNTS = ("private", "public", "validation", "held_out", "victims")
"""Numbers of images that a command may set, as ``--set counts.private=200``."""


def parse_settings(settings: Sequence[str]) -> Settings:
    """Parse ``--set`` options such as ``attack.fsha.iterations=500`` or ``training.epochs=5``.

    Raises:
        UsageError: an option has another form, or an unknown kind.
    """
    parsed = Settings({"attack": {}, "defense": {}, "target": {}, "data": {}}, {}, {})
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
        if kind not in parsed.plugins:
            raise UsageError(unknown_name("kind in --set:", kind, [*parsed.plugins, *flat]))
        parsed.plugins[kind].setdefault(name, {})[parameter] = value
    for name in parsed.counts:
        if name not in COUNTS:
            raise UsageError(unknown_name("count in --set:", name, COUNTS))
    return parsed
