"""A hash of code changes with what the code does, and with nothing else."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from splitsec.cells.identity import shared_code
from splitsec.plugins import toolbox
from splitsec.plugins.source_code import code_sha256, own_files

TOOLBOX = Path(toolbox.__path__[0])


def functions() -> Iterator[tuple[str, int]]:
    """Yield the file of each function that plug-ins may share, and its place in the file."""
    for file in sorted(TOOLBOX.glob("*.py")):
        for place, _ in enumerate(_functions(ast.parse(file.read_text(encoding="utf-8")))):
            yield file.name, place


def _functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize(("name", "place"), list(functions()))
def test_each_shared_function_counts_and_no_comment_does(
    tmp_path: Path, name: str, place: int
) -> None:
    file = Path(shutil.copy(TOOLBOX / name, tmp_path))
    before, text = code_sha256(tmp_path), file.read_text(encoding="utf-8")
    lines, function = text.splitlines(), _functions(ast.parse(text))[place]
    first = function.body[0].lineno - 1
    indent = " " * function.body[0].col_offset
    if lines[first].startswith(indent):  # not on the line of its def
        file.write_text("\n".join([*lines[:first], f"{indent}# Why.", *lines[first:]]) + "\n\n")
        assert code_sha256(tmp_path) == before
    described = ast.parse(text)
    _functions(described)[place].body.insert(0, ast.Expr(ast.Constant("Says something else.")))
    file.write_text(ast.unparse(ast.fix_missing_locations(described)))
    assert code_sha256(tmp_path) == before
    changed = ast.parse(text)
    _functions(changed)[place].body.append(ast.Return(ast.Constant(None)))
    file.write_text(ast.unparse(ast.fix_missing_locations(changed)))
    assert code_sha256(tmp_path) != before


def test_the_toolbox_is_what_counts_as_shared() -> None:
    assert shared_code() == code_sha256(TOOLBOX)
    hashed = {file.relative_to(TOOLBOX).as_posix() for file in own_files(TOOLBOX)}
    assert {name for name, _ in functions()} <= hashed


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 0.1", "x = 0.10000000000000002"),
        ("x = 0.0", "x = -0.0"),
        ("x = 'a'", "x = b'a'"),
        ("def f(a, b=1): ...", "def f(a, *, b=1): ..."),
        ("def f(): return 1", "async def f(): return 1"),
        ("x = y + 1", "x = y - 1"),
        ("x: int = 1", "x: float = 1"),
        ("class A: pass", "class B: pass"),
        ("import a.b", "import a.c"),
    ],
)
def test_what_code_does_counts(one: str, other: str, tmp_path: Path) -> None:
    file, found = tmp_path / "one.py", []
    for text in (one, other):
        file.write_text(text)
        found.append(code_sha256(file))
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x  =  1  # one"),
        ("x = 1", "x = 1\r\n"),
        ("x = 'a'", 'x = "a"'),
        ("def f():\n    return 1", 'def f():\n    """Return one."""\n    return 1'),
        ("x = 1", 'x = 1\n"""Explains x."""'),
        ('class A:\n    """Old."""\n    x = 1', 'class A:\n    """New."""\n    x = 1'),
        ("x = (1)", "x = 1"),
    ],
)
def test_how_code_is_written_does_not_count(one: str, other: str, tmp_path: Path) -> None:
    file, found = tmp_path / "one.py", []
    for text in (one, other):
        file.write_bytes(text.encode())
        found.append(code_sha256(file))
    assert found[0] == found[1]
