"""Real plug-ins: an installed package, a file and a folder, evaluated from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

from splitsec.cli import Exit, run

SMALL = [
    word
    for setting in (
        "training.epochs=1",
        "counts.private=16",
        "counts.public=16",
        "counts.validation=8",
        "counts.held_out=8",
        "counts.victims=8",
        "target.resnet.depth=18",
    )
    for word in ("--set", setting)
]
EVAL = ["eval", "--size", "16", "--threads", "1", *SMALL, "--json"]

FOLDER = {
    "__init__.py": '"""A defense of several modules."""\n\nfrom .rounding import Rounding\n'
    '\n__all__ = ["Rounding"]\n',
    "rounding.py": "from splitsec import Defense\n\nfrom .deeper.levels import levels\n\n\n"
    "class Rounding(Defense):\n    def release(self, images, smashed):\n"
    "        sent = smashed.detach()\n        return smashed + levels(sent) - sent\n",
    "deeper/__init__.py": "",
    "deeper/levels.py": "def levels(values):\n    return (4 * values).round() / 4\n",
}


def call(*words: str | Path, **options: Any) -> str:
    """Run a program and return what it says; an error shows all that it said."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python_beside_splitsec(folder: Path) -> Path:
    """Return the Python of a new environment that sees this one's packages, splitsec among them."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(
        call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    # addsitedir, not a plain path: it also follows the .pth file of an editable install.
    here = sysconfig.get_path("purelib")
    (site / "beside.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return python


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="an environment's folders are called otherwise")
def test_a_wheel_beside_splitsec_is_evaluated_by_name(tmp_path: Path) -> None:
    assert run(["new", "attack", "probe", "--package", "--output", str(tmp_path)]) == Exit.OK
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = {**os.environ, "PIP_NO_INDEX": "1"}
    wheels = tmp_path / "wheels"
    call(
        *pip,
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--wheel-dir",
        wheels,
        tmp_path / "splitsec-probe",
        env=offline,
    )
    (wheel,) = wheels.glob("splitsec_probe-*.whl")
    python = python_beside_splitsec(tmp_path / "environment")
    call(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, env=offline)
    splitsec = [python, "-m", "splitsec"]
    listed = call(*splitsec, "list", "attacks", cwd=tmp_path)
    assert "splitsec-probe/probe" in listed
    said = call(
        *splitsec,
        *EVAL,
        "--attack",
        "splitsec-probe/probe",
        "--cut",
        "1",
        "--output",
        tmp_path / "results",
        cwd=tmp_path,
    )
    record = json.loads(said)
    assert (record["status"], record["spec"]["attack"]) == ("ok", "splitsec-probe/probe")
    assert record["provenance"]["plugins"]["attack"]["spec"] == "splitsec-probe/probe"
    report = json.loads(
        call(
            *splitsec,
            "check",
            "splitsec-probe/probe",
            "--only",
            "documented",
            "--json",
            cwd=tmp_path,
        )
    )
    assert (report["ok"], report["kind"]) == (True, "attack")


@pytest.mark.slow
def test_a_file_and_a_folder_of_several_modules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["new", "attack", "probe", "--output", str(tmp_path)]) == Exit.OK
    folder = tmp_path / "rounding"
    for name, text in FOLDER.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    capsys.readouterr()
    words = ["--attack", str(tmp_path / "probe.py"), "--defense", f"none,{folder}", "--cut", "1"]
    assert run([*EVAL, *words, "--output", str(tmp_path / "results")]) == Exit.OK
    bare, rounded = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (bare["spec"]["attack"], bare["spec"]["defense"]) == ("probe", "none")
    assert rounded["spec"]["defense"] == "rounding"
    assert rounded["leakage"] != bare["leakage"]
    sources = [one["provenance"]["plugins"]["defense"]["sha256"] for one in (bare, rounded)]
    assert len(set(sources)) == 2
