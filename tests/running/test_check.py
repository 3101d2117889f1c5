"""`splitsec check`: the built-in plug-ins pass, and what breaks a contract is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from splitsec.cli import Exit, run
from splitsec.cli.check_in_sandbox import ReportRequest, check_in_sandbox
from splitsec.errors import PluginError, UsageError
from splitsec.isolation import Isolation
from splitsec.plugins.loading import list_plugins
from splitsec.plugins.names import KINDS, Kind
from splitsec.running.contract.report import CheckResult, Report
from splitsec.running.contract.runner import check_plugin
from support.cells import SHORT
from support.recordings import write_random_traffic

# Some attacks run against all ResNets in tests/cells/test_systems.py.
_BUT_RESNET = (
    "documented",
    "fsha-client, cut 2",
    "unet, cut 1, grey images",
    "vit, cut 1: tokens, not maps",
    "threat model",
    "repeats itself",
    "beats a blind guess",
    "leaves no trace",
    "cost",
)

ONLY = {
    "adra": _BUT_RESNET,
    "fsha": _BUT_RESNET,
    # It beats no blind guess elsewhere in so short a time.
    "pseudo-client": ("resnet, cuts 1 and 3", "threat model", "beats a blind guess", "cost"),
    # Its members pass all of them.
    "strongest": ("documented", "fsha-client, cut 2", "threat model"),
    # The authors train 20,000 times; what a check has time for does not beat a blind guess.
    "sdar": (
        "documented",
        "resnet, private labels",
        "fsha-client, cut 2",
        "threat model",
        "repeats itself",
        "leaves no trace",
    ),
}
"""Plug-ins that run some of the checks."""

BUILT_IN = [(kind, listed.name) for kind in KINDS for listed in list_plugins(kind)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_every_built_in_plugin_keeps_its_contract(kind: Kind, name: str, tmp_path: Path) -> None:
    made = {("data", "folder"): scans, ("data", "medmnist"): archive, ("data", "recorded"): traffic}
    known = made.get((kind, name))
    asked = known(tmp_path) if known else SHORT.get(name, name)
    # It sends what was recorded and nothing else, so it encodes no image of a check.
    only = ("documented", "states itself") if (kind, name) == ("target", "recorded") else ()
    report = check_plugin(asked, kind, only=only or ONLY.get(name, ()))
    verdicts = {one.check: one.verdict for one in report.findings}
    failed = {check for check, verdict in verdicts.items() if verdict == "failed"}
    assert not failed, str(report)
    if name in ("phantom-fundus", "phantom-cxr"):
        assert set(verdicts.values()) == {"ok"}, str(report)


def scans(folder: Path) -> str:
    """Write random images of two classes, and return how they are asked for."""
    generator = np.random.default_rng(0)
    lines = ["image,label"]
    for row in range(240):
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{row:03}.png")
        lines.append(f"{row:03}.png,{row % 2}")
    (folder / "labels.csv").write_text("\n".join(lines))
    columns = "image_column=image,label_column=label"
    return f"folder:path={folder},csv={folder / 'labels.csv'},{columns}"


def archive(folder: Path) -> str:
    """Write random images in MedMNIST's layout, and return how they are asked for."""
    generator, held = np.random.default_rng(0), {}
    for split, count in (("train", 120), ("val", 40), ("test", 40)):
        held[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        held[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(folder / "octmnist.npz", allow_pickle=False, **held)
    return f"medmnist:path={folder / 'octmnist.npz'}"


def traffic(folder: Path) -> str:
    """Record random traffic, and return how its images are asked for."""
    return f"recorded:traffic={write_random_traffic(folder, 240)}"


def look(folder: Path, kind: Kind, source: str, *only: str) -> CheckResult:
    """Return what the last of some checks says of a plug-in in a file."""
    file = folder / "under_test.py"
    file.write_text(f'"""A {kind} under test."""\n{HEAD}\n{source}')
    return check_plugin(file, kind, only=only).findings[-1]


HEAD = """
import numpy as np
import torch
from pydantic import Field
from torch import nn
from splitsec import Attack, Defense, NotApplicable, Parameters, Target, ThreatModel
from splitsec.plugins.source import ANY, Availability, Catalogue, Source
"""
DEFENSE = 'class Under(Defense):\n    """Does something."""\n'


@pytest.mark.parametrize(
    ("check", "body", "verdict", "says"),
    [
        (
            "hooks",
            "    def release(self, images, smashed):\n        return smashed.detach()\n",
            "failed",
            "no gradient reaches the client's encoder",
        ),
        (
            "hooks",
            "    def release(self, images, smashed):\n        return smashed[:, :1]\n",
            "failed",
            r"release\(\) gave shape \(6, 1, 8, 8\)",
        ),
        (
            "hooks",
            "    def release(self, images, smashed):\n"
            "        return smashed - smashed.mean((1, 2, 3), keepdim=True)\n",
            "failed",
            r"raised IndexError in begin\(\), begin_epoch\(\), release\(\)",
        ),
        (
            "hooks",
            "    def penalty(self, images, smashed, labels):\n        return smashed.flatten(1)\n",
            "failed",
            r"penalty\(\) gave shape",
        ),
        (
            "hooks",
            "    def penalty(self, images, smashed, labels):\n"
            "        return smashed.square().sum().sqrt()\n",
            "failed",
            "not finite, for a batch of equal images",
        ),
        (
            "equal seeds",
            "    def release(self, images, smashed):\n"
            "        return smashed + torch.randn_like(smashed)\n",
            "failed",
            "different values",
        ),
        (
            "equal seeds",
            "    def begin(self, image, smashed, generator):\n"
            "        self.drawn = generator\n    def release(self, images, smashed):\n"
            "        return smashed + torch.randn(smashed.shape, generator=self.drawn)\n",
            "failed",
            "state randomised = True",
        ),
        ("equal seeds", "    randomised = True\n", "warning", "draws no numbers"),
        (
            "leaves no trace",
            "    def begin(self, image, smashed, generator):\n        np.random.seed(0)\n",
            "failed",
            r"numpy's global generator in begin\(\)",
        ),
        (
            "leaves no trace",
            "    def release(self, images, smashed):\n        return smashed + torch.rand(1)\n",
            "failed",
            "global generator in release",
        ),
        (
            "leaves no trace",
            "    def penalty(self, images, smashed, labels):\n"
            "        torch.set_default_dtype(torch.float64)\n",
            "failed",
            "default dtype in penalty",
        ),
    ],
)
def test_a_defense_that_breaks_its_contract(
    tmp_path: Path, check: str, body: str, verdict: str, says: str
) -> None:
    checks = ("hooks", "leaves no trace") if check == "leaves no trace" else (check,)
    dtype = torch.get_default_dtype()
    try:
        finding = look(tmp_path, "defense", DEFENSE + body, *checks)
    finally:
        torch.set_default_dtype(dtype)
    assert finding.verdict == verdict, finding
    _says(finding, says)


def _says(finding: CheckResult, pattern: str) -> None:
    with pytest.raises(ValueError, match=pattern):
        raise ValueError(finding.sentence)


TARGET = '''
class Under(Target):
    """A network."""
    cuts = range(1)
    default_cut = 0

    def preprocessing(self, image):
        return nn.Identity()
'''
LAYERS = """
    def layers(self, image, outputs):
        size = 4 * image.height * image.width
        return [nn.Conv2d(image.channels, 4, 3, padding=1),
                nn.Sequential({first}nn.Flatten(), nn.Linear(size, outputs{more}))]
"""
TIED = """
    def split(self, image, outputs, cut):
        from splitsec.plugins.target import SplitModel
        shared = nn.Conv2d(image.channels, image.channels, 3, padding=1)
        size = image.channels * image.height * image.width
        return SplitModel(nn.Sequential(shared),
                          nn.Sequential(shared, nn.Flatten(), nn.Linear(size, outputs)))
"""
CARRIED = """
    def split(self, image, outputs, cut):
        from splitsec.plugins.target import SplitModel
        class Counting(nn.Module):
            calls = 0
            def forward(self, maps):
                type(self).calls += 1
                return maps * (1 + Counting.calls % 7)
        Under.counting = getattr(Under, "counting", Counting())
        size = image.channels * image.height * image.width
        return SplitModel(nn.Sequential(nn.Conv2d(image.channels, image.channels, 1)),
                          nn.Sequential(Under.counting, nn.Flatten(), nn.Linear(size, outputs)))
"""
RAISING = (
    LAYERS.format(first="", more="")
    + """
    def loss(self, outputs, targets):
        raise KeyError("no such label")
"""
)
IDLE = """
    def layers(self, image, outputs):
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs))
        head.register_parameter("forgotten", nn.Parameter(torch.zeros(3)))
        return [nn.Conv2d(image.channels, 4, 3, padding=1), head]
"""
CUTS = TARGET.replace("range(1)", "range(3)")
GREY = (
    TARGET
    + LAYERS.format(first="", more="")
    + """
    channels = (1,)

    def sizes(self):
        return range(20, 29, 4)
"""
)


@pytest.mark.parametrize(
    ("check", "source", "verdict", "says"),
    [
        ("splits", TARGET + LAYERS.format(first="", more=""), "ok", "3 splits: 1 cuts"),
        (
            "splits",
            TARGET + LAYERS.format(first="nn.ReLU(inplace=True), ", more=""),
            "failed",
            "writes into the smashed data",
        ),
        (
            "splits",
            TARGET + LAYERS.format(first="", more=" + 1"),
            "failed",
            r"outputs are \(4, 4\); expected \(4, 3\)",
        ),
        ("splits", CUTS + LAYERS.format(first="", more=""), "failed", "cut 1"),
        ("splits", GREY, "ok", "2 splits: 1 cuts, 20 to 28 px, grey$"),
        ("works", GREY, "ok", "the loss goes from"),
        ("states itself", TARGET.replace("range(1)", "(0,)"), "failed", "must state its cuts"),
        ("same mathematics", TARGET + LAYERS.format(first="", more=""), "ok", "of 1 cuts"),
        ("splits", TARGET + TIED, "failed", "client and server share weights"),
        ("same mathematics", TARGET + CARRIED, "failed", "pass anything around the wire"),
        (
            "same mathematics",
            TARGET + RAISING,
            "failed",
            r"raised KeyError in loss\(\).*under_test.py, line",
        ),
        ("every weight learns", TARGET + IDLE, "warning", "such as server.0.forgotten"),
    ],
)
def test_a_target_that_breaks_its_contract(
    tmp_path: Path, check: str, source: str, verdict: str, says: str
) -> None:
    finding = look(tmp_path, "target", source, check)
    assert finding.verdict == verdict, finding
    _says(finding, says)


ATTACK = '''
class Under(Attack):
    """Guesses the mean image."""

    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(public_images=True{declared})

    def reconstruct(self, smashed):
        guess = self.view.public_images.mean(0).expand(len(smashed), -1, -1, -1)
        {first}
        return guess
'''
WHERE = "unet, cut 1, grey images"
TOKENS = "vit, cut 1: tokens, not maps"


@pytest.mark.parametrize(
    ("check", "declared", "first", "verdict", "says"),
    [
        (WHERE, "", "pass", "ok", "images of the right shape"),
        (WHERE, "", "guess = guess * 4 - 2", "warning", "clamped"),
        (WHERE, "", "guess = guess[:, 0]", "failed", r"expected images of shape \(8, 1, 16, 16\)"),
        (WHERE, "", "self.view.query(guess)", "failed", "asked for 'queries'"),
        (WHERE, "", "raise NotApplicable('only for odd cuts')", "skipped", "only for odd cuts"),
        (TOKENS, "", "pass", "ok", "images of the right shape"),
        (TOKENS, "", "n, c, h, w = smashed.shape", "failed", "raised ValueError in reconstruct"),
        ("threat model", ", queries=True", "pass", "warning", "declares queries and never uses it"),
        (
            "repeats itself",
            "",
            "import time; guess = guess * 0 + time.time() % 1",
            "failed",
            r"\(victims|leakage",
        ),
        ("beats a blind guess", "", "pass", "failed", r"leakage 0\.0\d on unet"),
        pytest.param(
            "leaves no trace",
            "",
            "torch.set_num_threads(torch.get_num_threads() + 1)",
            "failed",
            r"number of threads in reconstruct\(\)",
            marks=pytest.mark.slow,  # two threads on one core wait for each other
        ),
        ("leaves no trace", "", "torch.rand(3)", "ok", "unchanged"),
    ],
)
def test_an_attack_that_breaks_its_contract(
    tmp_path: Path, check: str, declared: str, first: str, verdict: str, says: str
) -> None:
    checks = (check,) if check in (WHERE, TOKENS) else (WHERE, check)
    source = ATTACK.format(declared=declared, first=first)
    finding = look(tmp_path, "attack", source, *checks)
    if "LPIPS weights are missing" in finding.sentence:
        pytest.skip(finding.sentence)
    assert finding.verdict == verdict, finding
    _says(finding, says)


SOURCE = '''
class Under(Source):
    """Noise."""

    def availability(self):
        return Availability({found}, "drawn")

    def catalogue(self, spec):
        keys = np.arange(spec.total + 20)
        return Catalogue(keys, keys % {labels}, keys, ("a", "b"), np.full(len(keys), ANY), "1",
                         ("drawn",))

    def decode(self, keys, size, channels, progress):
        generator = np.random.default_rng(0)
        return generator.integers(0, 256, (len(keys), channels, size, size)).astype({dtype})
'''


@pytest.mark.parametrize(
    ("check", "given", "verdict", "says"),
    [
        ("available", {}, "ok", "drawn"),
        ("available", {"found": "False"}, "skipped", "images are missing"),
        ("catalogue", {}, "ok", "84 images, 84 patients|images"),
        ("catalogue", {"labels": "3"}, "failed", "labels 0 to 2; they index 2 classes"),
        ("decodes", {}, "failed", "in another order gave other images"),
        ("decodes", {"dtype": "float"}, "failed", r"float64 of shape .*; expected uint8 of"),
    ],
)
def test_a_source_that_breaks_its_contract(
    tmp_path: Path, check: str, given: dict[str, str], verdict: str, says: str
) -> None:
    source = SOURCE.format(**{"found": "True", "labels": "2", "dtype": "np.uint8", **given})
    finding = look(tmp_path, "data", source, check)
    assert finding.verdict == verdict, finding
    _says(finding, says)


@pytest.mark.parametrize(
    ("source", "verdict", "says"),
    [
        ("class Under(Defense):\n    pass\n", "warning|failed", "docstring"),
        (
            "class Settings(Parameters):\n    size: int = 3\n"
            "class Under(Defense):\n    'Does.'\n    Parameters = Settings\n",
            "failed",
            "parameter size has no description",
        ),
    ],
)
def test_a_plugin_that_does_not_explain_itself(
    tmp_path: Path, source: str, verdict: str, says: str
) -> None:
    finding = look(tmp_path, "defense", source, "documented")
    assert finding.verdict in verdict.split("|")
    _says(finding, says)


def test_what_importing_changes_and_what_cannot_be_imported(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"{HEAD}\nnp.random.seed(3)\n{DEFENSE}")
    (loads, *_) = check_plugin(file, only=("documented",)).findings
    assert loads.verdict == "failed"
    _says(loads, "importing it changes numpy's global generator")
    file.write_text("import nothing_of_that_name\n")
    report = check_plugin(file)
    assert (report.ok, report.kind, len(report.findings)) == (False, None, 1)
    _says(report.findings[0], "cannot be loaded: ModuleNotFoundError")


def test_the_kind_is_told_where_there_is_one(tmp_path: Path) -> None:
    assert check_plugin("dcor", only=("documented",)).kind == "defense"
    with pytest.raises(UsageError, match=r"several kinds \(attack, defense\).*check attack none"):
        check_plugin("none")
    with pytest.raises(UsageError, match="did you mean 'dcor'"):
        check_plugin("dcro")
    with pytest.raises(UsageError, match="did you mean 'hooks'"):
        check_plugin("dcor", only=("hook",))
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        check_plugin("dcor:alpah=1")
    with pytest.raises(UsageError, match="names 2 plug-ins"):
        check_plugin("dcor,none")
    with pytest.raises(UsageError, match="there is no"):
        check_plugin(tmp_path / "missing.py")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f'"""Mine."""\n{HEAD}\nprint("noise")\n{DEFENSE}')
    only = ["--only", "documented", "--only", "hooks"]
    assert run(["check", "defense", str(file), *only, "--json"]) == Exit.OK
    (line,) = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert (report["ok"], report["kind"], report["name"]) == (True, "defense", "mine")
    assert [one["check"] for one in report["findings"]] == ["loads", "documented", "hooks"]
    file.write_text(
        f'"""Mine."""\n{HEAD}\n{DEFENSE}    def release(self, i, s):\n        return 1\n'
    )
    assert run(["check", str(file), *only]) == Exit.FAILED
    shown = " ".join(capsys.readouterr().out.split())
    assert "release() gave int" in shown
    assert "defense 'mine' breaks its contract in 1 of 3 checks" in shown


@pytest.mark.slow
@pytest.mark.usefixtures("bubblewrap")
def test_in_the_sandbox_a_plugin_is_imported_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "mark"
    writes = f"import os\nos.system('echo it was here > {mark}')\n"
    (tmp_path / "mine.py").write_text(f'"""Mine."""\n{HEAD}\n{writes}\n{DEFENSE}')
    monkeypatch.chdir(tmp_path)
    asked = ["check", "defense", "./mine.py", "--only", "hooks", "--json"]
    assert run([*asked, "--sandbox"]) == Exit.OK
    apart = json.loads(capfd.readouterr().out)
    assert apart["ok"]
    assert [one["check"] for one in apart["findings"]] == ["loads", "hooks"]
    assert not mark.exists()
    assert run(asked) == Exit.OK
    assert json.loads(capfd.readouterr().out)["sha256"] == apart["sha256"]
    assert mark.exists(), "outside, it can write"
    assert run(["check", "./other.py", "--sandbox"]) == Exit.USAGE
    assert "there is no other.py" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("bubblewrap")
@pytest.mark.parametrize(
    ("does", "limits", "says"),
    [
        ("while True: time.sleep(1)", {"seconds": 4}, "took longer than 4 seconds"),
        (
            "held = torch.ones(200 << 20); time.sleep(60)",
            {"memory_gib": 0.5},
            "GiB of memory, and",
        ),
        (
            "[os.fork() for _ in range(4)]; time.sleep(60)",
            {"processes": 5},
            "processes, and 5 are",
        ),
        ("sys.exit(7)", {}, "ended with exit code 7"),
    ],
)
def test_a_check_in_the_sandbox_is_limited(
    does: str, limits: dict[str, float], says: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f'"""Mine."""\nimport os, sys, time\nimport torch\n{does}\n')
    allowed = Isolation.model_validate({"sandbox": True, **limits})
    with pytest.raises(PluginError, match=says):
        check_in_sandbox(str(file), "defense", limits=allowed)
    assert not [one for one in Path("/proc").glob("[0-9]*/cmdline") if _is_check(one, file)]


@pytest.mark.slow
@pytest.mark.usefixtures("bubblewrap")
def test_what_a_checked_plugin_prints_cannot_fill_the_disk(tmp_path: Path) -> None:
    endless = "import os\nwhile True:\n    os.write(2, bytes(1 << 20))\n"
    (tmp_path / "mine.py").write_text(f'"""Mine."""\n{endless}')
    allowed = Isolation(sandbox=True, seconds=60)
    report = check_in_sandbox(str(tmp_path / "mine.py"), "defense", limits=allowed)
    assert not report.ok
    assert "File too large" in str(report)


def reported(*checks: str, **said: Any) -> Report:
    verdict = said.pop("verdict", "ok")
    found = tuple(CheckResult(check=c, verdict=verdict, sentence="", seconds=1.0) for c in checks)
    truth = {"kind": "defense", "name": "mine", "spec": "./mine.py", "sha256": "ab"}
    return Report.model_validate({**truth, **said, "findings": found})


def test_a_report_is_of_what_was_asked_for() -> None:
    asked = ReportRequest("./mine.py", "defense", "ab", ["hooks"])
    assert asked.answered_by(reported("loads", "hooks"))
    assert asked.answered_by(reported("loads", sha256=None, verdict="failed")), (
        "it cannot be loaded"
    )
    assert asked._replace(kind=None, sha256=None).answered_by(reported("loads", "hooks"))
    for lie in (
        reported(),
        reported("loads"),
        reported("hooks"),
        reported("loads", "hooks", "hooks"),
        reported("loads", "hooks", sha256="cd"),
        reported("loads", "hooks", sha256=None),
        reported("loads", sha256=None),
        reported("loads", "hooks", spec="./other.py"),
        reported("loads", "hooks", name="dcor"),
        reported("loads", "hooks", kind="attack"),
        reported("loads", "hooks", kind=None),
    ):
        assert not asked.answered_by(lie), repr(lie)
    assert not asked._replace(only=()).answered_by(reported("loads", "hooks"))


LIE = """\"\"\"Mine.\"\"\"
import json, os
report = {{"kind": "defense", "name": "mine", "spec": {spec!r}, "sha256": None}}
report["parameters"] = {{"\x9b": ["\x1b"]}}
found = {{"check": "loads", "verdict": {verdict!r}, "sentence": "\x1b[2J", "seconds": 1}}
os.write(1, json.dumps({{**report, "findings": [found]}}).encode())
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("bubblewrap")
def test_what_a_plugin_reports_of_itself_is_made_harmless(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(LIE.format(spec=str(file), verdict="ok"))
    with pytest.raises(PluginError, match="gave the report of something else in the sandbox"):
        check_in_sandbox(str(file), "defense")
    file.write_text(LIE.format(spec=str(file), verdict="failed"))
    told = check_in_sandbox(str(file), "defense")
    assert (told.parameters, told.findings[0].sentence) == ({" ": [" "]}, " [2J")


@pytest.mark.slow
@pytest.mark.usefixtures("bubblewrap")
def test_what_a_checked_plugin_says_steers_no_terminal(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    said = "\x1b[2Jred\n::error::\x9bno" + "!" * 5000
    file.write_text(f'"""Mine."""\nraise ValueError({said!r})\n')
    report = check_in_sandbox(str(file), "defense")
    assert not report.ok
    assert "red" in str(report)
    assert str(report).replace("\n", "").isprintable()
    assert len(str(report)) < 2000
    spoken = f"import os\nos.write(2, {said!r}.encode())\nos._exit({int(Exit.USAGE)})\n"
    file.write_text(f'"""Mine."""\n{spoken}')
    with pytest.raises(UsageError, match=r"\[2Jred ::error::") as caught:
        check_in_sandbox(str(file), "defense")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.slow
@pytest.mark.usefixtures("bubblewrap")
def test_a_path_with_letters_that_steer_is_checked_and_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "[" / "b]\u3000\x1b[2J.py"
    file.parent.mkdir()
    file.write_text(f'"""Mine."""\n{HEAD}\n{DEFENSE}')
    assert run(["check", "--sandbox", "defense", str(file), "--only", "documented"]) == Exit.OK
    seen = capsys.readouterr()
    assert "keeps its contract" in " ".join(seen.out.split())
    assert "\x1b" not in seen.out + seen.err
    assert run(["check", "defense", str(file), "--only", "documented"]) == Exit.OK
    file.write_text(f'"""Mine."""\nimport os\n{HEAD}\nos._exit(9)\n{DEFENSE}')
    assert run(["check", "--sandbox", "defense", str(file)]) != Exit.OK
    assert "\x1b" not in capsys.readouterr().err


def _is_check(cmdline: Path, file: Path) -> bool:
    try:
        words = cmdline.read_bytes().split(b"\0")
    except OSError:
        return False
    return b"check" in words and str(file).encode() in words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "takes one plug-in"),
        (["defence", "dcor"], "did you mean 'defense'?"),
        (["attack", "fsha", "adra"], "3 words were given"),
        (["nosuch"], "unknown plug-in 'nosuch'"),
        (["attack", "dcor"], "unknown attack 'dcor'"),
    ],
)
def test_wrong_words(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", *words]) == Exit.USAGE
    assert says in " ".join(capsys.readouterr().err.split())
