"""Transport: alignment of two populations without a pair, and the attack of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import support.vectors
from splitsec.attacks.transport import Transport
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.toolbox.transport import TransportParameters, Unpaired, plan
from splitsec.plugins.view import View
from splitsec.progress import Silent
from splitsec.randomness import seeded_global_generator
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from splitsec.state import put_back, take

QUICK = TransportParameters(rounds=12, components=12, starts=2)
SMALL = [
    "training.epochs=1",
    "counts.private=64",
    "counts.public=64",
    "counts.validation=16",
    "counts.held_out=24",
    "counts.victims=24",
    "attack.transport.rounds=20",
    "attack.transport.starts=1",
]
VECTORS = str(Path(support.vectors.__file__))


def images(count: int, seed: int) -> Tensor:
    """Return smooth images (count, 1, 8, 8) that differ most in a skewed brightness."""
    generator = torch.Generator().manual_seed(seed)
    brightness = torch.rand(count, 1, 1, 1, generator=generator) ** 3
    slope = torch.linspace(0, 1, 8).view(1, 1, 8, 1) * torch.rand(
        count, 1, 1, 1, generator=generator
    )
    return 0.6 * brightness + 0.3 * slope + 0.05 * torch.rand(count, 1, 8, 8, generator=generator)


def skill(made: Tensor, true: Tensor, own: Tensor) -> float:
    """Return the skill of reconstructions over the mean of the attacker's own images."""
    blind = (true - own.mean(0)).square().mean()
    return (1 - (made - true).square().mean() / blind).item()


def convolved(pictures: Tensor) -> Tensor:
    """Return smashed data of a random convolution."""
    with seeded_global_generator("convolution", {}), torch.no_grad():
        smashed: Tensor = nn.Conv2d(1, 6, 4, 2, 1)(pictures)
    return smashed


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_aligns_what_has_no_pair(seed: int) -> None:
    private, own = images(150, seed), images(150, seed + 100)
    generator = torch.Generator().manual_seed(seed)
    sent = convolved(private)
    found = Unpaired(sent, own).align(QUICK, generator)
    assert skill(found.reconstruct(sent), private, own) > 0.5
    later = images(50, seed + 200)
    assert skill(found.reconstruct(convolved(later)), later, own) > 0.5


def test_unrelated_smashed_data_tell_nothing() -> None:
    private, own = images(150, 0), images(150, 1)
    generator = torch.Generator().manual_seed(0)
    sent = torch.randn(150, 6, 4, 4, generator=generator)
    found = Unpaired(sent, own).align(QUICK, generator)
    fresh = torch.randn(150, 6, 4, 4, generator=generator)
    assert skill(found.reconstruct(fresh), private, own) < 0.05


def test_labels_of_mirrored_classes_decide() -> None:
    """Two classes whose smashed data are each other's: only labels can tell them apart."""
    classes = torch.arange(200) % 2
    shown = torch.where(classes[:, None, None, None] > 0, 1 - images(200, 0), images(200, 0))
    own = torch.where(classes[:, None, None, None] > 0, 1 - images(200, 1), images(200, 1))
    sent = 1 - shown
    found = Unpaired(sent, own, (classes, classes)).align(QUICK, torch.Generator())
    assert skill(found.reconstruct(sent), shown, own) > 0.5


def test_a_class_without_images_is_compared_with_all() -> None:
    sent, own = images(40, 0), images(40, 1)
    labels = (torch.arange(40) % 3, torch.zeros(40, dtype=torch.long))
    made = Unpaired(sent, own, labels).align(QUICK, torch.Generator()).reconstruct(sent)
    assert torch.isfinite(made).all()


@pytest.mark.parametrize("shape", [(6, 4, 4), (5, 3, 7), (4, 1, 1), (9, 6), (20,)])
def test_constant_smashed_data_of_any_shape_give_the_mean(shape: tuple[int, ...]) -> None:
    own = images(30, 1)
    unpaired = Unpaired(torch.full((20, *shape), 2.0), own)
    made = unpaired.align(QUICK, torch.Generator()).reconstruct(torch.full((3, *shape), 2.0))
    assert made.shape == (3, 1, 8, 8)
    assert (made - own.mean(0)).abs().max() < 0.05


def test_a_plan_moves_everything() -> None:
    costs = torch.rand(5, 8, generator=torch.Generator().manual_seed(0)).double()
    moved = plan(costs, 0.1)
    assert torch.allclose(moved.sum(1), torch.full((5,), 1 / 5).double())
    assert torch.allclose(moved.sum(0), torch.full((8,), 1 / 8).double(), atol=1e-4)


def run(folder: Path, settings: list[str] | None = None, **asked: Any) -> Record:
    asked = {"defense": "none", "size": 16, "threads": 1, "attack": "transport", **asked}
    cells = resolve(Request(settings=[*SMALL, *(settings or [])], **asked))
    (record,) = run_cells(cells, folder / "out", Silent())
    return record


@pytest.mark.slow
def test_a_listening_server_needs_nothing_else(tmp_path: Path) -> None:
    record = run(tmp_path, target="resnet:depth=18")
    assert record.victims is not None and record.victims.training is not None, record.reason
    assert (record.victims.training.skill.mse or 0) > 0.2
    assert record.access is not None
    assert (record.access.queries, record.access.public_images) == (0, 64)
    assert "oracle-access" not in record.flags
    assert [one.measured_on for one in record.convergence] == ["cost of transport"]


def drifting(epoch: int) -> Tensor:
    """Return smashed data (150, 6, 4, 4) of a client whose output gets another distribution."""
    shown = images(150, 0)
    middle = shown.mean((0, 1, 2, 3))
    return convolved(middle + (shown - middle).sign() * (shown - middle).abs() ** (1 - epoch / 10))


def listener(**given: Any) -> Transport:
    view = SimpleNamespace(
        public_images=images(150, 100),
        exchanges_per_epoch=2,
        task="segmentation",
        in_training=True,
        server_architecture=nn.Identity(),
        part_of_no_state=True,
    )
    parameters = Transport.Parameters(rounds=12, components=12, starts=2, **given)
    return Transport(parameters, cast(View, view), torch.Generator().manual_seed(0))


def hear(attack: Transport, steps: range) -> None:
    for step in steps:
        epoch, half = divmod(step, 2)
        order = torch.randperm(150, generator=torch.Generator().manual_seed(epoch))
        message = Message(drifting(epoch)[order.chunk(2)[half]], None, 0, step)
        attack.observe(Exchange(message, torch.empty(0)))


def listen(epochs: int, **given: Any) -> float:
    """Return the skill of the attack on training victims of the last epoch."""
    attack = listener(**given)
    hear(attack, range(2 * epochs))
    attack.fit(Silent())
    made = attack.reconstruct(drifting(epochs - 1))
    return skill(made, images(150, 0), attack.view.public_images)


@pytest.mark.parametrize("killed", [1, 2, 3, 4, 7])
def test_it_goes_on_from_what_was_saved_in_any_epoch(killed: int) -> None:
    whole, again = listener(), listener()
    hear(whole, range(killed))
    put_back(again, take(whole, "the attack"))
    for one in (whole, again):
        hear(one, range(killed, 8))
        one.fit(Silent())
    assert torch.equal(whole.reconstruct(drifting(3)), again.reconstruct(drifting(3)))


def test_a_client_is_followed_to_where_a_search_would_go_wrong() -> None:
    assert listen(1, follow=False) > 0.9
    assert listen(9, follow=False) < 0, "the wrong solution fits better"
    assert listen(9) > 0.7


def test_an_epoch_of_more_images_than_are_remembered_is_not_followed() -> None:
    assert listen(5, remembered=149) == listen(5, remembered=149, follow=False)


def test_one_epoch_is_searched_either_way() -> None:
    assert listen(1) == listen(1, follow=False)


@pytest.mark.slow
def test_two_images_a_batch_and_two_public_images(tmp_path: Path) -> None:
    few = ["counts.public=2", "counts.private=8", "counts.victims=8", "training.batch_size=2"]
    quick = "transport:rounds=3,starts=1"
    record = run(tmp_path, few, attack=quick, target="fsha-client", cut=1)
    assert record.status == "ok", record.reason


@pytest.mark.parametrize(
    "target", [pytest.param("resnet:depth=18,labels=private", marks=pytest.mark.slow), VECTORS]
)
def test_neither_labels_nor_maps_are_needed(target: str, tmp_path: Path) -> None:
    record = run(tmp_path, attack="transport:rounds=3,starts=1", target=target)
    assert record.status == "ok", record.reason
