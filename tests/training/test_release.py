"""The door: one module encodes a client's images and releases what leaves it."""

from __future__ import annotations

import ast
from pathlib import Path

import splitsec

DOOR = "training/release.py"
ELSEWHERE = {
    # None sends anything anywhere: one tells the shape of zeros, two check a plug-in, one tries a
    # client with drawn images, and an attacker's stand-in encodes images of its own.
    "encode": {
        "plugins/target.py",
        "running/contract/check_target.py",
        "plugins/toolbox/stand_in.py",
        "training/mixing.py",
    },
    "release": {"running/contract/check_defense.py", "plugins/toolbox/stand_in.py"},
}


def calls_of(name: str) -> set[str]:
    """Return the modules that call a function of this name, or a method of a ``defense``."""
    root = Path(splitsec.__file__).parent
    found = set()
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _names(node.func, name):
                found.add(file.relative_to(root).as_posix())
    return found


def _names(function: ast.expr, name: str) -> bool:
    if isinstance(function, ast.Name):
        return function.id == name
    if isinstance(function, ast.Attribute) and function.attr == name:
        holder = ast.unparse(function.value)
        return holder == "defense" or holder.endswith(".defense")
    return False


def test_only_the_door_encodes_images_and_releases_smashed_data() -> None:
    for name, others in ELSEWHERE.items():
        assert calls_of(name) == {DOOR} | others, name
