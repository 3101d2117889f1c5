"""Commands that splitsec prints for plug-ins run: for installed ones, files and built-in ones."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from splitsec.cells.plugin_requests import parse_plugins
from splitsec.cli import run
from splitsec.cli.exit_codes import Exit
from splitsec.leaderboard.web.publication import command as again
from splitsec.plugins.names import KINDS, Kind
from splitsec.records.record import Record
from splitsec.records.store import load_records
from support.cells import COUNTS
from support.installed import install_new

SETTINGS = [f"--set={one}" for one in COUNTS]
WAYS = ("installed", "file", "folder", "built in")
BUILT_IN = {
    "attack": "adra:epochs=1,queries=20",
    "defense": "gaussian-noise",
    "target": "resnet:depth=18",
    "data": "phantom-fundus",
}


@pytest.fixture(params=WAYS)
def named(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[Kind, str]:
    """Return a plug-in's name or path of each kind, with the working folder where they are."""
    monkeypatch.chdir(tmp_path)
    if request.param == "built in":
        return {kind: BUILT_IN[kind] for kind in KINDS}
    if request.param == "installed":
        site = tmp_path / "site"
        for kind in KINDS:
            install_new(kind, f"my-{kind}", site)
        monkeypatch.syspath_prepend(site)
        monkeypatch.setenv("PYTHONPATH", str(site))
        return {kind: f"splitsec-my-{kind}/my-{kind}" for kind in KINDS}
    for kind in KINDS:
        assert run(["new", kind, f"my-{kind}"]) == Exit.OK
    if request.param == "file":
        return {kind: f"./my_{kind}.py" for kind in KINDS}
    for kind in KINDS:
        folder = Path("the plug-ins, tried") / kind / f"my_{kind}"
        folder.mkdir(parents=True)
        shutil.move(f"my_{kind}.py", folder / "__init__.py")
    return {
        kind: str((Path("the plug-ins, tried") / kind / f"my_{kind}").absolute()) for kind in KINDS
    }


def ran(named: dict[Kind, str], capsys: pytest.CaptureFixture[str], *words: str) -> Record:
    """Run a tiny cell of these plug-ins and return its record."""
    options = [f"--{kind}={name}" for kind, name in named.items()]
    capsys.readouterr()
    code = run(["eval", *options, "--size=16", "--threads=1", *SETTINGS, *words, "--json"])
    said = capsys.readouterr()
    assert code == Exit.OK, said.err
    return Record.model_validate_json(said.out)


@pytest.mark.slow
def test_the_commands_of_a_submission_run_in_its_folder(
    named: dict[Kind, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ran(named, capsys)
    assert run(["submit", "results", "--output", "submission"]) == Exit.OK
    monkeypatch.chdir("submission")
    text = Path("SUBMISSION.md").read_text(encoding="utf-8")
    evals = re.findall(r"^splitsec (eval .*)$", text, re.MULTILINE)
    checks = re.findall(r"`splitsec (check [^`]*)`", text)
    assert len(evals) == 1
    assert len(checks) == (0 if "fundus" in record.spec.data else len(KINDS))
    assert run(["verify", "."]) == Exit.OK
    assert run(shlex.split(evals[0])) == Exit.OK
    (made,) = load_records([Path("results")])
    assert made.status == "ok"
    renamed = "/" in record.spec.attack  # a path is another name, which the draws depend on
    assert renamed == ("draws other random numbers" in text)
    assert renamed or made.leakage == record.leakage
    assert made.spec.parameters == record.spec.parameters
    for words in checks:
        assert run([*shlex.split(words), "--only", "documented"]) == Exit.OK, words


@pytest.mark.slow
def test_a_published_command_and_settings_by_name_ask_for_the_same_cell(
    named: dict[Kind, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {kind: f"my-{kind}" for kind in KINDS}
    if named["attack"] == BUILT_IN["attack"]:
        short = {kind: name.partition(":")[0] for kind, name in named.items()}
    parameter = {"attack": "ridge=0.01", "target": "width=4"}
    if named["attack"] == BUILT_IN["attack"]:
        parameter = {"attack": "batch_size=8", "defense": "sigma=0.2"}
    words = [f"--set={kind}.{short[kind]}.{text}" for kind, text in parameter.items()]
    record = ran(named, capsys, *words, "--output", "first")
    for kind, text in parameter.items():
        name, _, value = text.partition("=")
        assert record.spec.parameters[kind][name] == json.loads(value)
    asked = again(record)
    for kind, spec in named.items():  # a published path is relative to whoever reads it
        if spec.startswith("/"):
            assert f"./my_{kind}" in asked
            shutil.copytree(spec, f"my_{kind}")
    assert run([*asked[1:], "--output", "again"]) == Exit.OK
    (made,) = load_records([Path("again")])
    assert made.spec == record.spec
    assert made.cell_id == record.cell_id


def test_installed_plugins_of_one_name_are_told_apart() -> None:
    from splitsec.cells.plugin_requests import PluginRequest, is_named

    one = PluginRequest("one/probe", {})
    assert is_named(one, "one/probe")
    assert is_named(one, "probe")
    assert not is_named(one, "two/probe")
    assert not is_named(PluginRequest("probe", {}), "two/probe")


def test_a_submitted_source_never_has_the_name_of_a_built_in_one_or_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        install_new("defense", f"noise-{name}", site)
        (site / name).mkdir()
        (site / f"splitsec_noise_{name}").rename(site / name / "dcor")
        points = next(site.glob(f"splitsec_noise_{name}-*.dist-info")) / "entry_points.txt"
        points.write_text(points.read_text().replace(f"splitsec_noise_{name}", f"{name}.dcor"))
    monkeypatch.syspath_prepend(site)
    names = [f"splitsec-noise-{name}/noise-{name}" for name in ("one", "two")]
    # Another process would not have this search path.
    words = ["eval", "--attack=none", "--no-isolate", "--target=resnet:depth=18"]
    words += [f"--defense={','.join(names)}"]
    assert run([*words, "--size=16", "--threads=1", *SETTINGS]) == Exit.OK
    assert run(["submit", "results", "--output", "submission"]) == Exit.OK
    files = sorted(one.as_posix() for one in Path("submission/plugins").rglob("*.py"))
    assert [Path(one).parent.name for one in files] == [
        name.replace("-", "_").replace("/", "_") for name in names
    ]
    monkeypatch.chdir("submission")
    assert run(["verify", ".", "--dry-run"]) == Exit.OK
    assert "not run" in capsys.readouterr().out


def test_a_source_that_works_only_where_it_is_installed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    monkeypatch.chdir(tmp_path)
    install_new("defense", "my-noise", site)
    package = site / "splitsec_my_noise"
    text = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text('"""Noise."""\n')
    (package / "levels.py").write_text("LEVELS = 4\n")
    (package / "noise.py").write_text(
        text.replace("import torch\n", "import torch\n\nfrom .levels import LEVELS\n", 1)
    )
    points = next(site.glob("*.dist-info")) / "entry_points.txt"
    points.write_text(points.read_text().replace("noise:", "noise.noise:"))
    monkeypatch.syspath_prepend(site)
    # Another process would not have this search path.
    words = ["--attack=none", "--no-isolate", "--target=resnet:depth=18"]
    words += ["--defense=splitsec-my-noise/my-noise"]
    assert run(["eval", *words, "--size=16", "--threads=1", *SETTINGS]) == Exit.OK
    assert run(["submit", "results", "--output", "submission"]) == Exit.USAGE
    assert "works only where its package is installed" in capsys.readouterr().err
    assert not Path("submission").exists()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("./a,b.py", [("./a,b.py", {})]),
        ("./a,b.py:Mine", [("./a,b.py:Mine", {})]),
        ("./a,b.py:Mine:x=1,y=2,adra", [("./a,b.py:Mine", {"x": "1", "y": "2"}), ("adra", {})]),
        ("none,./a,b.py:x=1,./c=d.py", [("none", {}), ("./a,b.py", {"x": "1"}), ("./c=d.py", {})]),
        ("./c=d.py:x=1", [("./c=d.py", {"x": "1"})]),
        (
            "folder:path=./s,cans,csv=./l,a,b.csv",
            [("folder", {"path": "./s,cans", "csv": "./l,a,b.csv"})],
        ),
        ("./missing,b.py", [("./missing", {}), ("b.py", {})]),
        (
            "fsha:iterations=5,lr=1e-3,adra",
            [("fsha", {"iterations": "5", "lr": "1e-3"}), ("adra", {})],
        ),
    ],
)
def test_commas_and_equals_signs_in_paths_that_are_there(
    text: str,
    pieces: list[tuple[str, dict[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.py", "c=d.py", "l,a,b.csv"):
        Path(name).touch()
    Path("s,cans").mkdir()
    assert [tuple(one) for one in parse_plugins(text)] == pieces
