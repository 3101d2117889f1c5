"""The face of the package: every name stays what it is, in whatever order things are imported."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import splitsec

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / name for name in ("splitsec", "attacks", "defenses", "targets", "leaderboard")]

READ = """
import json
import splitsec
def read():
    return {name: getattr(splitsec, name) for name in names}
def show(value):
    return f"{type(value).__name__} {getattr(value, '__module__', '')}"
"""
SUBMODULES = """
import importlib, pkgutil
for one in pkgutil.walk_packages(splitsec.__path__, "splitsec."):
    if not one.name.endswith("__main__"):
        importlib.import_module(one.name)
"""
TOLD = """
assert first == read(), "a name changed"
print(json.dumps({name: show(value) for name, value in first.items()}))
"""
ORDERS = {
    "names, then every submodule": f"first = read()\n{SUBMODULES}\n{TOLD}",
    "every submodule, then names": f"{SUBMODULES}\nfirst = read()\n{TOLD}",
    "names backwards, then the command line": (
        f"names.reverse()\nfirst = read()\nimport splitsec.cli, splitsec.cli.eval\n{TOLD}"
    ),
    "all names at once": (
        f"from splitsec import *\nfirst = {{name: globals()[name] for name in names}}\n{TOLD}"
    ),
}


def told(order: str) -> dict[str, str]:
    """Return what each name is in a new process, once the order has been followed."""
    program = f"names = {splitsec.__all__!r}\n{READ}\n{ORDERS[order]}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names: dict[str, str] = json.loads(done.stdout)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_a_name_of_the_face_is_the_same_in_every_order_of_imports(order: str) -> None:
    names = told(order)
    assert sorted(names) == sorted(splitsec.__all__)
    assert names["evaluate"] == "function splitsec.running.runs"
    assert not [name for name, what in names.items() if what.startswith("module")]


def test_the_face_names_what_it_can_import() -> None:
    assert set(splitsec.__all__) == set(splitsec._HOMES)
    with pytest.raises(AttributeError, match="nothing"):
        getattr(splitsec, "nothing")  # noqa: B009 - mypy would refuse the attribute itself


def bound(file: Path) -> set[str]:
    """Return the names that a package binds when it is imported."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.ImportFrom(module=None):
                continue  # its own modules, as the names that they bind anyway
            case ast.ImportFrom() | ast.Import():
                names |= {one.asname or one.name.partition(".")[0] for one in node.names}
            case _:
                inner = (one for one in ast.walk(node) if isinstance(one, ast.Name))
                names |= {one.id for one in inner if isinstance(one.ctx, ast.Store)}
    return names


@pytest.mark.parametrize(
    "file", [file for one in PACKAGES for file in sorted(one.rglob("__init__.py"))], ids=str
)
def test_no_module_overwrites_a_name_of_its_package(file: Path) -> None:
    """Importing ``package.name`` binds ``name`` in the package, whatever it was before."""
    folder = file.parent
    modules = {one.stem for one in folder.glob("*.py")} | {
        one.parent.name for one in folder.glob("*/__init__.py")
    }
    if folder == ROOT / "splitsec":
        modules |= {one.name for one in PACKAGES}
        assert not modules & set(splitsec.__all__)
    assert not modules & bound(file)
