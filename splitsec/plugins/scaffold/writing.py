"""Writing a new plug-in: which files, from which templates, and what to do with them next."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from splitsec.errors import OutputError, UsageError
from splitsec.plugins.loading import list_plugins
from splitsec.plugins.names import PLURALS, Kind

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_SUFFIXES: dict[Kind, str] = {
    "attack": "Attack",
    "defense": "Defense",
    "target": "Target",
    "data": "Source",
}
_ARTICLES: dict[Kind, str] = {
    "attack": "an attack",
    "defense": "a defense",
    "target": "a target",
    "data": "a data source",
}
_CALLS: dict[Kind, tuple[str, ...]] = {
    "attack": ("PLUGIN", 'target="resnet:depth=18"', "cut=1"),
    "defense": ('"none"', "PLUGIN", 'target="resnet:depth=18"'),
    "target": ('"none"', "target=PLUGIN"),
    "data": ('"none"', 'target="resnet:depth=18"', "data=PLUGIN"),
}
_EVALUATIONS: dict[Kind, str] = {
    "attack": "--attack {} --defense none,dcor",
    "defense": "--attack adra --defense none,{}",
    "target": "--attack adra --target {}",
    "data": "--attack adra --data {}",
}


@dataclass(frozen=True)
class Scaffold:
    """A plug-in that is to be written.

    Attributes:
        kind: attack, defense, target or data.
        name: its plain name, such as ``my-attack``.
        package: whether it becomes a package that pip installs, not a file.
        output: folder in which the files, or the package's folder, are made.
    """

    kind: Kind
    name: str
    package: bool
    output: Path

    @property
    def stem(self) -> str:
        """The name as Python has it, such as ``my_attack``."""
        return self.name.replace("-", "_")

    @property
    def distribution(self) -> str:
        """Name of the package, such as ``splitsec-my-attack``."""
        return f"splitsec-{self.name}"

    @property
    def spec(self) -> str:
        """What the plug-in is asked for by, once it is written (and installed)."""
        if self.package:
            return f"{self.distribution}/{self.name}"
        file = self.output / f"{self.stem}.py"
        return str(file) if self.output.is_absolute() else f"./{file.as_posix()}"

    def files(self) -> dict[Path, str]:
        """Return each file that is to be written, and its template; an empty one has none."""
        plugin = f"{self.kind}.py.j2"
        if not self.package:
            return {
                self.output / f"{self.stem}.py": plugin,
                self.output / f"test_{self.stem}.py": "test.py.j2",
            }
        folder = self.output / self.distribution
        source = folder / "src" / f"splitsec_{self.stem}"
        return {
            folder / "pyproject.toml": "pyproject.toml.j2",
            folder / "README.md": "README.md.j2",
            source / "__init__.py": plugin,
            source / "py.typed": "",
            folder / "tests" / f"test_{self.stem}.py": "test.py.j2",
        }

    def next_steps(self) -> list[str]:
        """Return the commands that a person runs next."""
        evaluate = f"splitsec eval {_EVALUATIONS[self.kind].format(self.spec)}"
        check = f"splitsec check {self.spec}"
        if self.package:
            folder = self.output / self.distribution
            return [f"pip install -e {folder}", check, evaluate, f"pytest {folder}"]
        return [check, evaluate, f"pytest {self.output / f'test_{self.stem}.py'}"]

    def values(self) -> dict[str, Any]:
        """Return what the templates are filled with."""
        words = self.name.split("-")
        cls = "".join(word.capitalize() for word in words)
        suffix = _SUFFIXES[self.kind]
        return {
            "kind": self.kind,
            "plural": PLURALS[self.kind],
            "article": _ARTICLES[self.kind],
            "name": self.name,
            "title": " ".join(words).capitalize(),
            "cls": cls if cls.endswith(suffix) else cls + suffix,
            "package": self.package,
            "file": f"{self.stem}.py",
            "module": f"splitsec_{self.stem}",
            "distribution": self.distribution,
            "spec": self.spec,
            "call": _CALLS[self.kind],
            "eval": self.next_steps()[-2],
        }


def plan_scaffold(kind: Kind, name: str, package: bool, output: Path) -> Scaffold:
    """Return what is to be written for a name, if it can be.

    Args:
        kind: attack, defense, target or data.
        name: of the plug-in, such as ``my-attack`` or ``my_attack``.
        package: whether it becomes a package.
        output: folder to write into.

    Raises:
        UsageError: the name cannot be a plug-in's.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a plug-in; use small letters, digits and hyphens, such as "
            f"{_like(name, kind)!r} (--output names the folder)"
        )
    scaffold = Scaffold(kind, name.replace("_", "-"), package, output)
    if scaffold.name in (_SUFFIXES[kind].lower(), kind):
        raise UsageError(f"{name!r} says no more than what kind it is; name the method")
    if scaffold.name in {listed.name for listed in list_plugins(kind)}:
        raise UsageError(
            f"{kind} {scaffold.name!r} is built in, and records go by plain names; choose another"
        )
    if not package and (keyword.iskeyword(scaffold.stem) or _hides_a_module(scaffold)):
        raise UsageError(
            f"a file {scaffold.stem}.py would hide what Python calls {scaffold.stem!r}; choose "
            "another name"
        )
    return scaffold


def _like(name: str, kind: Kind) -> str:
    """Return a name that is allowed and near to one that is not."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", Path(name).stem).lower()
    near = re.sub(r"[^a-z0-9]+", "-", spaced).strip("-0123456789")
    return near if _NAME.fullmatch(near) else f"my-{kind}"


def _hides_a_module(scaffold: Scaffold) -> bool:
    """Return whether Python finds another module by the file's name."""
    found = importlib.util.find_spec(scaffold.stem)
    own = scaffold.output / f"{scaffold.stem}.py"
    return found is not None and not (found.origin and Path(found.origin) == own.absolute())


def write_scaffold(scaffold: Scaffold) -> Sequence[Path]:
    """Write a new plug-in.

    Returns:
        The files.

    Raises:
        OutputError: a file is there already, or the folder cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("splitsec.plugins.scaffold"),
        autoescape=False,  # Python, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    files = scaffold.files()
    taken = [file for file in files if file.exists()]
    if taken:
        raise OutputError(
            f"{taken[0]} is there already and is not overwritten; nothing was written: choose "
            "another name, or another folder with --output"
        )
    values = scaffold.values()
    try:
        for file, template in files.items():
            text = environment.get_template(template).render(values) if template else ""
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {error.filename}: {error.strerror}") from None
    return [*files]
