"""A malicious server that trains the task, before it hijacks or beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from splitsec.attacks.fsha import Fsha, FshaParameters
from splitsec.attacks.fsha.task import Task, mixed
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import NotApplicable
from splitsec.plugins.messages import Message
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from support.cells import COUNTS


def test_it_answers_as_an_honest_server_does() -> None:
    network, smashed = nn.Linear(6, 3), torch.randn(8, 6)
    labels = torch.arange(8) % 3
    watched = smashed.clone().requires_grad_()
    (due,) = torch.autograd.grad(F.cross_entropy(network(watched), labels), watched)
    task = Task(network, F.cross_entropy, 0.05)
    torch.testing.assert_close(task.answer(Message(smashed, labels, 0, 0)), due)
    first = task.loss
    for step in range(30):
        task.answer(Message(smashed, labels, 0, step))
    assert task.loss < 0.7 * first


def test_clients_that_keep_their_labels_send_a_gradient_instead() -> None:
    network, message = nn.Linear(6, 3), Message(torch.randn(8, 6), None, 0, 0)
    before = network.weight.detach().clone()
    task = Task(network, F.cross_entropy, 0.05)
    features, sent = task.features(message), torch.randn(8, 3)
    assert not features.requires_grad
    answer = task.answer(message._replace(feature_gradient=sent))
    torch.testing.assert_close(answer, sent @ before)
    assert task.loss is None
    assert not torch.equal(network.weight, before)


def test_neither_is_there() -> None:
    task = Task(nn.Linear(6, 3), F.cross_entropy, 0.05)
    with pytest.raises(NotApplicable, match="share no labels"):
        task.answer(Message(torch.randn(8, 6), None, 0, 0))


@pytest.mark.parametrize(("share", "length"), [(0.0, 0.0), (0.5, 2.0), (3.0, 12.0)])
def test_the_task_has_its_share(share: float, length: float) -> None:
    gradient, honest = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, -7.0]])
    assert mixed(gradient, honest, share).tolist() == [[4.0, -length]]
    assert mixed(torch.zeros(1, 2), honest, share) is honest
    assert torch.equal(mixed(gradient, torch.zeros(1, 2), share), gradient)


def test_only_who_trains_the_task_sees_labels() -> None:
    assert not Fsha.threat_model(FshaParameters()).labels
    assert Fsha.threat_model(FshaParameters(honest=1)).labels
    assert Fsha.threat_model(FshaParameters(task=0.1)).labels


def run(folder: Path, **asked: object) -> Record:
    request = Request(size=16, threads=1, settings=COUNTS, **asked)
    (record,) = run_cells(resolve(request), folder, Silent())
    assert record.status == "ok", record.reason
    return record


@pytest.mark.slow
@pytest.mark.parametrize("cut", [4, 1])
def test_who_only_behaves_trains_the_task(cut: int, tmp_path: Path) -> None:
    asked = {"target": "fsha-client", "cut": cut, "data": "phantom-fundus"}
    settings = "iterations=21,honest=21,image_steps=2,pretraining=1,task_lr=0.01"
    record = run(tmp_path, attack=f"fsha:{settings}", **asked)
    losses = record.history["attack"]["task loss"]
    assert len(losses) == 3
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_a_client_that_keeps_its_labels_is_hijacked_alike(tmp_path: Path) -> None:
    attack = "fsha:iterations=12,honest=4,task=0.5,image_steps=5,pretraining=1"
    record = run(tmp_path, attack=attack, target="unet:width=4", cut=1, data="phantom-cxr")
    assert "task loss" not in record.history["attack"]
