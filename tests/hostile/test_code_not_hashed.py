"""Plug-ins that would run code, or read values, that no hash covers."""

from __future__ import annotations

import importlib
import py_compile
import sys
import zipfile
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from splitsec.errors import PluginError
from splitsec.isolation.plugin_paths import unchanged_files
from splitsec.plugins import reading
from splitsec.plugins.importing import source_of
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.plugins.source_code import code_sha256, source_sha256

DEFENSE = """
from splitsec import Defense, InputPath, Parameters
{code}
class Mine(Defense[Parameters]):
    value = VALUE
"""


def folder(tmp_path: Path, code: str, **files: str) -> Path:
    made = tmp_path / "mine"
    made.mkdir(exist_ok=True)
    (made / "__init__.py").write_text(DEFENSE.format(code=code))
    for name, text in files.items():
        (made / f"{name}.py").write_text(text)
    return made


def value(source: Path) -> str:
    found: str = load_plugin("defense", str(source)).cls.value
    return found


def poison(target: Path, tmp_path: Path, text: str = "VALUE = 'poison'\n") -> None:
    """Write bytecode that Python takes without looking at any source."""
    other = tmp_path / "poison.txt"
    other.write_text(text)
    target.parent.mkdir(parents=True, exist_ok=True)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(other), str(target), doraise=True, invalidation_mode=unchecked)


def test_bytecode_beside_the_sources_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path, "from .helper import VALUE")
    poison(source / "helper.pyc", tmp_path)
    with pytest.raises(PluginError, match=r"helper\.pyc is compiled code or an archive, which no"):
        load_plugin("defense", str(source))


@pytest.mark.parametrize("name", ["more.so", "deep/more.PYD", "more.zip", "more.egg", "more.pth"])
def test_what_is_no_source_is_refused_in_any_folder(tmp_path: Path, name: str) -> None:
    source = folder(tmp_path, "VALUE = 1")
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).touch()
    with pytest.raises(PluginError, match="a plug-in's code is Python source"):
        source_sha256(source)


@pytest.mark.parametrize("suffix", [".pyc", ".so", ".pyw"])
def test_a_single_file_is_source(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"mine{suffix}").touch()
    with pytest.raises(PluginError, match="is not Python source"):
        load_plugin("defense", str(tmp_path / f"mine{suffix}"))


SELF = "import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\n"


@pytest.mark.parametrize(
    "code", ["from .helper import VALUE", f"{SELF}from helper import VALUE"], ids=["own", "path"]
)
def test_pycache_is_never_read(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    source = folder(tmp_path, code, helper="VALUE = 'source'\n")
    poison(Path(cache_from_source(str(source / "helper.py"))), tmp_path)
    poison(Path(cache_from_source(str(source / "__init__.py"))), tmp_path)
    assert value(source) == "source"
    sys.modules.pop("helper", None)


def test_pycache_of_a_built_in_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the finder the poison runs, so that this test could fail."""
    name = "splitsec.defenses.none"
    file = source_of(name).path
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "prefix"))
    poison(Path(cache_from_source(str(file))), tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    assert not hasattr(importlib.import_module(name), "VALUE")
    monkeypatch.delitem(sys.modules, name)
    with monkeypatch.context() as without:
        without.setattr(sys, "meta_path", [one for one in sys.meta_path if _is_pythons(one)])
        assert importlib.import_module(name).VALUE == "poison"


def _is_pythons(finder: object) -> bool:
    return type(finder).__module__ != "splitsec.plugins.importing"


def test_what_is_hashed_is_what_was_imported(tmp_path: Path) -> None:
    source = folder(tmp_path, "VALUE = 1")
    before = source_sha256(source)
    folder(tmp_path, "VALUE = 2")
    with pytest.raises(PluginError, match="the source of defense 'mine' has been changed since"):
        load_plugin("defense", str(source), before)
    loaded = load_plugin("defense", str(source))
    folder(tmp_path, "VALUE = 3")
    assert loaded.cls.value == 2
    assert loaded.sha256 not in (before, source_sha256(source))
    with pytest.raises(PluginError, match="has been changed since the run began"):
        unchanged_files([loaded])


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path, "from .other.helper import VALUE")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "helper.py").write_text("VALUE = 1\n")
    (source / "other").symlink_to(tmp_path / "other")
    with pytest.raises(PluginError, match="other is a link to a folder; a plug-in's files are its"):
        load_plugin("defense", str(source))


def _as_namespace(outside: Path) -> str:
    (outside / "space").mkdir()
    (outside / "space" / "helper.py").write_text("VALUE = 1\n")
    return f"import sys\nsys.path.insert(0, {str(outside)!r})\nfrom space.helper import VALUE\n"


def _as_bytecode(outside: Path) -> str:
    poison(outside / "unhashed.pyc", outside)
    return f"import sys\nsys.path.insert(0, {str(outside)!r})\nfrom unhashed import VALUE\n"


def _as_packages(outside: Path) -> str:
    (outside / "site-packages").mkdir()
    (outside / "site-packages" / "installed.py").write_text("VALUE = 1\n")
    place = str(outside / "site-packages")
    return f"import sys\nsys.path.insert(0, {place!r})\nfrom installed import VALUE\n"


def _as_archive(outside: Path) -> str:
    with zipfile.ZipFile(outside / "more.zip", "w") as archive:
        archive.writestr("zipped.py", "VALUE = 1\n")
    return (
        f"import sys\nsys.path.insert(0, {str(outside / 'more.zip')!r})\nfrom zipped import VALUE"
    )


def _as_namespace_of_its_own(outside: Path) -> str:
    (outside / "helper.py").write_text("VALUE = 1\n")
    return f"__path__.append({str(outside)!r})\nfrom .helper import VALUE\n"


def _as_weights(outside: Path) -> str:
    (outside / "weights.json").write_text("1")
    return f"import json\nVALUE = json.load(open({str(outside / 'weights.json')!r}))\n"


def _as_tensors(outside: Path) -> str:
    import torch

    torch.save([1], outside / "weights.pt")
    return f"import torch\nVALUE = torch.load({str(outside / 'weights.pt')!r})\n"


def _as_library(outside: Path) -> str:
    (outside / "more.so").touch()
    return f"import ctypes\nVALUE = ctypes.CDLL({str(outside / 'more.so')!r})\n"


def _as_extension(outside: Path) -> str:
    (outside / f"native{EXTENSION_SUFFIXES[0]}").touch()
    return f"import sys\nsys.path.insert(0, {str(outside)!r})\nfrom native import VALUE\n"


def _as_database(outside: Path) -> str:
    (outside / "more.db").touch()
    return f"import sqlite3\nVALUE = sqlite3.connect({str(outside / 'more.db')!r})\n"


def _as_text(outside: Path) -> str:
    (outside / "code.txt").write_text("VALUE = 1\n")
    return f"exec(open({str(outside / 'code.txt')!r}).read())\n"


def _as_another_module(outside: Path) -> str:
    (outside / "weights.json").write_text("1")
    code = f"VALUE = open({str(outside / 'weights.json')!r}).read()"
    return (
        f"named = {{'__name__': 'splitsec.mine'}}\nexec({code!r}, named)\nVALUE = named['VALUE']\n"
    )


def _as_link(outside: Path) -> str:
    (outside / "weights.json").write_text("1")
    there, here = str(outside / "weights.json"), str(outside / "linked")
    made = f"import os\nopen({here!r}, 'w').close()\nos.remove({here!r})\n"
    return f"{made}os.link({there!r}, {here!r})\nVALUE = open({here!r}).read()\n"


def _as_moved(outside: Path) -> str:
    (outside / "old").mkdir()
    (outside / "old" / "weights.json").write_text("1")
    old, new = str(outside / "old"), str(outside / "new")
    moved = f"import os\nos.mkdir({new!r})\nos.rename({old!r}, {new + '/old'!r})\n"
    return f"{moved}VALUE = open({new + '/old/weights.json'!r}).read()\n"


def _as_a_job_of_another_thread(outside: Path) -> str:
    (outside / "weights.json").write_text("1")
    return (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor() as pool:\n"
        f"    VALUE = pool.submit(open, {str(outside / 'weights.json')!r}).result()\n"
    )


def _as_a_file_below_a_handle(outside: Path) -> str:
    (outside / "weights.json").write_text("1")
    return (
        f"import os\nplace = os.open({str(outside)!r}, os.O_RDONLY)\n"
        "VALUE = os.open('weights.json', os.O_RDONLY, dir_fd=place)\n"
    )


@pytest.mark.parametrize(
    "how",
    [
        _as_a_job_of_another_thread,
        _as_a_file_below_a_handle,
        _as_another_module,
        _as_link,
        _as_moved,
        _as_namespace,
        _as_bytecode,
        _as_packages,
        _as_archive,
        _as_namespace_of_its_own,
        _as_weights,
        _as_tensors,
        _as_library,
        _as_extension,
        _as_database,
        _as_text,
    ],
)
def test_what_is_outside_is_neither_imported_nor_read(
    tmp_path: Path, how: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(reading, "_only_plugins", True)  # as in the process of a guest
    outside = tmp_path / "outside"
    outside.mkdir()
    source = folder(tmp_path, how(outside))
    with pytest.raises(PluginError, match=r"hash does not cover|No module named"):
        load_plugin("defense", str(source))


def test_a_library_that_is_not_installed_is_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PYTHONPATH, as in a checkout, it may be another one tomorrow."""
    library = tmp_path / "checkout" / "some_networks"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("VALUE = 1\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(library.parent)])
    source = folder(tmp_path, "from some_networks import VALUE\n")
    with pytest.raises(
        PluginError, match=r"some_networks.* install the package that it belongs to"
    ):
        load_plugin("defense", str(source))


def test_weights_that_it_saved_are_read(tmp_path: Path) -> None:
    code = """
import tempfile, torch
with tempfile.TemporaryDirectory() as folder:
    torch.save([1, 2], folder + "/best.pt")
    VALUE = torch.load(folder + "/best.pt")
"""
    assert load_plugin("defense", str(folder(tmp_path, code))).cls.value == [1, 2]


def test_a_built_in_is_extended(tmp_path: Path) -> None:
    code = "from splitsec.defenses.gaussian_noise import GaussianNoise as VALUE\n"
    source = folder(tmp_path, code)
    assert load_plugin("defense", str(source)).cls.value.__name__ == "GaussianNoise"


def test_a_hidden_file_is_not_read(tmp_path: Path) -> None:
    source = folder(tmp_path, "VALUE = open(__file__.replace('__init__.py', '.env')).read()")
    (source / ".env").write_text("1")
    with pytest.raises(PluginError, match=r"mine reads .*\.env, which its hash does not cover"):
        load_plugin("defense", str(source))


def test_a_file_in_the_folder_is_read_and_hashed(tmp_path: Path) -> None:
    source = folder(tmp_path, "VALUE = open(__file__.replace('__init__.py', 'w.json')).read()")
    (source / "w.json").write_text("1")
    before = load_plugin("defense", str(source))
    (source / "w.json").write_text("2")
    after = load_plugin("defense", str(source))
    assert (before.cls.value, after.cls.value) == ("1", "2")
    assert before.sha256 != after.sha256
    assert before.code != after.code == code_sha256(source)
    assert {file.name for file in unchanged_files([after])} == {"__init__.py", "w.json"}


def test_what_a_parameter_names_and_what_it_wrote_is_read(tmp_path: Path) -> None:
    code = """
import os, tempfile
class Given(Parameters):
    weights: InputPath = ""
def read(path): return open(path).read()
def write(path): open(path, "w").write("made"); return read(path)
def move(path, other): os.replace(path, other); return read(other)
def clear():
    with tempfile.TemporaryDirectory() as folder:
        write(folder + "/file")
    return os.path.exists(folder)
VALUE = (Given, read, write, move, clear)
"""
    source = folder(tmp_path, code)
    Given, read, write, move, clear = load_plugin("defense", str(source)).cls.value
    (tmp_path / "weights").write_text("trained")
    with pytest.raises(PluginError, match="weights, which its hash does not cover"):
        read(tmp_path / "weights")
    build_parameters("defense 'mine'", Given, {"weights": str(tmp_path / "weights")})
    assert read(tmp_path / "weights") == "trained"
    assert write(source / "cache") == "made"
    assert move(source / "cache", tmp_path / "kept") == "made"
    assert not clear()
