"""Plug-ins are found by name, path, class and entry point, and listed without being imported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from splitsec.cells.plugin_requests import parse_plugins, parse_settings
from splitsec.errors import PluginError, UsageError
from splitsec.plugins.installed import installed_plugins
from splitsec.plugins.loading import kinds_of, list_plugins, load_plugin
from splitsec.plugins.names import KINDS, plain_name
from splitsec.plugins.packing import pack_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.plugins.source_code import source_sha256

DEFENSE = '''
"""A defense for a test."""
from splitsec import Defense, Parameters

class First(Defense):
    """Does nothing."""
'''
BUILT_IN = [(kind, listed.name) for kind in KINDS for listed in list_plugins(kind)]


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_every_built_in_plugin_loads(kind: str, name: str) -> None:
    plugin = load_plugin(kind, name)  # type: ignore[arg-type]
    assert plugin.name == name
    build_parameters(name, plugin.cls.Parameters, {})


def test_the_built_in_plugins_are_those_documented() -> None:
    names = {(kind, name) for kind, name in BUILT_IN}
    assert {
        ("attack", "fsha"),
        ("defense", "none"),
        ("defense", "dcor"),
        ("target", "resnet"),
        ("target", "fsha-client"),
    } <= names


def test_a_file_a_folder_and_a_class_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "my_defense.py"
    file.write_text(DEFENSE)
    assert load_plugin("defense", str(file)).name == "my-defense"
    folder = tmp_path / "packaged"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .inner import First\n")
    (folder / "inner.py").write_text(DEFENSE)
    assert load_plugin("defense", str(folder)).cls.__name__ == "First"
    two = tmp_path / "two.py"
    two.write_text(DEFENSE + "\nclass Second(First):\n    pass\n")
    with pytest.raises(PluginError, match=r"several defenses \(First, Second\).*:Class"):
        load_plugin("defense", str(two))
    assert load_plugin("defense", f"{two}:Second").cls.__name__ == "Second"
    with pytest.raises(PluginError, match="did you mean 'Second'"):
        load_plugin("defense", f"{two}:Secnd")


@pytest.mark.parametrize("spec", ["two.py:Second", "packaged", "packaged:First", "packaged/"])
def test_a_plugin_that_travelled_is_the_same(spec: str, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_bytes(
        (DEFENSE + "\n\nclass Second(First):\n    pass\n").replace("\n", "\r\n").encode()
    )
    (tmp_path / "packaged" / "deeper").mkdir(parents=True)
    (tmp_path / "packaged" / "__init__.py").write_text("from .deeper.inner import First\n")
    (tmp_path / "packaged" / "deeper" / "inner.py").write_text(DEFENSE)
    here = load_plugin("defense", f"{tmp_path}/{spec}")
    there = load_plugin("defense", pack_plugin(here).unpack(tmp_path / "elsewhere"))
    assert (there.name, there.cls.__name__) == (here.name, here.cls.__name__)
    assert there.sha256 == here.sha256
    assert Path(there.source).is_relative_to(tmp_path / "elsewhere")


def test_links_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    folder = here / "mine"
    folder.mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "__init__.py").write_text(DEFENSE)
    (folder / "__init__.py").write_text(DEFENSE)
    (here / "link.py").symlink_to("mine/__init__.py")
    (here / "same").symlink_to("mine")
    for inside in ("mine", "link.py", "same"):
        loaded = load_plugin("defense", str(here / inside))
        assert (loaded.cls.__name__, Path(loaded.source)) == ("First", here / inside)
    (here / "zero.py").symlink_to("/dev/zero")
    (here / "root").symlink_to("/")
    (here / "other").symlink_to(elsewhere)
    for outside in ("zero.py", "root", "other"):
        with pytest.raises(PluginError, match=f"{outside} is a link to somewhere else"):
            load_plugin("defense", str(here / outside))
    (folder / "more.py").symlink_to(elsewhere / "__init__.py")
    with pytest.raises(PluginError, match=r"more\.py is a link to somewhere else"):
        kinds_of(str(folder))
    (folder / "more.py").unlink()
    (folder / "more.py").symlink_to("nothing")
    with pytest.raises(PluginError, match=r"more\.py is no file that can be read"):
        kinds_of(str(folder))


def test_files_that_are_huge_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    with file.open("wb") as opened:
        opened.truncate((64 << 20) + 1)
    with pytest.raises(PluginError, match=r"mine\.py is larger than 67,108,864 bytes"):
        kinds_of(str(file))


def test_a_plugin_with_a_name_travels_by_name(tmp_path: Path) -> None:
    packed = pack_plugin(load_plugin("defense", "dcor"))
    assert packed == ("dcor", {})
    assert packed.unpack(tmp_path) == "dcor"


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(DEFENSE)
    monkeypatch.chdir(tmp_path)
    assert load_plugin("defense", "./mine.py").name == "mine"
    assert load_plugin("defense", "mine.py:First").name == "mine"


def test_an_edited_file_is_loaded_anew(tmp_path: Path) -> None:
    file = tmp_path / "edited.py"
    file.write_text(DEFENSE)
    before = load_plugin("defense", str(file))
    file.write_text(DEFENSE + "    randomised = True\n")
    after = load_plugin("defense", str(file))
    assert not before.cls.randomised
    assert after.cls.randomised
    assert before.sha256 != after.sha256


def test_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_defense.py").write_text(DEFENSE)
    information = tmp_path / "outside-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[splitsec.defenses]\nquiet = outside_defense:First\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert metadata.version("outside") == "1.0"
    assert "outside/quiet" in {listed.name for listed in list_plugins("defense")}
    assert load_plugin("defense", "outside/quiet").cls.__name__ == "First"


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ("x = 1\n", PluginError, "defines no subclass of splitsec.plugins.defense.Defense"),
        ("def broken(:\n", PluginError, "cannot be loaded: SyntaxError"),
        ("raise ValueError('at import')\n", PluginError, "cannot be loaded: ValueError: at import"),
    ],
)
def test_broken_files(tmp_path: Path, source: str, error: type[Exception], says: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(source)
    with pytest.raises(error, match=says):
        load_plugin("defense", str(file))


def test_an_abstract_attack_names_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "half.py"
    file.write_text("from splitsec import Attack\nclass Half(Attack):\n    pass\n")
    with pytest.raises(PluginError, match="does not define reconstruct, threat_model"):
        load_plugin("attack", str(file))


@pytest.mark.parametrize(
    ("kind", "spec", "says"),
    [
        ("attack", "fhsa", r"unknown attack 'fhsa'; did you mean 'fsha'\?.*splitsec list attacks"),
        ("defense", "./missing.py", "there is no"),
        ("target", "zzz", "known: fsha-client, recorded, resnet, torchvision"),
    ],
)
def test_unknown_names(kind: str, spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_plugin(kind, spec)  # type: ignore[arg-type]


def test_a_file_or_project_that_was_meant_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(DEFENSE)
    with pytest.raises(UsageError, match=r"for the file here, write \./mine.py"):
        load_plugin("defense", "mine")
    with pytest.raises(UsageError, match=r"unknown plug-in 'mine'.*write \./mine.py"):
        kinds_of("mine")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text("")
    with pytest.raises(UsageError, match=r"for the folder here, write \./project"):
        load_plugin("defense", "project")
    with pytest.raises(PluginError, match="is a project, not a plug-in; pip install it"):
        load_plugin("defense", "./project")
    (tmp_path / "scans").mkdir()
    with pytest.raises(PluginError, match=r"for your own images write folder:path=.*scans"):
        load_plugin("data", "./scans")
    with pytest.raises(UsageError, match=r"a parameter goes by its name, as in dropout:NAME=0\.2"):
        load_plugin("defense", "dropout:0.2")


def test_the_kinds_of_a_name_or_file(tmp_path: Path) -> None:
    assert kinds_of("none") == ["attack", "defense"]
    assert kinds_of("phantom-cxr") == ["data"]
    file = tmp_path / "mine.py"
    file.write_text(DEFENSE)
    assert kinds_of(str(file)) == kinds_of(f"{file}:First") == ["defense"]
    with pytest.raises(PluginError, match="defines no plug-in class Second"):
        kinds_of(f"{file}:Second")
    file.write_text("x = 1\n")
    with pytest.raises(PluginError, match="no subclass of Attack, Defense, Target, Source"):
        kinds_of(str(file))


def test_unknown_and_ill_typed_parameters() -> None:
    cls = load_plugin("defense", "dcor").cls.Parameters
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        build_parameters("defense 'dcor'", cls, {"alpah": 0.1})
    with pytest.raises(UsageError, match=r"'alpha' of defense 'dcor'.*got 'much'"):
        build_parameters("defense 'dcor'", cls, {"alpha": "much"})
    with pytest.raises(UsageError, match="less than or equal to 1"):
        build_parameters("defense 'dcor'", cls, {"alpha": 2})


def test_text_of_the_command_line_becomes_numbers_and_null() -> None:
    resnet = load_plugin("target", "resnet").cls.Parameters
    assert build_parameters("target 'resnet'", resnet, {"depth": "18"}).depth == 18
    with pytest.raises(UsageError, match=r"18, 34 or 50 \(got '19'\)"):
        build_parameters("target 'resnet'", resnet, {"depth": "19"})
    fsha = load_plugin("attack", "fsha").cls.Parameters
    given = {"client_lr": "null", "iterations": "7", "mirror": "no", "critic_lr": "1e-3"}
    built = build_parameters("attack 'fsha'", fsha, given)
    assert (built.client_lr, built.iterations, built.mirror, built.critic_lr) == (
        None,
        7,
        False,
        1e-3,
    )


def test_listing_imports_neither_torch_nor_plugins() -> None:
    code = (
        "import sys; from splitsec.plugins.loading import list_plugins, KINDS\n"
        "found = [list_plugins(kind) for kind in KINDS]\n"
        "assert all(found)\n"
        "bad = [m for m in sys.modules if m == 'torch' or m.startswith('splitsec.attacks.')]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("folder", ["attacks", "defenses", "targets", "leaderboard"])
def test_the_outer_folders_are_imported_by_their_full_name_only(folder: str) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"import splitsec.{folder}, not {folder}" in done.stderr


def test_requests_and_settings() -> None:
    first, second, third = parse_plugins("fsha:iterations=5,critic_lr=1e-3,adra,./x.py:Mine:a=1")
    assert first == ("fsha", {"iterations": "5", "critic_lr": "1e-3"})
    assert second == ("adra", {})
    assert third == ("./x.py:Mine", {"a": "1"})
    with pytest.raises(UsageError, match="starts with a parameter"):
        parse_plugins("alpha=1")
    with pytest.raises(UsageError, match="empty name"):
        parse_plugins(" , ")
    parsed = parse_settings(("attack.fsha.iterations=5", "training.epochs=2", "counts.public=0"))
    assert parsed.plugins["attack"]["fsha"] == {"iterations": "5"}
    assert parsed.training == {"epochs": "2"}
    assert parsed.counts == {"public": "0"}
    with pytest.raises(UsageError, match="did you mean 'private'"):
        parse_settings(("counts.privat=5",))
    with pytest.raises(UsageError, match="not of the form"):
        parse_settings(("iterations=5",))
    with pytest.raises(UsageError, match="did you mean 'attack'"):
        parse_settings(("atack.fsha.iterations=5",))


def test_plain_names() -> None:
    assert plain_name("./some/my_attack.py:Mine") == "my-attack"
    assert plain_name("dist/name") == "dist/name"


def test_source_hash_ignores_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = 1\n")
    (tmp_path / "b.py").write_bytes(b"x = 1\r\n")
    assert source_sha256(tmp_path / "a.py") == source_sha256(tmp_path / "b.py")


def test_metadata_are_read_again_only_when_packages_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    entry_points = metadata.entry_points

    def counted(*, group: str) -> metadata.EntryPoints:
        reads.append(group)
        return entry_points(group=group)

    monkeypatch.setattr(metadata, "entry_points", counted)
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in range(3):
        assert "probe/one" not in installed_plugins("splitsec.attacks")
    assert reads == ["splitsec.attacks"]
    info = tmp_path / "probe-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[splitsec.attacks]\none = probe:One\n")
    assert installed_plugins("splitsec.attacks")["probe/one"].value == "probe:One"
    shutil.rmtree(info)
    assert "probe/one" not in installed_plugins("splitsec.attacks")
