"""`splitsec show` describes plug-ins; `splitsec list` shows the first line of installed ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from splitsec.cli import run
from splitsec.cli.exit_codes import Exit
from splitsec.plugins.loading import list_plugins, load_plugin
from splitsec.plugins.names import KINDS, Kind
from support.installed import install_new

EVERY = [(kind, one.name) for kind in KINDS for one in list_plugins(kind)]


def words(capsys: pytest.CaptureFixture[str], *asked: str) -> str:
    assert run(["show", *asked]) == Exit.OK
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_parameter_has_its_defaults_and_its_meaning(
    kind: Kind, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = words(capsys, kind, name)
    cls = load_plugin(kind, name).cls
    assert said.startswith(f"{kind} {name} ")
    for parameter, field in cls.Parameters.model_fields.items():
        shown = "empty" if field.default in (None, "") else json.dumps(field.default).strip('"')
        assert f" {parameter} = {shown} " in said, said
        assert " ".join(str(field.description).split()) in said
    if not cls.Parameters.model_fields:
        assert "It has none." in said


def test_profiles_and_threat_models_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    said = words(capsys, "attack", "fsha")
    assert "iterations = 600 (profile standard: 4000, profile paper: 10000) [integer" in said
    assert "Active: it takes the server's place." in said
    assert "With the profile paper: Active" in said
    assert "(client_settings)" in said
    assert "--attack fsha:iterations=600 --set attack.fsha.iterations=600" in said
    assert words(capsys, "fsha") == said, "a name alone is enough"
    told = json.loads(words(capsys, "attack", "fsha", "--json"))
    assert told["threat_models"]["paper"]["client_settings"]
    assert told["parameters"][0]["profiles"] == {"standard": "4000", "paper": "10000"}


def test_files_and_folders_are_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in KINDS:
        assert run(["new", kind, f"my-{kind}"]) == Exit.OK
        capsys.readouterr()
        assert f"{kind} my-{kind} My {kind}: " in words(capsys, f"./my_{kind}.py")
    Path("folder").mkdir()
    Path("my_attack.py").rename("folder/__init__.py")
    assert "ridge = 0.001" in words(capsys, "./folder")


def test_an_installed_plugin_is_listed_by_its_docstring_and_not_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    monkeypatch.chdir(tmp_path)
    install_new("defense", "my-noise", site)
    module = site / "splitsec_my_noise" / "__init__.py"
    module.write_text('"""My noise: more of it."""\nraise RuntimeError("it was imported")\n')
    monkeypatch.syspath_prepend(site)
    capsys.readouterr()
    assert run(["list", "defenses"]) == Exit.OK
    assert "splitsec-my-noise/my-noise  My noise: more of it." in capsys.readouterr().out
    module.write_text("x = 1\n")
    assert run(["list", "defenses", "--json"]) == Exit.OK
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (mine,) = [one for one in listed if "/" in one["name"]]
    assert mine["summary"].startswith("installed: splitsec_my_noise")
    assert mine["origin"] == "splitsec-my-noise"
    module.unlink()
    assert run(["list", "defenses"]) == Exit.OK
    assert "(unreadable: there is no module splitsec_my_noise)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["none"], "is of several kinds (attack, defense)"),
        (["attack", "fhsa"], "did you mean 'fsha'?"),
        (["fhsa"], "unknown record or plug-in 'fhsa'; did you mean 'fsha'?"),
        (["atack", "fsha"], "did you mean 'attack'?"),
        (["results/nowhere"], "results/nowhere"),
        ([], "0 words were given"),
        (["attack", "./nowhere.py"], "there is no nowhere.py"),
    ],
)
def test_what_is_wrong_is_named(
    asked: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", *asked]) == Exit.USAGE
    assert says in " ".join(capsys.readouterr().err.split())


def test_help_and_list_do_not_import_torch() -> None:
    program = (
        "import sys\nfrom splitsec.cli import run\n"
        "for words in (['--help'], ['show', '--help'], ['list', 'data'], ['run', '--help']):\n"
        "    run(words)\nassert 'torch' not in sys.modules, 'torch'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_data_set_says_how_it_is_labelled_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    said = words(capsys, "data", "folder")
    assert "Labelled for classification." in said
    assert "For segmentation: folder:path=FOLDER,masks=FOLDER." in said
