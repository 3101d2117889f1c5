"""The rooms: imports run downwards only, in no circle, and each file is where it belongs."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from support.imports import OUTER, Import, Project, imported_names, read_project

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"

GROUND = (
    "checkpoint",
    "devices",
    "download",
    "errors",
    "escaping",
    "files",
    "folders",
    "interruption",
    "progress",
    "randomness",
    "shapes",
    "state",
    "versioned",
)
"""Modules directly under the package, which every room may import."""

FLOORS = (
    GROUND,
    ("metrics",),
    ("plugins",),
    ("data", "isolation", "attacks", "defenses", "targets"),
    ("training", "datasets"),
    ("records",),
    ("cells",),
    ("running",),
    ("leaderboard",),
    ("cli",),
    ("", "__main__"),
)
"""From the lowest: a room imports itself and what is below. The last is the package's face."""

PLUGINS = ("attacks", "defenses", "targets", "datasets")

BY_NAME = {
    ("splitsec.plugins.loading", room): "finds built-in plug-ins by name" for room in PLUGINS
} | {("splitsec.plugins.loading", "data"): "a group of entry points has the room's name"}
"""Rooms above that a module names in strings, and why it may."""

PROCESSES = {
    ("splitsec.isolation.host", "splitsec.isolation.guest"): "starts it as a process of its own"
}
"""Modules that are named in strings and not imported, and why that closes no circle."""

CASES = {
    ("splitsec.datasets.retinamnist", "splitsec.datasets.medmnist"): "is one of MedMNIST's sets"
}
"""Data sets that are built from another one, and why; identity is of images, not of their code."""

DYNAMIC = {
    "splitsec.plugins.importing": "imports plug-ins from the sources that are hashed",
    "splitsec.plugins.loading": "imports plug-ins, whose names a person gives",
    "splitsec.plugins.plugin_classes": "finds the base class of a kind by its name",
    "splitsec.plugins.scaffold.writing": "looks whether a new file would hide a module",
    "splitsec.plugins.reading": "finds the folders of built-in plug-ins, which may be read",
    "splitsec.plugins.module_files": "finds a plug-in's file without importing it",
    "splitsec.cli.examination": "imports the packages that splitsec depends on",
}
"""Modules that import what their source does not name, and why."""

LONG = {
    "splitsec/data/drawn/fundus.py": "one drawing from background to vessels, all of it constants",
}
"""Files of more lines than others, and why."""

TOP = {
    *("pyproject.toml", "splitsec", "attacks", "defenses", "targets", "leaderboard", "tests"),
    *(
        ".ci",
        ".github",
        ".gitignore",
        "CONTRIBUTING.md",
        "LICENSE",
        "README.md",
        "docs",
        "mkdocs.yml",
    ),
}
"""All that is committed at the top of the repository."""

MOST_LINES, MOST_ROOMS, MOST_FLOORS = 400, 30, 14


def room_of(module: str) -> str:
    """Return the room, the ground's module, or nothing for the face."""
    return module.split(".")[1] if "." in module else ""


def floor_of(module: str) -> int:
    found = [floor for floor, rooms in enumerate(FLOORS) if room_of(module) in rooms]
    assert found, f"{module} is in no room that has a floor"
    return found[0]


def plugin_of(module: str) -> str:
    """Return the name of the file or folder that is the plug-in that a module is part of."""
    return ".".join(module.split(".")[:3])


def is_downwards(one: Import) -> bool:
    """Return whether an import is of a lower floor or within a room; the ground is one room."""
    importer, imported = floor_of(one.importer), floor_of(one.imported)
    same = importer == 0 or room_of(one.importer) == room_of(one.imported)
    return imported < importer or (imported == importer and same)


def not_downwards(project: Project) -> list[Import]:
    """Return imports of a floor above, or of another room on the same floor."""
    return [
        one
        for one in project.imports
        if not is_downwards(one) and (one.importer, room_of(one.imported)) not in BY_NAME
    ]


def not_for_plugins(project: Project) -> list[Import]:
    """Return what plug-ins import besides the ground, the plug-ins' room and their own files."""
    return [
        one
        for one in project.imports
        if room_of(one.importer) in PLUGINS
        and room_of(one.imported) not in (*GROUND, "plugins")
        and plugin_of(one.importer) != plugin_of(one.imported)
        and (plugin_of(one.importer), plugin_of(one.imported)) not in CASES
        and (room_of(one.importer), room_of(one.imported)) != ("datasets", "data")
    ]


@pytest.fixture(scope="module")
def project() -> Project:
    return read_project(ROOT)


def lines(imports: list[Import]) -> str:
    return "\n".join(map(str, imports))


def test_imports_run_downwards_only(project: Project) -> None:
    found = not_downwards(project)
    assert not found, lines(found)


def test_no_import_is_in_a_circle(project: Project) -> None:
    circle = project.circle(without=PROCESSES)
    assert not circle, " is imported by ".join(circle)


def test_plugins_import_the_plugins_room_and_their_own_folder(project: Project) -> None:
    found = not_for_plugins(project)
    assert not found, lines(found)


def test_the_face_is_for_those_outside(project: Project) -> None:
    found = [one for one in project.imports if one.imported in ("splitsec", "splitsec.__main__")]
    assert not found, lines(found)


def test_only_the_ground_is_directly_under_the_package() -> None:
    files = {file.stem for file in (ROOT / "splitsec").glob("*.py")}
    assert files == {*GROUND, "__init__", "__main__"}


def test_rooms_and_floors_can_be_counted(project: Project) -> None:
    assert len(project.packages) <= MOST_ROOMS
    assert len(FLOORS) <= MOST_FLOORS


def test_the_wheel_is_told_of_every_package(project: Project) -> None:
    """An editable install finds modules that a wheel would lack."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(settings["tool"]["setuptools"]["packages"]) == project.packages


def test_a_long_file_has_a_reason(project: Project) -> None:
    long = {
        file.relative_to(ROOT).as_posix()
        for file in project.files.values()
        if len(file.read_text(encoding="utf-8").splitlines()) > MOST_LINES
    }
    assert long == set(LONG)


def test_what_is_imported_by_a_name_that_is_not_in_the_source_has_a_reason(
    project: Project,
) -> None:
    assert {module for module, _ in project.dynamic} == set(DYNAMIC)


@pytest.mark.parametrize("pair", [*BY_NAME, *PROCESSES, *CASES], ids=" to ".join)
def test_an_exception_is_still_needed(project: Project, pair: tuple[str, str]) -> None:
    assert pair in {
        (one.importer, imported)
        for one in project.imports
        for imported in (one.imported, plugin_of(one.imported), room_of(one.imported))
    }


def test_nothing_beside_the_project_is_committed() -> None:
    """A folder of downloads was once committed by ``git add``."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of the repository")
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    tracked = subprocess.run(command, capture_output=True, check=True).stdout
    names = [Path(os.fsdecode(name)) for name in tracked.split(b"\0") if name]
    assert {name.parts[0] for name in names} == TOP
    assert not [name for name in names if name.suffix in {".whl", ".gz", ".zip", ".pt", ".npz"}]


def test_no_test_imports_another() -> None:
    found = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in TESTS.rglob("*.py")
        for name in imported_names(file)
        if name.split(".")[-1].startswith("test_") or name.split(".")[-1] == "conftest"
    ]
    assert not found, "\n".join(found)


def test_tests_have_names_of_their_own_in_rooms() -> None:
    """Two of one name cannot be collected together."""
    names = [file.name for file in TESTS.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
    assert not list(TESTS.glob("test_*.py"))


# What the checks above find, in small projects.

TYPING = "from typing import TYPE_CHECKING"


def made(folder: Path, **files: str) -> Project:
    """Write a project; ``__`` in names of files stands for a folder's ``/``."""
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(text)
    return read_project(folder)


@pytest.mark.parametrize(
    "text",
    [
        "from ..cells import cell",
        "from ..cells.cell import Cell",
        "from .. import cells",
        "import splitsec.cells.cell as another",
        "def late():\n    from splitsec.cells.cell import Cell",
        f"{TYPING}\nif TYPE_CHECKING:\n    from splitsec.cells import cell",
        "import importlib\nimportlib.import_module('splitsec.cells.cell')",
        "import importlib\nimportlib.import_module('..cells', __package__)",
        "from importlib.util import find_spec\nfind_spec(f'splitsec.cells.{name}')",
        "NAME = 'splitsec.cells.cell'",
        "HOMES = {'Cell': ('cells.cell', 1)}\nhome = f'splitsec.{HOMES[name]}'",
        "import pkgutil\npkgutil.resolve_name('splitsec.cells.cell:Cell')",
    ],
)
def test_an_import_upwards_is_found_however_it_is_written(text: str, tmp_path: Path) -> None:
    project = made(tmp_path, splitsec__cells__cell="", splitsec__metrics__leakage=text)
    (found,) = {one[::2] for one in not_downwards(project)}
    assert found[0] == "splitsec.metrics.leakage"
    assert found[1] in ("splitsec.cells", "splitsec.cells.cell")


@pytest.mark.parametrize(
    "text",
    [
        "from splitsec.errors import SplitsecError",
        "from ..errors import SplitsecError",
        "from . import leakage",
        "import splitsec.metrics.leakage",
        "'''splitsec.cells.cell'''",
        "def late():\n    '''splitsec.cells.cell'''",
        "SAID = 'see splitsec.cells.cell'",
    ],
)
def test_an_import_downwards_or_within_a_room_is_none(text: str, tmp_path: Path) -> None:
    project = made(
        tmp_path,
        splitsec__errors="",
        splitsec__cells__cell="",
        splitsec__metrics__leakage="",
        splitsec__metrics__victims=text,
    )
    assert not not_downwards(project)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("training__loop", "datasets.folder"),
        ("errors", "metrics.leakage"),
        ("data__parts", "isolation.host"),
        ("running__runs", "cli.eval"),
    ],
)
def test_neighbours_on_a_floor_do_not_import_each_other(
    importer: str, imported: str, tmp_path: Path
) -> None:
    files = {
        f"splitsec__{imported.replace('.', '__')}": "",
        f"splitsec__{importer}": f"import splitsec.{imported}",
    }
    (found,) = not_downwards(made(tmp_path, **files))
    assert found.imported == f"splitsec.{imported}"


@pytest.mark.parametrize(
    "back",
    [
        "from splitsec.cells import one",
        "from .one import name",
        "def late():\n    from . import one",
        "NAMES = {'one': ('splitsec.cells.one', 'its words')}",
    ],
)
def test_a_circle_is_found(back: str, tmp_path: Path) -> None:
    project = made(
        tmp_path,
        splitsec__cells__one="from splitsec.cells import two",
        splitsec__cells__two=f"{TYPING}\nif TYPE_CHECKING:\n    from . import three",
        splitsec__cells__three=back,
    )
    assert set(project.circle()) == {f"splitsec.cells.{name}" for name in ("one", "two", "three")}
    assert not project.circle(without=[("splitsec.cells.three", "splitsec.cells.one")])


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("from . import networks", True),
        ("from splitsec.plugins.toolbox import layers", True),
        ("from splitsec.errors import SplitsecError", True),
        ("from ..adra import Adra", False),
        ("from splitsec.metrics import leakage", False),
        ("from splitsec.data import parts", False),
        ("NAME = 'splitsec.attacks.adra'", False),
    ],
)
def test_what_a_plugin_may_import(text: str, allowed: bool, tmp_path: Path) -> None:
    project = made(
        tmp_path,
        splitsec__errors="",
        splitsec__plugins__toolbox__layers="",
        splitsec__metrics__leakage="",
        splitsec__data__parts="",
        attacks__adra="",
        attacks__fsha__networks="",
        attacks__fsha__hijack=text,
    )
    assert (not not_for_plugins(project)) == allowed


def test_outer_folders_are_rooms_of_the_package(tmp_path: Path) -> None:
    files = {f"{folder}__one": "from . import one" for folder in OUTER}
    project = made(tmp_path, **files)
    assert set(project.files) >= {f"splitsec.{folder}.one" for folder in OUTER}


def test_a_name_that_is_not_in_the_source_is_found(tmp_path: Path) -> None:
    text = "from importlib import import_module\n\ndef get(name):\n    return import_module(name)\n"
    assert made(tmp_path, splitsec__cells__one=text).dynamic == (("splitsec.cells.one", 4),)
