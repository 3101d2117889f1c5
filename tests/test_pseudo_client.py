"""The pseudo-client: what it compares with what was observed, and what that gives it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch import nn

from splitsec.attacks.pseudo_client import PseudoClient, PseudoClientParameters
from splitsec.attacks.pseudo_client.critic import Critic
from splitsec.attacks.pseudo_client.observed import Observed, with_labels
from splitsec.cell import resolve
from splitsec.progress import Silent
from splitsec.runs import run_cells
from splitsec.target import SplitModel
from splitsec.wire import Exchange, Message

if TYPE_CHECKING:
    from splitsec.threat import View

PUBLIC = torch.tensor([0, 1, 1, 0, 0, 1])


def observed(count: int = 64, classes: int = 3) -> Observed:
    """Return smashed data whose mean depends on channel and class, as it was observed."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    smashed = torch.randn(count, 2, 4, 4, generator=generator) + labels.view(-1, 1, 1, 1)
    smashed[:, 1] = 50 * smashed[:, 1] - 7
    return Observed(smashed, labels, PUBLIC, classes)


def test_observed_smashed_data_are_standardised_and_so_are_imitations() -> None:
    smashed = 50 * torch.randn(200, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 7
    seen = Observed(smashed, None, PUBLIC, 0)
    torch.testing.assert_close(seen.smashed.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.smashed.std((0, 2, 3)), torch.ones(3))
    torch.testing.assert_close(seen.standardise(smashed), seen.smashed)


def test_public_images_are_drawn_with_the_labels_of_what_was_observed() -> None:
    seen = observed()
    batch = seen.draw(40, torch.Generator().manual_seed(1))
    assert batch.labels is not None
    assert seen.labels is not None
    assert torch.equal(PUBLIC[batch.public], batch.labels)
    assert torch.equal(seen.labels[batch.private], batch.labels)
    assert set(batch.public.tolist()) == set(range(6))


def test_a_class_without_public_images_is_left_out() -> None:
    seen = observed(count=60)  # a third of it is of class 2, which no public image has
    assert seen.labels is not None
    assert set(seen.labels.tolist()) == {0, 1}
    assert len(seen.smashed) == 40


def test_classes_that_nobody_shares_leave_labels_out() -> None:
    smashed, labels = torch.randn(8, 2, 4, 4), torch.full((8,), 2)
    seen = Observed(smashed, labels, PUBLIC, 3)
    batch = seen.draw(5, torch.Generator())
    assert len(seen.smashed) == 8
    assert batch.labels is None


@pytest.mark.parametrize("change", ["mean", "place", "spread", "channels", "classes"])
def test_the_distance_sees_what_differs(change: str) -> None:
    seen = observed(classes=2)
    assert seen.labels is not None
    made, labels = seen.smashed.clone(), seen.labels.clone()
    assert seen.distance(made, labels).item() == pytest.approx(0, abs=1e-9)
    if change == "mean":
        made += 0.5
    elif change == "place":
        made = made.roll(1, 3) + torch.arange(4.0)
    elif change == "spread":
        made *= 1.5
    elif change == "channels":
        made[:, 1] = made[torch.randperm(len(made), generator=torch.Generator()), 1]
    else:
        labels = 1 - labels
    assert seen.distance(made, labels).item() > 0.01


def test_labels_become_maps_of_ones() -> None:
    maps = with_labels(torch.zeros(2, 1, 3, 3), torch.tensor([1, 0]), 2)
    assert maps.shape == (2, 3, 3, 3)
    assert maps[:, 1:, 0, 0].tolist() == [[0, 1], [1, 0]]
    assert maps.flatten(2).std(2).max() == 0
    assert with_labels(torch.zeros(2, 1, 3, 3), None, 0).shape == (2, 1, 3, 3)


@pytest.mark.parametrize("shape", [(3, 1, 1), (4, 7, 5), (2, 33, 40)])
def test_the_critic_scores_each_map_on_its_own_and_by_place(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    critic = Critic(shape)
    maps = torch.randn(5, *shape)
    scores = critic(maps)
    assert scores.shape == (5, 1)
    torch.testing.assert_close(critic(maps[2:3]), scores[2:3])
    if shape[1] > 1:
        assert (critic(maps.flip(3)) - scores).abs().max() > 1e-4
    nn.init.ones_(critic.position)
    assert not torch.allclose(critic(maps), scores)


SESSION = [
    "training.epochs=4", "training.batch_size=16", "counts.private=64", "counts.public=160",
    "counts.validation=12", "counts.held_out=12", "counts.victims=40",
]  # fmt: skip


@pytest.mark.slow
def test_alignment_is_what_recovers_something(tmp_path: Path) -> None:
    short = "pseudo-client:epochs=20,afterwards=60"
    variants = f"{short},{short},moments=0,critic=0,{short},moments=0,critic=0.1,align_labels=false"
    cells = resolve(
        attack=variants, defense="none", target="resnet:depth=18", cut=1, size=16, seeds=[100],
        settings=SESSION, threads=1,
    )  # fmt: skip
    aligned, pcat, critic = run_cells(cells, tmp_path, Silent())
    values = [one.leakage.value for one in (aligned, pcat, critic) if one.leakage is not None]
    if None in values:
        pytest.skip("LPIPS weights are not here")
    assert values[0] is not None
    assert values[0] > 0.2
    assert values[0] > max(value for value in values[1:] if value is not None)
    attack = [one.history["attack"] for one in (aligned, pcat, critic)]
    assert attack[0]["distance of moments"][-1] < attack[0]["distance of moments"][0] / 4
    assert set(attack[1]) == {"pseudo-client loss", "decoder loss", "kept pairs"}
    assert "distance of moments" not in attack[2]
    assert all(len(one["pseudo-client loss"]) == 60 for one in attack)
    assert critic.threat_model is not None
    assert not critic.threat_model.labels


def test_it_is_updated_in_every_third_exchange_if_asked_to(tmp_path: Path) -> None:
    grid = "pseudo-client:epochs=1,afterwards=1,every=3,remembered=16"
    (cell,) = resolve(
        attack=grid, defense="none", target="resnet:depth=18", size=16,
        settings=[*SESSION, "training.epochs=2"], threads=1,
    )  # fmt: skip
    (record,) = run_cells([cell], tmp_path, Silent())
    assert record.status == "ok", record.reason
    # Twice 64 images in batches of 16 are eight exchanges: two updates, and one afterwards.
    assert len(record.history["attack"]["pseudo-client loss"]) == 3


@pytest.mark.parametrize(("remembered", "kept"), [(2, [7]), (8, [7]), (9, [6, 7]), (99, range(8))])
def test_the_last_images_are_remembered(remembered: int, kept: Sequence[int]) -> None:
    encoder = nn.Conv2d(3, 2, 3)
    view = SimpleNamespace(
        public_images=torch.rand(6, 3, 6, 6), public_labels=PUBLIC, task="classification",
        u_shaped=False, outputs=2, smashed_shape=(2, 4, 4), server_architecture=None,
        client_architecture=SplitModel(encoder, nn.Identity()),
    )  # fmt: skip
    attack = PseudoClient(
        PseudoClientParameters(remembered=remembered), cast("View", view), torch.Generator()
    )
    for step in range(8):
        smashed = torch.full((8, 2, 4, 4), float(step))
        message = Message(smashed, torch.zeros(8, dtype=torch.long), 0, step)
        attack.observe(Exchange(message, smashed))
    assert [smashed[0, 0, 0, 0].item() for smashed, _ in attack._kept] == list(kept)
