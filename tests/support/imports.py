"""What the files of a project import, read from their syntax trees.

An import counts wherever it stands: at the top, inside a function, under ``TYPE_CHECKING``. So does
a module that is named by a string, since that is how lazy loaders import: a string that is a
module's name, and an f-string that begins with ``splitsec.``. Docstrings do not count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import product
from pathlib import Path
from typing import NamedTuple

PACKAGE = "splitsec"
OUTER = ("attacks", "defenses", "targets", "leaderboard")
"""Folders beside the package that are installed inside it."""

_NAME = re.compile(rf"{PACKAGE}\.[\w.*]*(:\w+)?")
_IMPORTERS = ("import_module", "__import__", "find_spec", "resolve_name", "run_module")


class Import(NamedTuple):
    """One file's import of another.

    Attributes:
        importer: name of the module that imports.
        line: where it does, from 1.
        imported: name of the module that is imported.
    """

    importer: str
    line: int
    imported: str

    def __str__(self) -> str:
        """Return it as a failed test shows it."""
        return f"{self.importer}, line {self.line}, imports {self.imported}"


@dataclass(frozen=True)
class Project:
    """The modules of a project and what they import.

    Attributes:
        files: of each module, by its name.
        imports: of modules of the project, in order.
        dynamic: calls whose module's name is not in the source, as (module, line).
    """

    files: Mapping[str, Path]
    imports: tuple[Import, ...]
    dynamic: tuple[tuple[str, int], ...]

    @property
    def packages(self) -> set[str]:
        """Names of the folders that hold modules."""
        return {_package(name, file) for name, file in self.files.items()}

    def circle(self, without: Iterable[tuple[str, str]] = ()) -> list[str]:
        """Return modules each of which imports the one before, or nothing if there is no circle.

        Args:
            without: pairs of importer and imported that are left out.
        """
        left_out = set(without)
        graph: dict[str, set[str]] = {name: set() for name in self.files}
        for one in self.imports:
            if one[::2] not in left_out:
                graph[one.importer].add(one.imported)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1]
            return circle
        return []


def read_project(root: Path) -> Project:
    """Read the package in a folder, and the folders beside it that are installed inside it."""
    files = {}
    for folder in (PACKAGE, *OUTER):
        for file in sorted((root / folder).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            if parts[0] != PACKAGE:
                parts = (PACKAGE, *parts)
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    trees = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in files.items()}
    tables = {name: _tables(tree) for name, tree in trees.items()}
    imports: list[Import] = []
    dynamic: list[tuple[str, int]] = []
    for name, tree in trees.items():
        package = _package(name, files[name])
        known = dict(tables[name])
        named: list[tuple[int, str]] = []
        for line, module, what in _statements(tree, package):
            named.append((line, f"{module}.{what}" if what not in ("", "*") else module))
            if what in tables.get(module, {}):
                known[what] = tables[module][what]
        for line, text in _strings(tree, known):
            if _NAME.fullmatch(text):
                named.append((line, text))
        for call in _calls(tree):
            if not _is_in_the_source(call, known):
                dynamic.append((name, call.lineno))
            written = [text for _, text in _strings(call, known)]
            named += [
                (call.lineno, _absolute(text, package)) for text in written if text[:1] == "."
            ]
            named += [(call.lineno, text) for text in written if text == PACKAGE]
        found = {
            Import(name, line, module)
            for line, text in named
            for module in _resolved(text, files)
            if module != name
        }
        imports += sorted(found)
    return Project(files, tuple(imports), tuple(dynamic))


def imported_names(file: Path) -> list[str]:
    """Return the modules that a file outside the package imports, as they are written there."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    written = [module for _, module, _ in _statements(tree, "")]
    return written + [text for call in _calls(tree) for _, text in _strings(call, {})]


def _package(name: str, file: Path) -> str:
    return name if file.name == "__init__.py" else name.rpartition(".")[0]


def _absolute(name: str, package: str) -> str:
    """Return a module's name without the dots that stand for a package and those above it."""
    below = name.lstrip(".")
    if below == name:
        return name
    parts = package.split(".")
    return ".".join([*parts[: len(parts) + 1 - (len(name) - len(below))], *filter(None, [below])])


def _resolved(text: str, files: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules that a dotted name reaches: itself, or the one that defines it.

    A name that ends in ``*`` reaches every module that begins like it.
    """
    if text.endswith("*"):
        yield from (name for name in files if name.startswith(text[:-1]))
        return
    parts = text.partition(":")[0].split(".")
    while parts and ".".join(parts) not in files:
        parts.pop()
    if parts:
        yield ".".join(parts)


def _statements(tree: ast.AST, package: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, module and imported name (or nothing) of every import statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute("." * node.level + (node.module or ""), package)
            yield from ((node.lineno, module, alias.name) for alias in node.names)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield every call of a function that imports or finds a module by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else ""
            if (function.id if isinstance(function, ast.Name) else name) in _IMPORTERS:
                yield node


def _is_in_the_source(call: ast.Call, tables: Mapping[str, list[str]]) -> bool:
    nodes = list(ast.walk(call.args[0])) if call.args else []
    return any(
        (isinstance(node, ast.Constant) and isinstance(node.value, str))
        or (isinstance(node, ast.Name) and node.id in tables)
        for node in nodes
    )


def _tables(tree: ast.Module) -> dict[str, list[str]]:
    """Return the strings in the constants of a module, as values where they are mappings."""
    found = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant | ast.Dict):
                inside = value.values if isinstance(value, ast.Dict) else [value]
                found[target.id] = [
                    one.value
                    for part in inside
                    for one in ast.walk(part)
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                ]
    return {name: values for name, values in found.items() if values}


def _strings(tree: ast.AST, tables: Mapping[str, list[str]]) -> Iterator[tuple[int, str]]:
    """Yield the strings of a tree that are no docstrings; what they leave open ends in ``*``."""
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            yield from ((node.lineno, text) for text in _formatted(node, tables))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            yield node.lineno, node.value


def _formatted(node: ast.JoinedStr, tables: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield what an f-string may be: each value of a table that it looks up, else a prefix."""
    choices: list[list[str]] = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            choices.append([str(part.value)])
            continue
        value = part.value if isinstance(part, ast.FormattedValue) else part
        table = value.value if isinstance(value, ast.Subscript) else value
        if not (isinstance(table, ast.Name) and table.id in tables):
            choices.append(["*"])
            break
        choices.append(tables[table.id])
    yield from ("".join(parts) for parts in product(*choices))
