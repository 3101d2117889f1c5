"""Plug-ins that break their contract are named, with the place, and leave a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import PluginError, SplitsecError, UsageError
from splitsec.progress import Silent
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.running.runs import run_cells

TINY = [
    "training.epochs=1",
    "counts.private=32",
    "counts.public=32",
    "counts.validation=8",
    "counts.held_out=12",
    "counts.victims=12",
]

TARGET = '''
"""A target under test."""
import torch
from torch import nn
from splitsec import Target
{module}
class Under(Target):
{cuts}
    def preprocessing(self, image):
        return nn.Identity()

{body}
'''
CUTS = "    cuts = range(1)\n    default_cut = 0\n"
LAYERS = """
    def layers(self, image, outputs):
        size = 4 * image.height * image.width
        return [nn.Conv2d(image.channels, 4, 3, padding=1),
                nn.Sequential(nn.Flatten(), nn.Linear(size, outputs))]
"""
ATTACK = '''
"""An attack under test."""
import torch
from splitsec import Attack, Hijacking, NotApplicable, ThreatModel

class Under(Attack):
    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(active=True, public_images=True)

    def hijacking(self):
        {hijacking}

    def answer(self, message):
        return torch.zeros_like(message.smashed)

    def reconstruct(self, smashed):
        return self.view.public_images.mean(0).expand(len(smashed), -1, -1, -1)
'''


SMALL_TARGET = {"target": "fsha-client", "cut": 1}
"""A target that imports no torchvision in the process of each attack."""


def run(folder: Path, **request: Any) -> Record:
    request = {"attack": "none", "defense": "none", "size": 16, "threads": 1, **request}
    cells = resolve(Request(settings=TINY, **request))
    (record,) = run_cells(cells, folder / "out", Silent())
    return record


def target_file(folder: Path, body: str = LAYERS, cuts: str = CUTS, module: str = "") -> str:
    file = folder / "under_test.py"
    file.write_text(TARGET.format(body=body, cuts=cuts, module=module))
    return str(file)


def test_a_target_in_a_file_works(tmp_path: Path) -> None:
    record = run(tmp_path, target=target_file(tmp_path))
    assert record.status == "ok", record.reason


FAILING = (
    "class Failing(nn.Module):\n    def forward(self, x):\n        raise KeyError('forward')\n"
)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cuts": ""}, "must state its cuts"),
        ({"cuts": "    cuts = range(2)\n    default_cut = 7\n"}, "default_cut = 7"),
        ({"cuts": "    cuts = (0, 1)\n    default_cut = 0\n"}, r"cuts = \(0, 1\)"),
        ({"body": ""}, "overrides neither layers"),
        (
            {
                "body": "    def layers(self, image, outputs):\n"
                "        raise ZeroDivisionError('x')\n"
            },
            "target 'under-test' raised ZeroDivisionError in split",
        ),
        (
            {"body": "    def split(self, image, outputs, cut):\n        return nn.Identity()\n"},
            "returned Identity from split",
        ),
        (
            {
                "module": FAILING,
                "body": "    def layers(self, i, o):\n        return [Failing(), nn.Flatten()]\n",
            },
            "raised KeyError in split.. or the client's forward",
        ),
    ],
)
def test_a_target_that_cannot_be_split_is_refused_before_any_cell(
    tmp_path: Path, options: dict[str, str], says: str
) -> None:
    with pytest.raises(PluginError, match=says):
        run(tmp_path, target=target_file(tmp_path, **options))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("body", "module", "says"),
    [
        (
            "    def layers(self, image, outputs):\n"
            "        return [nn.Conv2d(image.channels, 4, 3), Failing()]\n",
            FAILING,
            "raised KeyError in the server's forward",
        ),
        (
            LAYERS + "\n    def loss(self, outputs, targets):\n        return 1 / 0\n",
            "",
            "raised ZeroDivisionError in loss",
        ),
        (
            "    def layers(self, image, outputs):\n"
            "        return [nn.Conv2d(image.channels, 4, 3), "
            "nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs + 3))]\n",
            "",
            r"gave outputs of shape \(8, 5\); expected \(8, 2\)",
        ),
    ],
    ids=["server", "loss", "outputs"],
)
def test_a_target_that_fails_in_training_leaves_a_record(
    tmp_path: Path, body: str, module: str, says: str
) -> None:
    record = run(tmp_path, target=target_file(tmp_path, body, module=module))
    assert record.status == "failed"
    with pytest.raises(SplitsecError, match=says):
        raise SplitsecError(record.reason)
    assert load_record(next((tmp_path / "out").glob("*/record.json"))).reason == record.reason


@pytest.mark.parametrize(
    ("hijacking", "says"),
    [
        ("return None", "expected a Hijacking"),
        ("return Hijacking(exchanges=0)", "asks for 0 exchanges"),
        ("return Hijacking(exchanges=2.5)", "asks for 2.5 exchanges"),
        ("return Hijacking(2, batch_size=-4)", "dictates batches of -4"),
        ("return Hijacking(2, learning_rate=0.0)", "dictates the learning rate 0.0"),
        ("return Hijacking(2, learning_rate=float('nan'))", "dictates the learning rate nan"),
        ("return Hijacking(2, batch_size=8)", "asked for 'client_settings'"),
    ],
)
def test_a_plan_that_cannot_be_followed(tmp_path: Path, hijacking: str, says: str) -> None:
    plugin = tmp_path / "under_test.py"
    plugin.write_text(ATTACK.format(hijacking=hijacking))
    record = run(tmp_path, attack=str(plugin), **SMALL_TARGET)
    assert record.status == "failed"
    assert says in (record.reason or "")


def test_an_attack_that_does_not_apply_is_skipped(tmp_path: Path) -> None:
    plugin = tmp_path / "under_test.py"
    plugin.write_text(ATTACK.format(hijacking="raise NotApplicable('only for odd cuts')"))
    record = run(tmp_path, attack=str(plugin), **SMALL_TARGET)
    assert (record.status, record.reason) == ("skipped", "only for odd cuts")


def test_a_false_alarm_is_flagged(tmp_path: Path) -> None:
    defense = tmp_path / "alarmist.py"
    defense.write_text(
        "from splitsec import Defense\nfrom splitsec.errors import SessionEnded\n"
        "class Alarmist(Defense):\n"
        "    def receive(self, gradient, step, labels):\n"
        "        raise SessionEnded('something is odd')\n"
    )
    record = run(tmp_path, defense=str(defense), target="resnet:depth=18")
    assert record.status == "ok", record.reason
    assert "honest-session-ended" in record.flags
    assert record.session["honest_ended"] == "at exchange 0: something is odd"


@pytest.mark.parametrize(("kind", "name"), [("attack", "fsha"), ("defense", "none")])
def test_a_file_may_not_pass_for_a_built_in_plugin(tmp_path: Path, kind: str, name: str) -> None:
    file = tmp_path / f"{name}.py"
    file.write_text("")
    with pytest.raises(UsageError, match=f"would be recorded as '{name}', which is built in"):
        run(tmp_path, **{kind: str(file)})


def test_two_files_of_one_name_are_refused_in_one_grid(tmp_path: Path) -> None:
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "mine.py"
        file.write_text("from splitsec import Defense\nclass Mine(Defense):\n    pass\n")
        files.append(str(file))
    with pytest.raises(UsageError, match="defense 'mine' is two things"):
        run(tmp_path, defense=",".join(files))


def test_an_interrupted_cell_leaves_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("splitsec.cells.shared_session.score_utility", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, target="resnet:depth=18")
    record = load_record(next((tmp_path / "out").glob("*/record.json")))
    assert (record.status, record.reason) == ("cancelled", "interrupted")
