"""`splitsec new`: what it writes works as written, and nothing is overwritten."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from splitsec.cli import Exit, run
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.names import KINDS, Kind
from splitsec.plugins.scaffold.writing import plan_scaffold


def new(*words: str) -> int:
    return run(["new", *words])


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_is_a_plugin_with_a_test(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new(kind, "first-try") == Exit.OK
    said = capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} == {"first_try.py", "test_first_try.py"}
    assert "splitsec check ./first_try.py" in said
    assert "./first_try.py" in next(line for line in said.splitlines() if "eval" in line)
    plugin = load_plugin(kind, "./first_try.py")
    assert plugin.name == "first-try"
    assert plugin.cls.__name__.startswith("FirstTry")
    tested = ast.parse((tmp_path / "test_first_try.py").read_text())
    names = [node.name for node in tested.body if isinstance(node, ast.FunctionDef)]
    assert names == ["test_it_keeps_its_contract", "test_it_runs_from_beginning_to_end"]
    for file in tmp_path.iterdir():
        text = file.read_text()
        assert max(map(len, text.splitlines())) <= 100
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


@pytest.mark.slow
def test_what_is_written_passes_its_own_tests(tmp_path: Path) -> None:
    for kind in KINDS:
        assert new(kind, f"first-{kind}", "--output", str(tmp_path)) == Exit.OK
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{2 * len(KINDS)} passed" in done.stdout


def test_a_package_has_all_that_pip_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new("defense", "my_mix", "--package", "--output", str(tmp_path / "deep")) == Exit.OK
    folder = tmp_path / "deep" / "splitsec-my-mix"
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert files == {
        "pyproject.toml",
        "README.md",
        "src/splitsec_my_mix/__init__.py",
        "src/splitsec_my_mix/py.typed",
        "tests/test_my_mix.py",
    }
    project = (folder / "pyproject.toml").read_text()
    assert '[project.entry-points."splitsec.defenses"]' in project
    assert 'my-mix = "splitsec_my_mix:MyMixDefense"' in project
    said = capsys.readouterr().out
    assert f"pip install -e {folder}" in said
    assert "splitsec check splitsec-my-mix/my-mix" in said


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = tmp_path / "test_mine.py"
    test.write_text("precious")
    assert new("attack", "mine", "--output", str(tmp_path)) == Exit.USAGE
    assert "test_mine.py is there already" in capsys.readouterr().err
    assert test.read_text() == "precious"
    assert not (tmp_path / "mine.py").exists()
    assert new("attack", "other", "--output", str(test)) == Exit.USAGE
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("attack", "fsha", "attack 'fsha' is built in"),
        ("data", "retinamnist", "data 'retinamnist' is built in"),
        ("target", "fsha_client", "target 'fsha-client' is built in"),
        ("attack", "MyAttack", "such as 'my-attack'"),
        ("attack", "my_attack.py", "such as 'my-attack'"),
        ("attack", "folder/mine", "such as 'mine' (--output names the folder)"),
        ("attack", "2nd", "such as 'nd'"),
        ("attack", "!", "such as 'my-attack'"),
        ("attack", "attack", "no more than what kind it is"),
        ("defense", "lambda", "would hide what Python calls 'lambda'"),
        ("defense", "random", "would hide what Python calls 'random'"),
        ("defense", "torch", "would hide what Python calls 'torch'"),
    ],
)
def test_names_that_are_refused(
    kind: str, name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new(kind, name, "--output", str(tmp_path)) == Exit.USAGE
    assert says in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_package_may_be_called_like_a_module(tmp_path: Path) -> None:
    scaffold = plan_scaffold("defense", "random", True, tmp_path)
    assert scaffold.spec == "splitsec-random/random"


def test_an_unknown_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert new("atack", "mine") == Exit.USAGE
    assert "'atack' is not one of" in capsys.readouterr().err
