"""SplitGuard: false labels, the score of what comes back, and who may send such labels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from splitsec.errors import NotApplicable, SessionEnded
from splitsec.isolation import Isolation
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.progress import Silent
from splitsec.running.runs import evaluate, run_cells
from splitsec.shapes import Shape
from support.cells import COUNTS, tiny_cells

MAP = Shape(4, 2, 2)


def guard(**given: Any) -> Any:
    cls = load_plugin("defense", "splitguard").cls
    made = cls(build_parameters("defense 'splitguard'", cls.Parameters, given))
    made.begin(Shape(3, 8, 8), MAP, torch.Generator().manual_seed(0))
    return made


def session(defense: Any, batches: int, heeds: bool) -> list[tuple[bool, Tensor]]:
    """Let a server answer, with gradients that depend on the labels that it gets or do not."""
    drawn = torch.Generator().manual_seed(1)
    towards = torch.randn(3, *MAP, generator=drawn)
    seen = []
    for step in range(batches):
        labels = torch.randint(3, (24,), generator=drawn)
        labels[:3] = torch.arange(3)
        sent = defense.send_labels(labels, step)
        false = not torch.equal(sent, labels)
        noise = torch.randn(24, *MAP, generator=drawn)
        wrong = towards[sent] - towards[labels]  # an honest server's features are about right
        gradient = (0.2 * noise + 3 * wrong if heeds else noise) + 0.1
        seen.append((false, gradient))
        defense.receive(gradient, step, labels)
    return seen


def test_some_batches_have_false_labels_and_none_of_them_a_true_one() -> None:
    defense, labels, false = guard(share=0.25, first=10), torch.arange(12) % 3, 0
    for step in range(400):
        sent = defense.send_labels(labels, step)
        if torch.equal(sent, labels):
            continue
        false += 1
        assert step >= 10
        assert (sent != labels).all()
        assert set(sent.tolist()) == {0, 1, 2}
        assert sent.dtype == labels.dtype
    assert 0.15 * 390 < false < 0.35 * 390


def expected_score(seen: list[tuple[bool, Tensor]], groups: list[str]) -> float:
    """Return the score after all batches, by numpy."""
    found: dict[str, list[Any]] = {"false": [], "A": [], "B": []}
    for (_, gradient), group in zip(seen, groups, strict=True):
        if group:
            found[group].append(gradient.double().numpy().mean(0).ravel())
    means = {name: np.mean(values, axis=0) for name, values in found.items()}
    norms = {name: np.mean([np.linalg.norm(v) for v in vs]) for name, vs in found.items()}

    def angle(one: Any, other: Any) -> float:
        return math.acos(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    true, norm = (means["A"] + means["B"]) / 2, (norms["A"] + norms["B"]) / 2
    apart, usual = abs(norms["false"] - norm), abs(norms["A"] - norms["B"])
    x = angle(means["false"], true) * apart - angle(means["A"], means["B"]) * usual
    return (1 / (1 + math.exp(-5 * x / (apart + usual)))) ** 2


def test_the_score_is_that_of_the_paper() -> None:
    defense = guard(share=0.3, first=2, threshold=0)
    groups: list[str] = []
    for name, group in defense._groups.items():
        add = group.add
        group.add = lambda gradient, add=add, name=name: (groups.append(name), add(gradient))
    seen = session(defense, 40, heeds=True)
    while seen[-1][0] is False or groups[-1] != "false":  # the last score is of a false batch
        seen.pop()
        groups.pop()
    told = [""] * (len(seen) - len(groups)) + groups
    assert defense.scores[-1] == pytest.approx(expected_score(seen, told), rel=1e-5)


def test_a_server_that_does_not_look_at_labels_is_found() -> None:
    with pytest.raises(SessionEnded, match="the server answers false labels like true ones"):
        session(guard(), 400, heeds=False)
    honest = guard()
    session(honest, 400, heeds=True)
    assert min(honest.scores) > 0.9


def test_false_labels_train_nothing() -> None:
    defense, labels = guard(share=0.99, first=0), torch.arange(6) % 3
    assert not torch.equal(defense.send_labels(labels, 0), labels)
    assert defense.receive(torch.ones(6, *MAP), 0, labels).abs().max() == 0


def test_where_there_are_no_classes_to_send() -> None:
    with pytest.raises(NotApplicable, match="these labels are masks"):
        guard().send_labels(torch.ones(4, 1, 8, 8), 0)
    with pytest.raises(NotApplicable, match="these clients keep theirs"):
        guard().receive(torch.ones(4, *MAP), 0, torch.arange(4))


@pytest.mark.parametrize("isolation", [None, Isolation(attacks="all")])
def test_false_labels_reach_the_server(isolation: Isolation | None, tmp_path: Path) -> None:
    defense = "splitguard:share=0.5,first=1,threshold=0"
    settings = ("training.epochs=4",)
    cells = tiny_cells("transport", defense, isolation, *settings)
    (record,) = run_cells(cells, tmp_path / "a", Silent())
    assert record.status == "ok", record.reason
    (bare,) = run_cells(tiny_cells("transport", "none", None, *settings), tmp_path / "b", Silent())
    assert record.history["training"]["loss"][0] == bare.history["training"]["loss"][0]
    assert max(record.history["training"]["loss"]) > max(bare.history["training"]["loss"])


STRANGER = '''"""Sends labels that its images do not have."""
from splitsec import Defense, Parameters

class Liar(Defense[Parameters]):
    fakes_labels = True
    def send_labels(self, labels, step):
        return 1 - labels
'''
WRONG = STRANGER.replace("1 - labels", "labels.float()")


@pytest.mark.parametrize(
    ("code", "isolate", "says"),
    [
        (STRANGER, None, "it sent other labels than its images have"),
        (STRANGER, False, None),
        (
            WRONG,
            False,
            "in send_labels() gave torch.float32 (16,); expected labels like",
        ),
    ],
)
def test_a_stranger_in_the_clients_process_sends_true_labels(
    code: str, isolate: bool | None, says: str | None, tmp_path: Path
) -> None:
    (tmp_path / "liar.py").write_text(code)
    record = evaluate(
        attack="none",
        defense=str(tmp_path / "liar.py"),
        target="fsha-client",
        cut=1,
        size=16,
        threads=1,
        isolate=isolate,
        parameters=dict(one.split("=") for one in COUNTS),
    )
    assert record.status == ("ok" if says is None else "failed")
    assert says is None or says in str(record.reason)
