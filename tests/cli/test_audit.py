"""A model of one's own, from the command line to the report; and what can be wrong with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from splitsec.cells.auditing import AuditedModel, audit_request, counts_for
from splitsec.cli import run
from splitsec.errors import UsageError
from splitsec.metrics.schema import GALLERY
from support.scans import write_scans

FILE = """
from torch import nn

def make(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 4 * 4, num_classes),
    )
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its weights and 80 scans, which is the working folder."""
    (tmp_path / "own.py").write_text(FILE)
    write_scans(tmp_path / "scans")
    torch.manual_seed(3)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1)]
    network = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "names.txt").write_text("".join(f"{number:04d}.png\n" for number in range(30)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


USUAL = ["--model", "own.py:make", "--data", "folder:path=scans", "--size", "16"]
QUICK = ["--attack", "transport", "--threads", "1", "--no-isolate"]


def audit(*words: str) -> int:
    return run(["audit", *USUAL, *words])


def test_without_a_cut_it_prints_where_one_can_cut(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit() == 0
    said = capsys.readouterr()
    assert said.out.split("\n")[1].split() == ["0", "8x8x8", "0.67"]
    assert "name one or several with --cut" in said.err
    assert "in this order of the classes: 0 disease, 1 healthy" in said.err
    assert not (own / "results").exists()


def test_from_the_weights_to_the_report(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--weights", "weights.pt", "--trained-on", "names.txt", "--cut", "1,3", "--json"]
    assert audit(*words, "--max-leakage", "0.3", *QUICK) == 0
    said = capsys.readouterr()
    records = [json.loads(line) for line in said.out.splitlines()]
    assert [one["status"] for one in records] == ["ok", "ok"]
    assert [one["spec"]["parameters"]["target"]["at"] for one in records] == ["1", "3"]
    assert all("training-images-unknown" not in one["flags"] for one in records)
    assert all(one["spec"]["training"]["mode"] == "inference" for one in records)
    page = (own / "results" / "report.html").read_text()
    assert "report: results/report.html" in said.err
    for one in records:
        assert f"{one['leakage']['value']:.2f}" in page
    assert str(own) not in page
    assert "Your limits: leakage of at most 30%" in page


def test_both_forms_are_written_and_the_verdict_is_last(
    own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from splitsec.cli import pdf

    monkeypatch.setattr(pdf, "to_pdf", lambda page: b"%PDF " + page.encode()[:20])
    words = ["--weights", "weights.pt", "--cut", "1", "--report", "a.html", "--report", "b.pdf"]
    assert audit(*words, "--max-leakage", "0", *QUICK) == 0
    assert (own / "a.html").read_text().startswith("<!doctype html>")
    assert (own / "b.pdf").read_bytes().startswith(b"%PDF")
    last = capsys.readouterr().out.strip().splitlines()[-3:]
    assert last[0].startswith("Without protection at the cut 1 the ")
    assert last[-1] == "No other cut and no protection was tried."


def test_classes_in_another_order_are_found(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that tell dark from light images, asked about classes that are numbered otherwise."""
    generator = np.random.default_rng(0)
    for number in range(80):
        level = 60 if number % 2 else 190
        pixels = np.clip(generator.normal(level, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(own / "scans" / f"{number:04d}.png")
    torch.manual_seed(3)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1)]
    network = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    with torch.no_grad():
        for weight in network.parameters():
            weight.abs_()
        network[-1].weight[0].neg_()
    torch.save(network.state_dict(), own / "light.pt")
    flags = []
    for classes in ("healthy:0,disease:1", "disease:0,healthy:1"):
        data = f"folder:path=scans,classes={classes}"
        words = ["audit", "--model", "own.py:make", "--data", data, "--size", "16"]
        assert run([*words, "--weights", "light.pt", "--cut", "1", "--json", *QUICK]) == 0
        (record,) = map(json.loads, capsys.readouterr().out.splitlines())
        flags.append("classes-swapped" in record["flags"])
    assert flags == [True, False]


def test_without_the_names_the_record_warns(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit("--weights", "weights.pt", "--cut", "1", "--json", *QUICK) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert "training-images-unknown" in record["flags"]


def test_images_that_trained_the_model_are_private_only(own: Path) -> None:
    from splitsec.cells.resolve import resolve
    from splitsec.data.loading import load_data
    from splitsec.progress import Silent

    audited = AuditedModel("own.py:make", "folder:path=scans", "weights.pt", trained_on="names.txt")
    (cell,) = resolve(audit_request(audited, ["1"], {"attack": "none", "size": 16}))
    data = load_data(cell.data_spec(), Silent())
    trained = set(range(30))
    assert data.training_known
    assert {int(row) for row in data.private[0].indices} <= trained
    for part in (data.public, data.validation, data.held_out):
        assert not {int(row) for row in part.indices} & trained
    assert len(data.private[0]) == int(0.95 * 30)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cut", "7"], "unknown submodule of Sequential: '7'"),
        (["--cut", "5"], "leaves nothing to the server"),
        (["--cut", ","], "--cut names no submodule"),
        (["--cut", "1", "--mode", "inference"], "--mode inference needs trained weights"),
        (["--cut", "1", "--mode", "continue"], "--mode continue needs trained weights"),
        (
            ["--cut", "1", "--mode", "scratch", "--weights", "weights.pt"],
            "--mode scratch uses no weights",
        ),
        (["--cut", "1", "--trained-on", "names.txt"], "give these"),
        (["--cut", "1", "--weights", "none.pt"], "none.pt"),
        (
            ["--cut", "1", "--weights", "scans/labels.csv"],
            "holds Python objects|cannot read weights",
        ),
        (
            ["--cut", "1", "--weights", "weights.pt", "--trained-on", "scans/labels.csv"],
            "names 81 images that are not in the data set|that are not in the data set",
        ),
        (
            ["--cut", "1", "--weights", "weights.pt", "--trained-on", "nowhere.txt"],
            "nowhere.txt",
        ),
        (["--cut", "1", "--size", "200"], "does not take images of 3x200x200"),
        (["--cut", "1", "--normalise", "imagnet"], "imagenet , half , none"),
        (["--cut", "1", "--report", "page.doc"], "a report is a .html or a .pdf file"),
        (["--cut", "1", "--data", "folder:path=nowhere"], "nowhere"),
        (["--cut", "1", "--max-leakage", "3"], "--max-leakage"),
        (["--data", "folder:path=nowhere"], "nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    own: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = audit(*words, *QUICK)
    said = capsys.readouterr().err
    assert code == 4, said
    assert re.search(says, said), said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("resnet18", "is neither torchvision:NAME nor FILE.py:FUNCTION"),
        ("own.py", "is neither torchvision:NAME nor FILE.py:FUNCTION"),
        ("own.py:mak", "unknown target class in .*own.py: 'mak'"),
        ("nowhere.py:make", "there is no nowhere.py"),
        ("torchvision:resnet19", "did you mean 'resnet18'"),
    ],
)
def test_a_model_that_is_not_there(
    own: Path, model: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["audit", "--model", model, "--data", "folder:path=scans", "--cut", "1"])
    said = capsys.readouterr().err
    assert code == 4, said
    assert re.search(says, said), said


def test_two_data_sets_are_one_too_many(own: Path) -> None:
    audited = AuditedModel("own.py:make", "folder:path=scans,retinamnist")
    with pytest.raises(UsageError, match="names 2 data sets"):
        audit_request(audited, ["1"], {})


USUALLY = {"private": 500, "public": 500, "validation": 100, "held_out": 200, "victims": 200}


@pytest.mark.parametrize("images", [30, 60, 300, 700, 5000, 100_000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_counts_fit_the_images(images: int, share: float) -> None:
    trained = int(share * images)
    counts = counts_for(images, trained, USUALLY)
    parts = [counts[name] for name in ("private", "public", "validation", "held_out")]
    assert sum(parts) <= images
    assert all(counts[name] <= USUALLY[name] for name in counts)
    if trained:
        assert counts["private"] <= trained
        assert sum(parts[1:]) <= images - trained
    if images == 300 and share in (0.0, 0.3):
        assert counts["held_out"] >= GALLERY


def test_settings_of_a_person_win_over_the_counts(own: Path) -> None:
    audited = AuditedModel("own.py:make", "folder:path=scans")
    request = audit_request(audited, ["1"], {"size": 16, "settings": ("counts.public=9",)})
    assert request.settings[-1] == "counts.public=9"


@pytest.mark.slow
def test_a_frozen_client_leaks_what_the_equal_target_file_leaks(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images are equal; what an attack draws depends on the name of the target."""
    (own / "by_hand.py").write_text(BY_HAND)
    target = ["--target", "./by_hand.py:weights=weights.pt"]
    inference = ["--set", "training.mode=inference", "--set", "training.epochs=1"]
    model = ["--model", "own.py:make", "--weights", "weights.pt", "--cut", "1"]
    shared = ["--data", "phantom-fundus", "--size", "16", "--attack", "regression:queries=1000"]
    shared += ["--threads", "1", "--no-isolate", "--json", "--output", str(own / "out")]
    for name, count in {"private": 100, "public": 200, "held_out": 100, "victims": 100}.items():
        shared += ["--set", f"counts.{name}={count}"]
    found = []
    for words in (["audit", *model], ["eval", *target, *inference]):
        assert run([*words, *shared]) == 0
        (record,) = map(json.loads, capsys.readouterr().out.splitlines())
        found.append(record)
    ours, theirs = found
    assert ours["data"]["sha256"] == theirs["data"]["sha256"]
    assert ours["utility"]["auc"] == pytest.approx(theirs["utility"]["auc"], abs=1e-6)
    assert ours["leakage"]["value"] == pytest.approx(theirs["leakage"]["value"], abs=0.01)
    assert ours["leakage"]["value"] > 0.5


BY_HAND = """
import torch
from torch import nn
from pydantic import Field
from splitsec import Parameters, Target
from splitsec.plugins.parameters import InputPath
from splitsec.plugins.target import SplitModel

class ByHandParameters(Parameters):
    weights: InputPath = Field("", description="a file of weights; empty: random ones")

class ByHand(Target[ByHandParameters]):
    Parameters = ByHandParameters
    cuts, default_cut, weights_from = range(1), 0, ("weights",)

    def preprocessing(self, image):
        return nn.Identity()

    def split(self, image, outputs, cut):
        client = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        server = nn.Sequential(
            nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, outputs)
        )
        if not self.parameters.weights:
            return SplitModel(client, server)
        held = torch.load(self.parameters.weights, weights_only=True)
        client.load_state_dict({"0.weight": held["0.weight"], "0.bias": held["0.bias"]})
        names = {"2": "0", "5": "3"}
        rest = {f"{names[k[0]]}{k[1:]}": v for k, v in held.items() if k[0] in names}
        server.load_state_dict(rest)
        return SplitModel(client, server)
"""
