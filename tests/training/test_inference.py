"""A model that is used as it is: nothing is trained, and no label or gradient crosses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from splitsec.cells.private_side import PrivateSide
from splitsec.data.loading import load_data
from splitsec.plugins.messages import Exchange
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import evaluate
from support.cells import FEW, tiny_cells

INFERENCE = "training.mode=inference"


class Listener:
    """Keeps what crosses."""

    def __init__(self) -> None:
        self.heard: list[Exchange] = []

    def __call__(self, exchange: Exchange) -> None:
        self.heard.append(exchange)


def session(monkeypatch: pytest.MonkeyPatch, *settings: str, target: str = "") -> Any:
    (cell,) = tiny_cells("none", "none", None, INFERENCE, *settings)
    side = PrivateSide(cell, load_data(cell.data_spec(), Silent()))
    heard = Listener()
    from splitsec.training import wire

    kept = wire.Wire.__init__

    def listening(self: Any, server: Any, listeners: Any = (), **more: Any) -> None:
        kept(self, server, [*listeners, (heard, wire._HONEST)], **more)

    monkeypatch.setattr(wire.Wire, "__init__", listening)
    before = {name: one.clone() for name, one in side.model().client.state_dict().items()}
    trained = side.honest(Silent())
    return before, trained, heard.heard, side


def test_nothing_is_trained_and_no_label_or_gradient_crosses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, trained, heard, side = session(monkeypatch)
    after = trained.model.client.state_dict()
    assert all(torch.equal(after[name], one) for name, one in before.items())
    assert len(heard) == 2, "16 images in batches of 8, once"
    assert all(one.message.labels is None for one in heard)
    assert all(not one.gradient.any() for one in heard)
    assert trained.losses == []
    assert trained.traffic.labels == {}
    assert set(trained.traffic.sent) == set(side.victims)


def test_what_is_sent_is_what_the_client_sends_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    _, trained, _, side = session(monkeypatch)
    client, row = side.victims[0]
    images = side.data.private[client].batch([row])
    sent = trained.traffic.sent[client, row]
    assert torch.allclose(sent, trained.release(images, "again")[0], atol=1e-6)


def run(folder: Path, attack: str, defense: str = "none", **options: Any) -> Record:
    parameters = {"training.mode": "inference", **FEW, **options.pop("parameters", {})}
    usual = {"target": "fsha-client", "cut": 1, "size": 16, "threads": 1, "output": folder}
    return evaluate(attack, defense, parameters=parameters, **{**usual, **options})


def test_a_malicious_server_has_nothing_to_steer(tmp_path: Path) -> None:
    record = run(tmp_path, "fsha", isolate=False)
    assert record.status == "skipped"
    assert record.reason is not None
    assert "nothing is trained here (training.mode=inference)" in record.reason


@pytest.mark.parametrize(
    ("defense", "status"),
    [("dcor", "skipped"), ("proxy-adversary", "skipped"), ("gaussian-noise", "ok")],
)
def test_a_defense_of_the_training_alone_does_not_apply(
    defense: str, status: str, tmp_path: Path
) -> None:
    record = run(tmp_path, "none", defense=defense, isolate=False)
    assert record.status == status, record.reason
    assert status == "ok" or "changes the training and not what is sent" in str(record.reason)


@pytest.mark.slow
def test_isolated_clients_give_the_same_numbers(tmp_path: Path) -> None:
    records = [run(tmp_path / str(apart), "transport", isolate=apart) for apart in (False, True)]
    assert [one.status for one in records] == ["ok", "ok"], [one.reason for one in records]
    here, apart = records
    assert here.provenance.isolation != apart.provenance.isolation
    assert here.victims == apart.victims
    assert here.utility == apart.utility
    assert here.labels == apart.labels


def test_the_record_says_that_the_server_knows_the_answers(tmp_path: Path) -> None:
    record = run(tmp_path, "transport", isolate=False)
    assert record.status == "ok", record.reason
    assert "labels-shared" not in record.flags
    assert record.session["labels"] == "private"
    assert record.labels is not None
    assert "outputs" in record.labels.held_out
    assert record.utility is not None
    assert record.labels.held_out["outputs"].score == pytest.approx(record.utility.auc)


@pytest.mark.parametrize("target", ["resnet:labels=private,depth=18", "unet:width=4"])
@pytest.mark.slow
def test_a_client_that_keeps_the_end_is_used_as_it_is_too(target: str, tmp_path: Path) -> None:
    data = "phantom-cxr" if target.startswith("unet") else "phantom-fundus"
    record = run(tmp_path, "transport", target=target, data=data, cut=2, size=32, isolate=False)
    assert record.status == "ok", record.reason
    assert record.labels is None or "feature_gradient" not in record.labels.training
