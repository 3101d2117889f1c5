"""SplitOut: the outlier factor, the client's own training, and when a session ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.defenses.splitout import outlier_factor
from splitsec.errors import NotApplicable, SessionEnded
from splitsec.isolation import Isolation
from splitsec.plugins.defense import Untrained
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.plugins.target import SplitModel
from splitsec.progress import Silent
from splitsec.running.runs import run_cells
from splitsec.shapes import Shape
from support.cells import tiny_cells

IMAGE, MAP = Shape(3, 8, 8), Shape(4, 4, 4)
OF_SCIKIT_LEARN = (  # 1.9.1, LocalOutlierFactor(n_neighbors=4, novelty=True)
    ((0.5, 0.5), 0.947714881019112),
    ((6.0, 6.0), 1.803476779792529),
    ((-2.0, 9.0), 2.2760205311814325),
)


def split() -> SplitModel:
    client = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh())
    return SplitModel(client, nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))


def with_head() -> SplitModel:
    client, server, _ = split()
    return SplitModel(client, server, nn.Linear(2, 2))


def splitout(make: Callable[[], SplitModel] | None = split, **given: Any) -> Any:
    cls = load_plugin("defense", "splitout").cls
    made = cls(build_parameters("defense 'splitout'", cls.Parameters, {"first": 0, **given}))
    made.untrained = None if make is None else Untrained(make, F.cross_entropy)
    made.begin(IMAGE, MAP, torch.Generator().manual_seed(0))
    return made


def session(defense: Any, batches: int, answer: Callable[[Tensor], Tensor]) -> None:
    """Train a model of other weights, whose server's answers are changed."""
    client, server, _ = model = Untrained(split, F.cross_entropy).model(seed=1)
    optimizer = torch.optim.Adam([*client.parameters(), *server.parameters()], lr=1e-3)
    drawn = torch.Generator().manual_seed(2)
    assert isinstance(model, SplitModel)
    for step in range(batches):
        labels = torch.arange(16) % 2
        images = torch.rand(16, *IMAGE, generator=drawn) * (0.5 + 0.5 * labels)[:, None, None, None]
        smashed = client(images)
        sent = smashed.detach().requires_grad_()
        optimizer.zero_grad()
        F.cross_entropy(server(sent), labels).backward()
        smashed.backward(defense.receive(answer(sent.grad), step, labels))
        assert defense.penalty(images, smashed, labels) is None
        optimizer.step()


@pytest.mark.parametrize(("new", "factor"), OF_SCIKIT_LEARN)
def test_the_factor_is_that_of_scikit_learn(new: tuple[float, float], factor: float) -> None:
    honest = torch.tensor([(0, 0), (1, 0), (0, 2), (3, 3), (1, 1)], dtype=torch.double)
    found = outlier_factor(honest, torch.tensor(new, dtype=torch.double))
    assert found == pytest.approx(factor, rel=1e-9)


def test_equal_gradients_have_a_factor() -> None:
    same = torch.zeros(5, 3, dtype=torch.double)
    assert outlier_factor(same, same[0]) == pytest.approx(1)
    assert outlier_factor(same, same[0] + 1) > 1e6


def test_an_honest_server_goes_on_and_every_gradient_is_judged() -> None:
    defense = splitout(images=32)
    session(defense, 40, lambda gradient: gradient)
    assert defense.steps == list(range(40))
    assert max(defense.scores) < 1.5


def test_the_first_gradients_count_on_neither_side() -> None:
    early, late = splitout(images=32, steps=9), splitout(images=32, first=5, steps=4)
    for each in (early, late):
        session(each, 12, lambda gradient: gradient)
    assert late.steps == list(range(5, 12))
    assert torch.equal(late._honest, early._honest[5:])


@pytest.mark.parametrize("answer", [lambda g: 30 * g, lambda g: g + 0.1, lambda g: -30 * g])
def test_other_gradients_end_the_session(answer: Callable[[Tensor], Tensor]) -> None:
    defense = splitout(images=32, window=7)
    with pytest.raises(SessionEnded, match="more than half of the last 7 have an outlier factor"):
        session(defense, 40, answer)
    assert defense.steps == list(range(7))


def test_most_of_the_window_must_be_outliers() -> None:
    defense, count = splitout(images=32, window=10), iter(range(100))
    session(defense, 60, lambda gradient: gradient * (30 if next(count) % 2 else 1))
    assert defense.steps == list(range(60))
    assert 25 <= sum(one > 1.5 for one in defense.scores) <= 30


def test_the_copy_trains_on_so_many_images_for_so_many_steps() -> None:
    defense = splitout(images=40, steps=6)
    session(defense, 5, lambda gradient: gradient)
    assert defense._honest.shape == (6, 64)
    assert defense._batches == []


def test_equal_seeds_give_equal_scores() -> None:
    one, two = splitout(images=32), splitout(images=32)
    for each in (one, two):
        session(each, 12, lambda gradient: gradient)
    assert one.scores == two.scores


def test_a_model_with_a_head_at_the_client_is_trained_with_it() -> None:
    defense = splitout(with_head, images=16, steps=4)
    session(defense, 3, lambda gradient: gradient)
    assert defense._honest.shape == (4, 64)


def test_without_a_model_or_labels() -> None:
    defense, images = splitout(None), torch.rand(16, *IMAGE)
    smashed, labels = torch.rand(16, *MAP), torch.arange(16) % 2
    assert defense.penalty(images, smashed, labels) is None  # an attacker's copy sees no gradient
    defense.receive(smashed, 0, labels)
    assert defense.penalty(images, smashed, None) is None
    with pytest.raises(NotApplicable, match="trains a copy of the model, and there is none"):
        defense.penalty(images, smashed, labels)


@pytest.mark.parametrize("isolation", [None, Isolation(attacks="all")])
@pytest.mark.parametrize("defense", ["splitout:threshold=1e9", "clip+splitout:threshold=1e9"])
def test_in_a_session_it_only_looks(
    defense: str, isolation: Isolation | None, tmp_path: Path
) -> None:
    settings = ("training.epochs=10",)
    given = defense.replace("splitout:", "splitout:images=10,first=2,steps=3,")
    (seen,) = run_cells(
        tiny_cells("transport", given, isolation, *settings), tmp_path / "a", Silent()
    )
    assert seen.status == "ok", seen.reason
    other = "clip" if "clip" in defense else "none"
    (bare,) = run_cells(tiny_cells("transport", other, None, *settings), tmp_path / "b", Silent())
    assert seen.history["training"]["loss"] == bare.history["training"]["loss"]


def test_a_false_alarm_in_a_session_is_flagged(tmp_path: Path) -> None:
    defense = "splitout:images=8,first=0,steps=3,threshold=1,window=1"
    cells = tiny_cells("none", defense, None, "training.epochs=10")
    (record,) = run_cells(cells, tmp_path, Silent())
    assert "honest-session-ended" in record.flags
    assert "unlike those of the task" in record.session["honest_ended"]
