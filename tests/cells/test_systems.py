"""Every attack and defense on every kind of target, and cells that share their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from splitsec.cells.private_side import PrivateSide
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import UsageError
from splitsec.metrics.utility import overlap, segmentation_utility
from splitsec.metrics.victims import References
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import evaluate, run_cells

TINY = [
    "training.epochs=1",
    "counts.private=32",
    "counts.public=16",
    "counts.validation=8",
    "counts.held_out=12",
    "counts.victims=6",
]
QUICK_ATTACKS = (
    "adra:epochs=1,queries=40,adra:epochs=1,pairs=private,pseudo-client:epochs=1,afterwards=1,"
    "fsha:iterations=2,pretraining=1,image_steps=1"
)
TARGETS = {
    "resnet": "resnet:depth=18",
    "resnet-private": "resnet:depth=18,labels=private",
    "unet": "unet:width=4",
}
CLIENT: dict[str, Any] = {"target": "fsha-client", "cut": 1}
"""The cheapest target."""

QUICK_PAIRS = {
    ("proxy-adversary", "unet"),
    ("gaussian-noise", "resnet-private"),
}
"""A mask and labels that stay with the client; the other pairs are slow."""


def run(tmp_path: Path, settings: list[str] | None = None, **request: Any) -> list[Record]:
    request = {"defense": "none", "size": 16, "threads": 1, **request}
    cells = resolve(Request(settings=[*TINY, *(settings or [])], **request))
    return list(run_cells(cells, tmp_path / "out", Silent()))


@pytest.mark.parametrize(
    ("defense", "target"),
    [
        pytest.param(
            defense,
            target,
            id=f"{defense}-{name}",
            marks=() if (defense, name) in QUICK_PAIRS else pytest.mark.slow,
        )
        for defense in ("none", "dcor", "proxy-adversary", "gaussian-noise")
        for name, target in TARGETS.items()
    ],
)
def test_all_attacks_and_defenses_run_on_every_target(
    tmp_path: Path, target: str, defense: str
) -> None:
    records = run(tmp_path, attack=QUICK_ATTACKS, defense=defense, target=target)
    assert [(record.status, record.reason) for record in records] == [("ok", None)] * 4
    for record in records:
        assert record.victims is not None
        assert ("randomised-defense" in record.flags) == (defense == "gaussian-noise")
    public, private, pseudo, active = records
    assert public.access is not None
    assert private.access is not None
    assert pseudo.access is not None
    assert public.access.queries == 40
    assert private.access.pairs == 32
    assert (pseudo.access.queries, pseudo.access.pairs) == (0, 0)
    assert {"oracle-access"} <= {*public.flags} & {*private.flags}
    assert "oracle-access" not in {*pseudo.flags, *active.flags}
    assert private.victims is not None
    assert private.victims.training is None, "an oracle's pairs are never scored"


def test_cells_that_differ_in_their_attack_share_one_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = []
    honest = PrivateSide.honest

    def counted(self: PrivateSide, *arguments: Any, **options: Any) -> Any:
        sessions.append(self.cell.spec.defense)
        return honest(self, *arguments, **options)

    monkeypatch.setattr(PrivateSide, "honest", counted)
    attacks = "none,adra:epochs=1,queries=20"
    run(tmp_path, attack=attacks, defense="none,dcor", **CLIENT)
    assert sorted(sessions) == ["dcor", "none"]


def test_what_attackers_that_see_nothing_reach_is_measured_once_in_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    on = References.on

    def counted(self: References, *arguments: Any) -> Any:
        measured.append(self)
        return on(self, *arguments)

    monkeypatch.setattr(References, "on", counted)
    records = run(tmp_path, attack="adra:epochs=1,queries=20,adra:epochs=2,queries=20", **CLIENT)
    assert len({record.cell_id for record in records}) == 2
    assert len(measured) == 2, "held-out images and training victims, for both attacks"


@pytest.mark.slow
def test_a_shared_training_changes_no_number(tmp_path: Path) -> None:
    """Noise is the hard case: what one attack queries must not shift another's victims."""
    request: dict[str, Any] = {"defense": "gaussian-noise", **CLIENT}
    attacks = (
        "adra:epochs=1,queries=20,pseudo-client:epochs=1,afterwards=1,"
        "fsha:iterations=2,image_steps=5,pretraining=0"
    )
    together = run(tmp_path / "together", attack=attacks, **request)
    for record in together:
        attack, values = record.spec.attack, record.spec.parameters["attack"]
        settings = [
            f"attack.{attack}.{name}={value}" for name, value in values.items() if value is not None
        ]
        (alone,) = run(tmp_path / "alone", settings, attack=attack, **request)
        assert alone.cell_id == record.cell_id
        assert alone.numbers() == record.numbers()


def test_an_attack_that_fails_while_it_listens_fails_alone(tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from splitsec import Attack, ThreatModel\n"
        "class Broken(Attack):\n"
        "    @classmethod\n    def threat_model(cls, parameters):\n        return ThreatModel()\n"
        "    def observe(self, exchange):\n        raise KeyError('listening')\n"
        "    def reconstruct(self, smashed):\n        return smashed\n"
    )
    records = run(tmp_path, attack=f"{plugin},adra:epochs=1,queries=20", **CLIENT)
    assert [record.status for record in records] == ["failed", "ok"]
    assert "raised KeyError in observe()" in (records[0].reason or "")


def test_no_attack_measures_utility_alone(tmp_path: Path) -> None:
    (record,) = run(tmp_path, ["training.epochs=3"], attack="none", target=TARGETS["unet"])
    assert record.status == "ok", record.reason
    assert record.victims is None
    assert record.leakage is None
    assert record.utility is not None
    assert record.utility.jaccard is not None
    training = record.history["training"]
    assert len(training["loss"]) == 3 * 4
    for name in ("jaccard", "dice", "accuracy"):
        assert len(training[f"validation {name}"]) == 3
    assert {"honest training", "validation", "test"} <= set(record.timings)


def test_the_best_epoch_by_validation_is_kept(tmp_path: Path) -> None:
    settings = ["training.epochs=4", "training.learning_rate=0.05"]
    request: dict[str, Any] = {"attack": "none", "target": TARGETS["unet"]}
    (last,) = run(tmp_path / "last", settings, **request)
    (best,) = run(tmp_path / "best", [*settings, "training.keep=best"], **request)
    curve = last.history["training"]["validation jaccard"]
    assert best.history["training"]["validation jaccard"] == curve
    assert last.utility is not None
    assert best.utility is not None
    if max(curve) != curve[-1]:
        assert best.utility.jaccard != last.utility.jaccard


def test_several_clients_have_figures_of_their_own(tmp_path: Path) -> None:
    (record,) = run(tmp_path, attack="adra:epochs=1,queries=20", clients=3, **CLIENT)
    assert record.status == "ok", record.reason
    assert record.utility is not None
    assert len(record.utility.clients) == 3
    pooled = sum(client["accuracy"] for client in record.utility.clients) / 3
    assert pooled == pytest.approx(record.utility.accuracy)
    assert record.leakage is not None
    if "lpips-unavailable" not in record.flags:
        assert record.leakage.clients is not None
        assert len(record.leakage.clients) == 3


@pytest.mark.slow
def test_queries_invert_an_undefended_client(tmp_path: Path) -> None:
    record = evaluate(
        "adra:epochs=12,queries=1000",
        target="resnet:depth=18",
        threads=1,
        output=tmp_path,
        parameters={"training.epochs": 1},
    )
    assert record.victims is not None
    assert (record.victims.held_out.skill.mse or 0) > 0.8
    assert record.victims.held_out.privacy.identification.structure > 0.8


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"attack": "fsha", "target": "unet", "data": "retinamnist"}, "labelled for classif"),
        ({"attack": "fsha", "target": "resnet", "data": "phantom-cxr"}, "labelled for segment"),
        ({"attack": "fsha", "target": "unet", "cut": 5}, "cut 5 is out of range"),
        ({"attack": "fsha", "target": "unet:depth=2", "cut": 3}, "leaves nothing to the server"),
        (
            {"attack": "fsha", "target": "resnet:labels=private", "cut": 8},
            "leaves nothing to the server",
        ),
        ({"attack": "adra:pairs=stolen"}, "'pairs' of attack 'adra'"),
        ({"attack": "fsha", "clients": 30}, "30 clients need 60 private images"),
    ],
)
def test_requests_that_make_no_sense(tmp_path: Path, request_: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run(tmp_path, **request_)


def test_overlap_of_masks() -> None:
    masks = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    masks[0, 0, :2] = True
    masks[1, 0, :, :2] = True
    predicted = torch.zeros_like(masks)
    predicted[0, 0, :2] = True
    predicted[1, 0, :2] = True
    both = overlap(predicted.numpy(), masks.numpy())
    assert both.jaccard.tolist() == [1.0, 4 / 12, 1.0]
    assert both.dice.tolist() == [1.0, 0.5, 1.0]
    assert both.accuracy.tolist() == [1.0, 0.5, 1.0]
    scores = segmentation_utility(predicted.numpy(), masks.numpy(), masks[0].numpy())
    assert scores.jaccard == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert scores.trivial_jaccard == pytest.approx((1 + 1 / 3 + 0) / 3)
    low, high = scores.jaccard_interval
    assert low < scores.jaccard < high


@pytest.mark.slow
def test_releasing_in_evaluation_changes_no_state_of_the_defense(tmp_path: Path) -> None:
    """A defense that counts its releases counts those of the session alone."""
    defense = tmp_path / "counting.py"
    defense.write_text(
        "from splitsec import Defense\n"
        "class Counting(Defense):\n"
        "    count = 0\n"
        "    def release(self, images, smashed):\n"
        "        self.count += 1\n"
        "        return smashed * (1 + self.count)\n"
    )
    request: dict[str, Any] = {"defense": str(defense), **CLIENT}
    (one,) = run(
        tmp_path / "1", ["training.epochs=2"], attack="adra:epochs=1,queries=20", **request
    )
    (alone,) = run(tmp_path / "2", ["training.epochs=2"], attack="none", **request)
    assert one.utility == alone.utility
    assert one.history["training"] == alone.history["training"]


def test_two_classes_of_one_file_are_not_one_cell(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text(
        "from splitsec import Defense\nclass A(Defense):\n    pass\nclass B(Defense):\n    pass\n"
    )
    with pytest.raises(UsageError, match=r"is two things, A of .* and B of"):
        resolve(Request(attack="none", defense=f"{file}:A,{file}:B"))
    cells = [resolve(Request(attack="none", defense=f"{file}:{name}"))[0] for name in "AB"]
    assert cells[0].session_key() != cells[1].session_key()
    assert cells[0].cell_id("x") != cells[1].cell_id("x")


def test_each_attack_that_cannot_be_built_has_its_own_reason(tmp_path: Path) -> None:
    records = run(tmp_path, ["counts.public=0"], attack="fsha,pseudo-client,none", **CLIENT)
    assert [record.status for record in records] == ["failed", "failed", "ok"]
    assert "attack 'fsha' needs public images" in (records[0].reason or "")
    assert "attack 'pseudo-client' needs public images" in (records[1].reason or "")
    assert records[0].utility is None
