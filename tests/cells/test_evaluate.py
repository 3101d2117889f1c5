"""A whole cell: scored right at both ends, the same twice, and failing in sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import splitsec
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.checkpoint import Checkpoints
from splitsec.errors import DataError, PluginError, SplitsecError, UsageError
from splitsec.isolation import isolation_for
from splitsec.progress import Silent
from splitsec.records.artifacts import artifact, check_artifact
from splitsec.records.reading import load_record
from splitsec.records.record import FLAGS, Record
from splitsec.records.store import Rerun, record_folder, write_record
from splitsec.running.runs import evaluate, run_cells

TINY = {
    "training.epochs": 1,
    "counts.private": 32,
    "counts.public": 32,
    "counts.validation": 12,
    "counts.held_out": 16,
    "counts.victims": 16,
}
SETTINGS = [f"{name}={value}" for name, value in TINY.items()]

ATTACK = '''
"""An attack for a test."""
import torch
from splitsec import Attack, Hijacking, ThreatModel

class Under(Attack):
    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel({threat})

    def hijacking(self):
        return Hijacking(exchanges=16)

{body}
'''
ACTIVE_ZERO = """
    def answer(self, message):
        return torch.zeros_like(message.smashed)
"""
MEAN = """
    def reconstruct(self, smashed):
        return self.view.public_images.mean(0).expand(len(smashed), -1, -1, -1)
"""


def attack_file(folder: Path, threat: str, body: str) -> str:
    file = folder / "under_test.py"
    file.write_text(ATTACK.format(threat=threat, body=body))
    return str(file)


def run(tmp_path: Path, attack: str, defense: str = "none", **options: Any) -> Record:
    parameters = {**TINY, **options.pop("parameters", {})}
    usual = {"target": "fsha-client", "cut": 1, "size": 16, "threads": 1}
    options = {**usual, "output": tmp_path / "out", **options}
    return evaluate(attack, defense, parameters=parameters, **options)


def run_open(folder: Path, attack: str, **options: Any) -> Record:
    """Attack a target of the test's in this process."""
    settings = {"size": 16, "threads": 1, "output": folder, "parameters": TINY}
    return evaluate(attack, "none", **{**settings, "isolate": False, **options})


@pytest.mark.pictures
def test_an_attack_that_sees_nothing_leaks_nothing(tmp_path: Path) -> None:
    attack = attack_file(tmp_path, "public_images=True", MEAN)
    record = run_open(tmp_path / "out", attack, target="fsha-client", cut=1)
    assert record.status == "ok", record.reason
    assert record.victims is not None
    assert record.victims.training is not None
    for scores in (record.victims.training, record.victims.held_out):
        assert scores.privacy.identification.structure == 0
        assert abs(scores.skill.mse or 0) < 0.02
    if "lpips-unavailable" not in record.flags:
        assert record.leakage is not None
        assert record.leakage.value is not None
        assert record.leakage.value <= 0.02
        assert "no-better-than-trivial" in record.flags
    assert set(record.flags) <= set(FLAGS)
    assert record.access is not None
    assert record.access.public_images == 32
    folder = record_folder(tmp_path / "out", record)
    assert set(record.artifacts) == {"panel", "curves", "pictures", "per_image"}
    for name in record.artifacts:
        check_artifact(artifact(folder, record, name))
    assert load_record(folder).numbers() == record.numbers()
    frame = splitsec.records_frame([record])
    assert list(frame["victims"]) == ["training", "held_out"]
    assert len(splitsec.per_image_frame(record)) == 16


def test_an_oracle_leaks_everything_and_is_scored_on_held_out_only(tmp_path: Path) -> None:
    """An identity client hands the images over: reconstructing them exactly leaks 1."""
    target = tmp_path / "open_target.py"
    target.write_text(
        "from torch import nn\nfrom splitsec import Target\n"
        "class Open(Target):\n"
        "    cuts = range(1)\n    default_cut = 0\n"
        "    def preprocessing(self, image):\n        return nn.Identity()\n"
        "    def layers(self, image, outputs):\n"
        "        flat = image.channels * image.height * image.width\n"
        "        return [nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(flat, outputs))]\n"
    )
    body = """
    def fit(self, progress):
        images, smashed = self.view.pairs
        assert images.shape == smashed.shape

    def reconstruct(self, smashed):
        return smashed
"""
    attack = attack_file(tmp_path, "pairs=True, queries=True", body)
    record = run_open(tmp_path, attack, target=str(target))
    assert record.status == "ok", record.reason
    assert record.victims is not None
    assert record.victims.training is None
    scores = record.victims.held_out
    assert scores.skill.mse == pytest.approx(1)
    assert scores.privacy.identification.structure == 1
    assert "oracle-access" in record.flags
    assert record.access is not None
    assert record.access.pairs == 32
    assert record.leakage is not None
    assert record.leakage.victims == "held_out"
    if "lpips-unavailable" not in record.flags:
        assert record.leakage.value == pytest.approx(1)


@pytest.mark.slow
def test_fsha_beats_every_trivial_attacker_on_an_undefended_target(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"target": "resnet:depth=18", "threads": 1, "output": tmp_path}
    record = evaluate("fsha:iterations=200", parameters={"training.epochs": 1}, **asked)
    assert record.status == "ok", record.reason
    assert record.victims is not None
    assert record.victims.training is not None
    assert (record.victims.training.skill.mse or 0) > 0.3
    assert record.victims.training.privacy.identification.structure > 0.2
    assert set(record.history["attack"]) == {
        "client loss",
        "autoencoder loss",
        "critic loss",
        "gradient penalty",
    }
    assert record.session["attacked_exchanges"] == 200


@pytest.mark.slow
def test_the_same_cell_twice_gives_the_same_numbers(tmp_path: Path) -> None:
    first, second = (
        run(tmp_path / str(turn), "fsha:iterations=2,image_steps=5,pretraining=1", "dcor")
        for turn in (0, 1)
    )
    assert first.status == "ok", first.reason
    assert first.numbers() == second.numbers()
    other = run(tmp_path / "2", "fsha:iterations=2,image_steps=5,pretraining=1", "dcor", seed=1)
    assert other.cell_id != first.cell_id
    assert other.numbers()["victims"] != first.numbers()["victims"]


@pytest.mark.slow
def test_dcor_with_no_weight_is_no_defense(tmp_path: Path) -> None:
    records = [
        run(tmp_path / defense, "fsha:iterations=2,image_steps=5,pretraining=0", defense)
        for defense in ("none", "dcor:alpha=0")
    ]
    assert records[0].victims == records[1].victims
    assert records[0].history["training"] == records[1].history["training"]


@pytest.mark.slow
def test_a_cell_leaves_the_process_as_it_found_it(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    run(tmp_path, "none", threads=threads + 1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "target", [pytest.param("resnet:depth=18", marks=pytest.mark.slow), "fsha-client"]
)
def test_fsha_runs_on_every_target_and_cut(tmp_path: Path, target: str) -> None:
    """Every target and cut gives the attack smashed data that it can work on."""
    cuts = {"resnet:depth=18": "0,5,8", "fsha-client": "1,4"}[target]
    cells = resolve(
        Request(
            attack="fsha:iterations=2,pretraining=1,image_steps=1",
            defense="none",
            target=target,
            cut=cuts,
            settings=SETTINGS,
            channels=1,
            size="16",
        )
    )
    from splitsec.cells.attacker import Attacker
    from splitsec.cells.private_side import PrivateSide
    from splitsec.data.loading import load_data

    for cell in cells:
        side = PrivateSide(cell, load_data(cell.data_spec(), Silent()))
        attacker = Attacker(cell)
        attacker.build(side.view(attacker), Checkpoints())
        trained = side.hijacked(attacker, *attacker.plans(), Silent())
        assert trained.session.exchanges == 2
        images = attacker.attack.reconstruct(torch.rand(3, *side.smashed))
        assert images.shape == (3, 1, 16, 16)


@pytest.mark.slow
def test_the_papers_networks_attack_the_papers_client(tmp_path: Path) -> None:
    record = evaluate(
        "fsha:networks=paper,iterations=1,image_steps=5,pretraining=0,batch_size=8,client_lr=1e-5",
        target="fsha-client",
        cut=4,
        output=tmp_path,
        parameters=TINY,
        threads=1,
    )
    assert record.status == "ok", record.reason
    assert "dictated-client-settings" in record.flags
    assert "victims-not-sent" in record.flags


def test_networks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    fsha = "fsha:networks=paper,iterations=1"
    record = run(tmp_path, fsha, target="resnet:depth=18", cut=3)
    assert record.status == "failed"
    assert "use --target fsha-client" in (record.reason or "")


def test_no_public_data(tmp_path: Path) -> None:
    record = run(tmp_path, "fsha:iterations=1", parameters={"counts.public": 0})
    assert record.status == "failed"
    assert "needs public images" in (record.reason or "")


def test_the_paper_profile_is_the_reports_setting() -> None:
    (cell,) = resolve(Request(attack="fsha", defense="dcor", profile="paper"))
    attack = cell.spec.parameters["attack"]
    assert attack["iterations"] == 10_000
    assert attack["gradient_penalty"] == 500
    assert (attack["client_lr"], attack["autoencoder_lr"], attack["critic_lr"]) == (
        1e-5,
        1e-5,
        1e-4,
    )
    assert (cell.spec.private, cell.spec.victims, cell.spec.size) == (1000, 200, 224)
    assert (cell.spec.training.epochs, cell.spec.training.learning_rate) == (20, 0.01)


BREACHES = [
    (
        "active=True",
        "    def answer(self, m):\n        raise KeyError('k')" + MEAN,
        "raised KeyError in answer",
    ),
    (
        "active=True",
        "    def answer(self, m):\n        return m.smashed[:2]" + MEAN,
        "a gradient of shape",
    ),
    (
        "active=True",
        "    def answer(self, m):\n        return m.smashed / 0" + MEAN,
        "not finite",
    ),
    ("", MEAN, "asked for 'public_images', which its threat model does not"),
    (
        "public_images=True",
        "    def fit(self, progress):\n        self.view.client_weights" + MEAN,
        "asked for 'client_weights'",
    ),
    (
        "public_images=True",
        "    def reconstruct(self, z):\n        return z[:, :3]",
        "from reconstruct",
    ),
    (
        "public_images=True",
        "    def reconstruct(self, z):\n        "
        "return torch.full((len(z), 3, 16, 16), float('nan'))",
        "not finite",
    ),
    (
        "public_images=True",
        "    def observe(self, exchange):\n        "
        "assert exchange.message.labels is not None, 'no labels'" + MEAN,
        "raised AssertionError in observe",
    ),
]
"""Threat model and body of attacks that break their contract, and what is said of it."""


@pytest.fixture(
    scope="module",
    params=["in this process", pytest.param("isolated", marks=pytest.mark.slow)],
)
def breaches(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Record]]:
    """The records of all attacks that break their contract, which share one training."""
    folder, files = tmp_path_factory.mktemp("breaches"), []
    for number, (threat, body, _) in enumerate(BREACHES):
        (folder / str(number)).mkdir()
        file = Path(attack_file(folder / str(number), threat, body))
        files.append(str(file.rename(folder / f"breach_{number}.py")))
    # Not the residual network: it imports torchvision in the process of each attack.
    asked: dict[str, Any] = {"target": "fsha-client", "cut": 1, "size": 16, "threads": 1}
    grid = Request(attack=",".join(files), defense="none", settings=SETTINGS, **asked)
    isolate = None if request.param == "isolated" else False
    cells = resolve(grid, isolation_for(isolate, sandbox=False))
    records = run_cells(cells, folder / "out", Silent())
    by_attack = {record.spec.attack: record for record in records}
    return folder / "out", [by_attack[f"breach-{number}"] for number in range(len(BREACHES))]


@pytest.mark.parametrize("number", range(len(BREACHES)), ids=[says for _, _, says in BREACHES])
def test_an_attack_that_breaks_its_contract(
    breaches: tuple[Path, list[Record]], number: int
) -> None:
    store, records = breaches
    record, says = records[number], BREACHES[number][2]
    assert record.status == "failed"
    assert says in (record.reason or "")
    assert record.leakage is None
    folder = record_folder(store, record)
    saved = json.loads((folder / "record.json").read_text())
    assert saved["status"] == "failed"
    assert not list(folder.glob(".*")), "a half-written file was left"


def test_an_attack_that_defines_no_reconstruction_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="does not define reconstruct"):
        run(tmp_path, attack_file(tmp_path, "active=True", ACTIVE_ZERO), isolate=False)


def test_training_that_diverges(tmp_path: Path) -> None:
    record = run(
        tmp_path, "fsha:iterations=2,image_steps=5", parameters={"training.learning_rate": 1e30}
    )
    assert record.status == "failed"
    assert "not finite" in (record.reason or "")
    assert "non-finite" in record.flags


def test_a_defense_that_ends_the_session_is_credited_for_what_was_not_sent(
    tmp_path: Path,
) -> None:
    defense = tmp_path / "detector.py"
    defense.write_text(
        "from splitsec import Defense\nfrom splitsec.errors import SessionEnded\n"
        "class Detector(Defense):\n"
        "    def receive(self, gradient, step, labels):\n"
        "        if step == 2:\n            raise SessionEnded('gradients look hijacked')\n"
        "        return gradient\n"
    )
    record = run(tmp_path, "fsha:iterations=4,image_steps=5,pretraining=0", str(defense))
    assert record.status == "ok", record.reason
    assert record.session["ended"] == "at exchange 2: gradients look hijacked"
    assert "session-ended" in record.flags
    assert record.leakage is not None
    assert record.leakage.victims == "training", "who ended the session sends nothing more"


@pytest.mark.parametrize("hides", ["self.training", "not self.training"])
def test_the_headline_is_of_the_victims_that_leak_more(tmp_path: Path, hides: str) -> None:
    """A client that hides its images in one mode alone is judged by the other."""
    target = tmp_path / "two_faced.py"
    target.write_text(
        "from torch import nn\nfrom splitsec import Target\n"
        "class Face(nn.Module):\n"
        f"    def forward(self, images):\n        return images * 0 if {hides} else images\n"
        "class TwoFaced(Target):\n"
        "    cuts = range(1)\n    default_cut = 0\n"
        "    def preprocessing(self, image):\n        return nn.Identity()\n"
        "    def layers(self, image, outputs):\n"
        "        flat = image.channels * image.height * image.width\n"
        "        return [Face(), nn.Sequential(nn.Flatten(), nn.Linear(flat, outputs))]\n"
    )
    attack = attack_file(
        tmp_path, "", "    def reconstruct(self, smashed):\n        return smashed"
    )
    record = run_open(tmp_path, attack, target=str(target))
    assert record.status == "ok", record.reason
    assert record.victims is not None
    assert record.victims.training is not None
    worse, better = record.victims.held_out, record.victims.training
    if hides == "not self.training":
        worse, better = better, worse
    assert (worse.skill.mse or 0) > 0.99
    assert (better.skill.mse or 0) < 0
    if "lpips-unavailable" not in record.flags:
        assert record.leakage is not None
        assert record.leakage.value == worse.leakage.mean == pytest.approx(1)
        assert better.leakage.mean == 0


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"attack": "fhsa"}, UsageError, "did you mean 'fsha'"),
        ({"defense": "dkor"}, UsageError, "did you mean 'dcor'"),
        ({"target": "resnt"}, UsageError, "did you mean 'resnet'"),
        ({"data": "retinamist"}, UsageError, "did you mean 'retinamnist'"),
        ({"profile": "quik"}, UsageError, "did you mean 'quick'"),
        ({"cut": 9}, UsageError, "cut 9 is out of range.*choose one of 0 to 8"),
        ({"attack": "fsha:iterations=many"}, UsageError, "'iterations' of attack 'fsha'"),
        ({"attack": "fsha:iteration=5"}, UsageError, "did you mean 'iterations'"),
        ({"parameters": {"training.epoch": 5}}, UsageError, "did you mean 'epochs'"),
        ({"parameters": {"attack.adra.epochs": 5}}, UsageError, "this run has no attack 'adra'"),
        ({"parameters": {"counts.private": 1}}, UsageError, "private"),
        ({"size": 4}, UsageError, "size: Input should be greater than or equal to 8"),
        ({"cut": "two"}, UsageError, "not a list of whole numbers"),
    ],
)
def test_bad_requests(tmp_path: Path, options: Any, error: type[Exception], says: str) -> None:
    request = {"attack": "fsha", "output": tmp_path / "out", **options}
    with pytest.raises(error, match=says):
        evaluate(request.pop("attack"), **request)
    assert not (tmp_path / "out").exists()


def test_a_plugin_in_a_file_is_set_by_its_plain_name(tmp_path: Path) -> None:
    file = tmp_path / "my_defense.py"
    file.write_text(
        "from splitsec import Defense, Parameters\n"
        "class Knob(Parameters):\n    turns: int = 1\n"
        "class Mine(Defense[Knob]):\n    Parameters = Knob\n"
    )
    for named in (str(file), f"{file}:Mine"):
        (cell,) = resolve(
            Request(attack="fsha", defense=named, settings=["defense.my-defense.turns=3"])
        )
        assert cell.spec.parameters["defense"] == {"turns": 3}


def test_data_that_fail_are_said_before_any_training(tmp_path: Path) -> None:
    cells = resolve(
        Request(attack="fsha", defense="none", data=f"retinamnist:path={tmp_path}/no.npz")
    )
    with pytest.raises(DataError, match="there is no"):
        next(run_cells(cells, tmp_path, Silent()))


def test_missing_lpips_is_a_flag_and_never_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLITSEC_LPIPS_WEIGHTS", str(tmp_path / "nowhere.pth"))
    record = run(tmp_path, attack_file(tmp_path, "public_images=True", MEAN), isolate=False)
    assert record.status == "ok", record.reason
    assert "lpips-unavailable" in record.flags
    assert record.leakage is not None
    assert record.leakage.value is None
    assert record.victims is not None
    assert record.victims.held_out.privacy.lpips is None
    assert record.notes


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    (cell,) = resolve(
        Request(
            attack=attack_file(tmp_path, "public_images=True", MEAN),
            defense="none",
            size=16,
            threads=1,
            settings=SETTINGS,
        )
    )
    with pytest.raises(SplitsecError, match="cannot write"):
        list(run_cells([cell], blocked, Silent()))


@pytest.mark.slow
def test_every_cut_has_the_same_utility_at_equal_seed(tmp_path: Path) -> None:
    losses = [
        run(tmp_path, "none", target="resnet:depth=18", cut=cut).history["training"]["loss"]
        for cut in (0, 3)
    ]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)


def test_the_best_epoch_needs_two_classes_among_the_validation_images(tmp_path: Path) -> None:
    record = run(tmp_path, "none", parameters={"training.keep": "best", "counts.validation": 1})
    assert record.status == "failed"
    assert record.reason is not None
    assert "training.keep=best chooses the epoch by the AUC on validation images" in record.reason


def test_a_record_that_was_changed_or_cut_short_is_run_again(tmp_path: Path) -> None:
    class Telling(Silent):
        said: ClassVar[list[str]] = []

        def message(self, text: str) -> None:
            self.said.append(text)

    def again(rerun: Rerun = "failed") -> Record:
        Telling.said.clear()
        (record,) = run_cells(cells, tmp_path, Telling(), rerun=rerun)
        return record

    asked: dict[str, Any] = {"target": "fsha-client", "cut": 1, "size": 16, "threads": 1}
    cells = resolve(Request(attack="none", defense="none", settings=SETTINGS, **asked))
    first = again()
    file = next(tmp_path.rglob("record.json"))
    assert again() == first == load_record(file)
    assert Telling.said == ["1 of 1 cells have a record, which is used"]
    whole = file.read_text()
    assert first.utility is not None
    accuracy = f'"accuracy": {first.utility.accuracy}'
    assert accuracy in whole
    for broken, said in (
        (whole.replace(accuracy, '"accuracy": 0.99', 1), "its seal does not fit"),
        (whole[: whole.index(accuracy)], "is not a splitsec record: Expecting"),
        (whole.replace(first.cell_id, "0" * 64), "its seal does not fit"),
        ("", "is not a splitsec record: Expecting"),
    ):
        file.write_text(broken)
        with pytest.raises(DataError, match=said):
            load_record(file)
        assert again().numbers() == first.numbers()
        assert said in Telling.said[0]
        assert load_record(file).numbers() == first.numbers()
    written = file.stat().st_mtime_ns
    assert again("all").numbers() == first.numbers()
    assert Telling.said == []
    assert file.stat().st_mtime_ns > written
    failed = load_record(file).model_copy(update={"status": "failed", "reason": "so"})
    write_record(file.parent, failed)
    assert again("never").reason == "so"
    assert again("failed").status == "ok"
