"""How plug-ins are named: by a name, an entry point, or the path of their source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from splitsec.errors import UsageError, unknown_name

Kind = Literal["attack", "defense", "target", "data"]


KINDS: tuple[Kind, ...] = ("attack", "defense", "target", "data")


METHODS: tuple[Kind, ...] = ("attack", "defense", "target")
"""Kinds whose source decides a cell; of data it is the images that do."""


PLURALS: dict[Kind, str] = {
    "attack": "attacks",
    "defense": "defenses",
    "target": "targets",
    "data": "data",
}
"""What entry-point groups and ``splitsec list`` call a kind."""

FOLDERS: dict[Kind, str] = {
    "attack": "attacks",
    "defense": "defenses",
    "target": "targets",
    "data": "datasets",
}
"""Packages of the built-in plug-ins, within ``splitsec``."""


def plain_name(spec: str) -> str:
    """Return the name that records show for a plug-in: ``./my_attack.py`` is ``my-attack``."""
    path, _ = split_class(spec)
    return Path(path).stem.replace("_", "-") if is_path(path) else path


def names_in(kind: Kind, spec: str) -> list[str]:
    """Return the names in a spec that is no path: several for a composition of defenses.

    Examples:
        >>> names_in("defense", "clip+gaussian-noise")
        ['clip', 'gaussian-noise']
        >>> names_in("defense", "dcor"), names_in("attack", "a+b")
        (['dcor'], ['a+b'])
    """
    name = split_class(spec)[0]
    return name.split("+") if kind == "defense" and not is_path(spec) else [name]


def may_follow(names: Sequence[str]) -> bool:
    """Return whether defenses of these names may be composed: each once, and without ``none``."""
    return len(names) == 1 or (len(set(names)) == len(names) and "none" not in names)


class PluginPath(NamedTuple):
    """A plug-in that is named by where its source is.

    Attributes:
        path: its file or folder.
        cls: the class in it, or None where there is one only.
    """

    path: Path
    cls: str | None

    def below(self, folder: Path) -> str:
        """Return how it is asked for where its path is seen from a folder."""
        return f"{folder / self.path}{f':{self.cls}' if self.cls else ''}"


def path_of(spec: str) -> PluginPath | None:
    """Return where a plug-in's source is, if it is asked for by a path and not by a name."""
    path, class_name = split_class(spec)
    return PluginPath(Path(path).expanduser(), class_name) if is_path(path) else None


def is_path(spec: str) -> bool:
    """Return whether a plug-in is asked for by a path."""
    return (
        spec.endswith(".py")
        or spec.startswith((".", "~", "/", "\\"))
        or bool(re.match(r"[A-Za-z]:[\\/]", spec))
    )


def is_source(spec: str) -> bool:
    """Return whether a plug-in is asked for by the path of what is there."""
    found = path_of(spec)
    return found is not None and is_there(str(found.path))


def is_there(path: str) -> bool:
    """Return whether a text is the path of a file or folder that is there."""
    try:
        return bool(path) and Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, or an unknown user's home
        return False


def split_class(spec: str) -> tuple[str, str | None]:
    """Split ``path:Class``; the colon of a drive letter is not a separator."""
    match = re.fullmatch(r"(.{2,}):([A-Za-z_]\w*)", spec)
    return (match[1], match[2]) if match else (spec, None)


def unknown_plugin(kind: str, name: str, known: Iterable[str], see: str) -> UsageError:
    """Return the error for a name that nothing has, with what was probably meant.

    Args:
        kind: the kind, or another word for it.
        name: what was given.
        known: the names that exist.
        see: where to find the list, such as ``splitsec list attacks``.
    """
    for file in (Path(name), Path(f"{name}.py")):
        if file.exists():
            return UsageError(
                f"unknown {kind} {name!r}; for the {'folder' if file.is_dir() else 'file'} here, "
                f"write ./{file}"
            )
    known, (first, colon, value) = list(known), name.partition(":")
    if colon and first in known:
        return UsageError(
            f"unknown {kind} {name!r}; a parameter goes by its name, as in {first}:NAME={value} "
            f"(splitsec show {kind} {first})"
        )
    return UsageError(unknown_name(kind, name, known, see=see))
