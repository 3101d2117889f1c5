"""A plug-in of any kind that does not apply makes a skipped cell, whatever method says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from splitsec.cli import run
from splitsec.cli.exit_codes import Exit
from support.cells import COUNTS

SETTINGS = ["--cut=1", "--size=16", "--threads=1", *(f"--set={one}" for one in COUNTS)]
SAID = "not on a day with rain"

BASES = {
    "attack": """
import torch
from splitsec import Attack, Hijacking, NotApplicable, ThreatModel

class Own(Attack):
    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(active={active})

    def hijacking(self):
        return Hijacking(exchanges=2)

    def answer(self, message):
        return torch.zeros_like(message.smashed)

    def reconstruct(self, smashed):
        return torch.zeros(len(smashed), *self.view.image_shape)
""",
    "defense": """
from splitsec import Defense, NotApplicable

class Own(Defense):
""",
    "target": """
from splitsec import NotApplicable
from splitsec.targets.resnet import ResNet as Base

class Own(Base):
""",
    "data": """
from splitsec import NotApplicable
from splitsec.datasets.phantom_fundus import PhantomFundus as Base

class Own(Base):
""",
}
METHODS = {
    "attack": {
        "__init__": "parameters, view, generator",
        "threat_model": "cls, parameters",
        "hijacking": "",
        "answer": "message",
        "observe": "exchange",
        "fit": "progress",
        "reconstruct": "smashed",
        "curves": "",
    },
    "defense": {
        "__init__": "parameters",
        "begin": "image, smashed, generator",
        "release": "images, smashed",
        "send_labels": "labels, step",
        "receive": "gradient, step, labels",
        "penalty": "images, smashed, labels",
        "begin_epoch": "epoch",
    },
    "target": {
        "__init__": "parameters",
        "sizes": "",
        "possible_cuts": "",
        "preprocessing": "image",
        "layers": "image, outputs",
        "split": "image, outputs, cut",
        "loss": "outputs, targets",
    },
    "data": {
        "__init__": "parameters",
        "catalogue": "spec",
        "decode": "keys, size, channels, progress",
    },
}
FIRST = ("begin", "split", "catalogue")
SAID_APART = ("__init__", "threat_model", "answer", "fit")
"""Methods of isolated attacks, which say everything else over the same channel."""

CLIENTS_APART = ("begin", "release", "split")
"""Methods of isolated clients, which do so, too."""

CASES = [
    pytest.param(kind, method, marks=() if method in FIRST else pytest.mark.slow)
    for kind, methods in METHODS.items()
    for method in methods
    if kind != "attack" or method in SAID_APART
]


def plugin(kind: str, method: str) -> str:
    """Return a plug-in of which one method says that it does not apply."""
    arguments = METHODS[kind][method]
    if method == "threat_model":
        head = f"    @classmethod\n    def threat_model({arguments}):\n"
    else:
        head = f"    def {method}(self{', ' if arguments else ''}{arguments}):\n"
    active = str(method in ("hijacking", "answer"))
    own = head + f"        raise NotApplicable({SAID!r})\n"
    return '"""Only in the dry."""\n' + BASES[kind].replace("{active}", active) + own


def ran(kind: str, folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[Any]:
    """Evaluate the plug-in of a folder beside a built-in one; return both records."""
    usual = {
        "attack": "none",
        "defense": "none",
        "target": "fsha-client",
        "data": "phantom-fundus",
    }
    options = [f"--{one}={name}" for one, name in usual.items() if one != kind]
    options.append(f"--{kind}={usual[kind]},{folder / 'own.py'}")
    output = f"--output={folder / 'results'}"
    capsys.readouterr()
    code = run(["eval", *options, *SETTINGS, output, "--json", *words])
    said = capsys.readouterr()
    assert code == Exit.OK, said.err
    return [json.loads(line) for line in said.out.splitlines()]


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_it_is_a_skipped_cell_with_its_sentence(
    kind: str, method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text(plugin(kind, method))
    here = kind in ("defense", "target") and method not in CLIENTS_APART
    words = ["--no-isolate"] if here else []
    records = {one["spec"][kind]: one for one in ran(kind, tmp_path, capsys, *words)}
    own = records.pop("own")
    (other,) = records.values()
    assert (own["status"], own["reason"]) == ("skipped", SAID)
    assert other["status"] == "ok"


@pytest.mark.parametrize(
    "method",
    [
        one if one == "fit" else pytest.param(one, marks=pytest.mark.slow)
        for one in METHODS["attack"]
    ],
)
def test_an_attack_in_this_process_is_skipped_too(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text(plugin("attack", method))
    _, own = ran("attack", tmp_path, capsys, "--no-isolate")
    assert (own["status"], own["reason"]) == ("skipped", SAID)


@pytest.mark.parametrize("kind", ["data", "target"])
def test_a_skipped_cell_is_found_again_and_shown(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = "catalogue" if kind == "data" else "split"
    (tmp_path / "own.py").write_text(plugin(kind, method))
    for _ in range(2):
        assert [one["status"] for one in ran(kind, tmp_path, capsys)].count("skipped") == 1
    (folder,) = (one.parent for one in (tmp_path / "results").glob("*own*/record.json"))
    assert run(["show", str(folder)]) == Exit.OK
    assert SAID in capsys.readouterr().out
    assert [one["status"] for one in ran(kind, tmp_path, capsys, "--workers=2")] == [
        "ok",
        "skipped",
    ]
