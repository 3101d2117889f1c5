"""An attack that declares labels has those of training victims when it reconstructs, no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from splitsec.cells.cell import Cell
from splitsec.cells.choosing_victims import choose_training_victims
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import load_data
from splitsec.isolation import Isolation
from splitsec.progress import Silent
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from support.cells import COUNTS

NOSY = '''
"""Reports the labels that it is shown: of held-out victims first, then of training victims."""
import torch
from splitsec import Attack, Hijacking, ThreatModel

class Nosy(Attack):
    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel(labels={labels}, active={active}, listens={listens})

    def __init__(self, parameters, view, generator):
        super().__init__(parameters, view, generator)
        self.shown = []
        self.sent = []
        self.early = [1.0] if {labels} and view.labels is not None else [0.0]

    def hijacking(self):
        return [Hijacking(exchanges=4), Hijacking(exchanges=4)]

    def answer(self, message):
        return torch.zeros_like(message.smashed)

    def reconstruct(self, smashed):
        labels = self.view.labels
        assert labels is None or len(labels) == len(smashed)
        self.shown.append([-1.0] if labels is None else labels.double().tolist())
        self.sent.append(float(self.view.in_training))
        return torch.zeros(len(smashed), *self.view.image_shape)

    def curves(self):
        return {{"held out": self.shown[0], "training": self.shown[-1], "early": self.early,
                "sent in training": self.sent}}
'''


def ran(
    folder: Path, isolated: bool, target: str = "fsha-client", **declared: bool
) -> tuple[Cell, Record]:
    """Run a tiny cell of an attack that reports the labels that it was shown."""
    text = {"labels": True, "active": False, "listens": False, **declared}
    (folder / "nosy.py").write_text(NOSY.format(**text))
    (cell,) = resolve(
        Request(
            attack=str(folder / "nosy.py"),
            target=target,
            cut=1,
            size=[16],
            threads=1,
            clients=2,
            settings=[*COUNTS, "training.batch_size=4"],
        ),
        Isolation() if isolated else None,
    )
    (record,) = run_cells([cell], folder / "results", Silent())
    return cell, record


def labels_of_victims(cell: Cell) -> list[float]:
    data = load_data(cell.data_spec(), Silent())
    victims = choose_training_victims(data, cell.spec.victims)
    labels = [data.private[client].targets([row]) for client, row in victims]
    return torch.cat(labels).double().tolist()


APART = pytest.param(True, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("declared", "isolated"),
    [
        ({}, False),
        pytest.param({}, True, marks=pytest.mark.slow),
        ({"active": True}, False),
        pytest.param({"active": True}, True, marks=pytest.mark.slow),
        ({"active": True, "listens": True}, False),
        pytest.param({"active": True, "listens": True}, True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_those_of_training_victims_are_shown_and_no_others(
    declared: dict[str, bool], isolated: bool, tmp_path: Path
) -> None:
    cell, record = ran(tmp_path, isolated, **declared)
    assert record.status == "ok", record.reason
    shown = record.history["attack"]
    assert shown["training"] == labels_of_victims(cell)
    assert len(set(shown["training"])) == 2, "a batch of one label alone would show little"
    assert (shown["held out"], shown["early"]) == ([-1.0], [0.0])
    assert shown["sent in training"][0] == 0
    assert shown["sent in training"][-1] == 1


@pytest.mark.parametrize("isolated", [False, APART])
def test_none_are_shown_where_clients_keep_them(isolated: bool, tmp_path: Path) -> None:
    _, record = ran(tmp_path, isolated, target="resnet:depth=18,labels=private")
    assert record.status == "ok", record.reason
    assert record.history["attack"]["training"] == [-1.0]
    assert record.labels is not None, "they are predicted instead"
    assert set(record.labels.training) == {"reconstructions", "feature_gradient"}
    assert record.folder is not None
    assert load_record(record.folder).labels == record.labels


@pytest.mark.parametrize("isolated", [False, APART])
def test_none_are_shown_to_an_attack_that_does_not_declare_them(
    isolated: bool, tmp_path: Path
) -> None:
    _, record = ran(tmp_path, isolated, labels=False)
    assert record.status == "failed"
    assert "asked for 'labels', which its threat model does not declare" in str(record.reason)
