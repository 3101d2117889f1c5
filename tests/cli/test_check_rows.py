"""`splitsec check` shows each check when it is done, and tries targets on what they take."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from splitsec.cli.check_rows import Rows, brief, is_brief
from splitsec.running.contract.report import CheckResult
from splitsec.running.contract.runner import check_plugin

WAITS = '''"""Waits until it is told to go on."""
import time
from pathlib import Path
from splitsec import Defense

class Waits(Defense):
    """Sends what it is given, once the file "go" is young."""

    def release(self, images, smashed):
        for _ in range(600):
            if Path({go!r}).stat().st_mtime:
                return smashed
            time.sleep(0.1)
        raise TimeoutError("nobody saw the row that was done")
'''


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--json"], ["--sandbox"]], ids=str)
def test_a_row_is_there_before_the_next_check_is_done(
    words: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if words == ["--sandbox"]:
        request.getfixturevalue("bubblewrap")
    folder = tmp_path / "waits"
    folder.mkdir()
    (folder / "__init__.py").write_text(WAITS.format(go=str(folder / "go")))
    (folder / "go").touch()
    os.utime(folder / "go", (0, 0))  # a new file would not be seen in the sandbox
    only = ["--only=documented", "--only=hooks"]
    command = [sys.executable, "-m", "splitsec", "check", str(folder), *only, *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as checking:
        assert checking.stdout is not None
        assert checking.stderr is not None
        heard = checking.stderr if words else checking.stdout
        seen = [heard.readline()]
        while "documented" not in seen[-1]:
            assert seen[-1], seen
            seen.append(heard.readline())
        assert not any("hooks" in line and "ok" in line for line in seen)
        os.utime(folder / "go")
        rest = checking.communicate()
    assert checking.returncode == 0, rest
    if words != ["--sandbox"]:
        notes = "".join([*seen, *rest]) if words else rest[1]
        assert "defense 'waits': 2 checks, about" in notes


def result(check: str, seconds: float) -> CheckResult:
    return CheckResult(check=check, verdict="ok", sentence="fine", seconds=seconds)


def test_the_time_left_follows_the_checks_that_are_done(capsys: pytest.CaptureFixture[str]) -> None:
    with Rows(None, Console(file=sys.stdout), "mine") as rows:
        rows.planned("attack 'mine'", {"one": 10.0, "two": 20.0, "three": 30.0})
        rows.begun("one")
        rows.ended(result("one", 40.0))
        rows.begun("two")
        rows.ended(result("two", 20.0))
        rows.begun("three")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("attack 'mine': 3 checks, about 1 min 00 s on two cores")
    assert "begins: two, about 3 min 20 s left" in lines
    assert "begins: three, about 1 min 00 s left" in lines


def test_only_lines_of_checks_are_passed_on_from_the_sandbox() -> None:
    assert is_brief(brief(result("vit, cut 1: tokens, not maps", 12.3)))
    for line in ("::error::ok  x (1.0 s)", "ok  \x1b[2J (1.0 s)", "ok x", "error: no"):
        assert not is_brief(line)


NET = '''"""A small net."""
from torch import nn
from splitsec import NotApplicable, Parameters, Target


class Net(Target[Parameters]):
    """A net."""

    cuts, default_cut = range(4), 1
    {states}

    def preprocessing(self, image):
        return nn.Identity()

    def layers(self, image, outputs):
        {refuses}
        c = {channels}
        encoder = [nn.Conv2d(c, 8, 3, stride=2, padding=1), nn.ReLU()]
        return [*encoder, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs)]
'''


@pytest.mark.parametrize(
    ("changes", "verdict", "says"),
    [
        ({"states": "channels = (3,)"}, "ok", "colour"),
        pytest.param({"states": "channels = (1,)"}, "ok", "grey", marks=pytest.mark.slow),
        ({"states": "def sizes(self): return range(32, 33)"}, "ok", "32 to 32 px"),
        pytest.param(
            {"states": "def sizes(self): return range(64, 1025, 64)"},
            "ok",
            "64 to 64 px",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"channels": "3"}, "warning", "state it with channels = (3,)", marks=pytest.mark.slow
        ),
        pytest.param(
            {"channels": "1"}, "warning", "state it with channels = (1,)", marks=pytest.mark.slow
        ),
        pytest.param(
            {"refuses": "if image.channels == 1: raise NotApplicable('colour alone')"},
            "ok",
            "4 refused: colour alone",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"refuses": "if image.height < 40: raise NotApplicable('it is too small')"},
            "ok",
            "8 refused: it is too small",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"refuses": "if image.channels == 3: raise ValueError('colour')"},
            "warning",
            "state it with channels = (1,)",
            marks=pytest.mark.slow,
        ),
        ({"refuses": "raise NotApplicable('no')"}, "failed", "which works at no size: no"),
        ({"refuses": "raise ValueError('no')"}, "failed", "raised ValueError"),
        ({"channels": "5"}, "failed", "raised RuntimeError"),
    ],
)
def test_a_target_is_checked_on_images_that_it_takes(
    changes: dict[str, str], verdict: str, says: str, tmp_path: Path
) -> None:
    usual = {"states": "", "refuses": "", "channels": "image.channels"}
    (tmp_path / "net.py").write_text(NET.format(**{**usual, **changes}))
    report = check_plugin(tmp_path / "net.py", "target")
    found = {one.check: one for one in report.findings}
    assert (found["splits"].verdict, says in found["splits"].sentence) == (verdict, True)
    assert report.ok == (verdict != "failed"), str(report)
    if verdict != "failed":
        ran = ("same mathematics", "every weight learns", "works", "repeats itself", "cost")
        assert {found[name].verdict for name in ran} <= {"ok", "warning"}, str(report)


DEFENSE = '''"""Only maps."""
from splitsec import Defense
from splitsec.shapes import require_map

class Maps(Defense):
    """Sends maps as they are."""

    def begin(self, image, smashed, generator):
        {needs}
        super().begin(image, smashed, generator)
'''


@pytest.mark.parametrize(
    ("needs", "verdict", "says"),
    [
        ("require_map(smashed, 'defense maps')", "ok", "it does not apply to 17x8, 12: "),
        ("require_map(None, 'no')", "failed", ""),
    ],
)
def test_a_defense_is_checked_on_the_smashed_data_that_it_takes(
    needs: str, verdict: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "maps.py").write_text(DEFENSE.format(needs=needs))
    report = check_plugin(tmp_path / "maps.py", "defense", only=("hooks", "equal seeds"))
    hooks = report.findings[1]
    assert (hooks.verdict, says in hooks.sentence) == (verdict, True), str(report)
