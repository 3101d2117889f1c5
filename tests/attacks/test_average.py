"""Average: which releases are of one image, how many are averaged, and what that gains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from splitsec.attacks.average import Average, AverageParameters, Releases
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import UsageError
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.toolbox import queries
from splitsec.plugins.view import View
from splitsec.progress import Silent
from splitsec.randomness import seeded_global_generator
from splitsec.running.runs import run_cells

_GRID = torch.linspace(0, 1, 8)


def images(count: int, seed: int) -> Tensor:
    """Return images (count, 1, 8, 8) of two numbers each."""
    rise, level = torch.rand(2, count, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    return 0.6 * rise * _GRID + 0.3 * level * _GRID[:, None]


class Hospital:
    """A client of which the attacker is told which image it sends; its noise is new each time.

    Args:
        noise: standard deviation.
        drift: how much the client's output changes in each epoch, besides moving as a whole.
        epochs: in which it sends 60 images, ten at a time.
    """

    def __init__(self, noise: float, drift: float = 0.0, epochs: int = 8) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.noise, self.private = noise, images(60, 1)
        self.asked = 0
        with seeded_global_generator("convolution", {}):
            self.encoder = nn.Conv2d(1, 6, 4, 2, 1).requires_grad_(False)
            other = nn.Conv2d(1, 6, 4, 2, 1).requires_grad_(False)
        self.sent: list[Message] = []
        for epoch in range(epochs):
            age = epochs - 1 - epoch
            moved = self.encoder(self.private) + age * (drift * other(self.private) + 1)
            for rows in torch.randperm(60, generator=self.generator).split(10):
                message = Message(self.released(moved[rows]), None, 0, len(self.sent))
                self.sent.append(message._replace(samples=rows))

    def released(self, smashed: Tensor) -> Tensor:
        return smashed + self.noise * torch.randn(smashed.shape, generator=self.generator)

    def query(self, asked: Tensor) -> Tensor:
        self.asked += len(asked)
        return self.released(self.encoder(asked))

    def last(self) -> Tensor:
        """Return what was sent of each image in the last epoch."""
        numbers = torch.cat([cast(Tensor, one.samples) for one in self.sent[-6:]])
        return torch.cat([one.smashed for one in self.sent[-6:]])[numbers.argsort()]

    def attacked(self, **given: Any) -> Average:
        view = SimpleNamespace(
            public_images=images(100, 2),
            query=self.query,
            clients=1,
            exchanges_per_epoch=6,
            in_training=True,
            image_shape=self.private.shape[1:],
            smashed_shape=self.encoder(self.private).shape[1:],
            server_architecture=nn.Identity(),
        )
        parameters = AverageParameters(**{"queries": 1000, "form": "linear", **given})
        attack = Average(parameters, cast(View, view), torch.Generator().manual_seed(3))
        for message in self.sent:
            attack.observe(Exchange(message, torch.zeros_like(message.smashed)))
        attack.fit(Silent())
        return attack

    def skill(self, made: Tensor) -> float:
        blind = (self.private - images(100, 2).mean(0)).square().mean()
        return (1 - (made - self.private).square().mean() / blind).item()


def test_releases_are_arranged_by_image_the_latest_first() -> None:
    owners = torch.tensor([4, 9, 4, 7, 9, 7, 4])
    sent = torch.arange(7.0)[:, None]
    found = Releases.of(owners, sent).smashed
    assert found[..., 0].tolist() == [[6, 5, 4], [2, 3, 1]], "images 4, 7 and 9"


def test_each_release_is_found_again_and_nothing_else() -> None:
    sent = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    releases = Releases.of(torch.arange(12) % 4, sent)
    assert releases.rows(sent[[11, 2, 4]]).tolist() == [3, 2, 0]
    assert releases.rows(sent[:2] + 1e-3).tolist() == [-1, -1]


def test_averaging_undoes_noise() -> None:
    hospital = Hospital(noise=0.5)
    attack = hospital.attacked()
    averaged = hospital.skill(attack.reconstruct(hospital.last()))
    attack.view.in_training = False
    once = hospital.skill(attack.reconstruct(hospital.last()))
    assert attack._count == 8
    assert averaged > once + 0.15, (averaged, once)
    assert hospital.asked == 1000


@pytest.mark.parametrize(
    ("noise", "drift", "expected"),
    [(0.0, 0.3, [1]), (2.0, 0.0, [8]), (0.1, 0.3, [2, 3, 4, 5])],
)
def test_it_averages_as_long_as_noise_outweighs_drift(
    noise: float, drift: float, expected: Sequence[int]
) -> None:
    attack = Hospital(noise, drift).attacked()
    assert attack._count in expected


def test_what_was_not_sent_is_decoded_alone() -> None:
    hospital = Hospital(noise=0.6)
    attack = hospital.attacked()
    other = hospital.released(hospital.encoder(hospital.private))
    assert attack._count > 1
    assert hospital.skill(attack.reconstruct(other)) > 0.3


def test_only_the_last_epochs_are_kept() -> None:
    attack = Hospital(noise=2.0).attacked(epochs=3)
    assert len(attack._kept) == 18
    assert attack._count == 3


def test_few_queries_are_spent_on_few_images() -> None:
    hospital = Hospital(noise=2.0)
    attack = hospital.attacked(queries=21)
    assert hospital.asked == 21
    assert attack._count == 1


def test_it_asks_exactly_as_often_as_it_may() -> None:
    """Fifteen variants are divided between the sides that are fitted to and kept: 14 and 1."""
    hospital = Hospital(noise=0.0, drift=0.3)
    hospital.attacked(queries=115)
    assert hospital.asked == 115


@pytest.mark.parametrize(("pairs", "asked"), [(500, 500), (60, 60), (1, 2)])
def test_it_asks_no_more_than_fits_into_memory(
    pairs: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = Hospital(noise=2.0)
    values = hospital.private[0].numel() + hospital.encoder(hospital.private[:1]).numel()
    monkeypatch.setattr(queries, "_MOST_BYTES", 4 * values * pairs)
    hospital.attacked()
    assert hospital.asked == asked


def test_answers_without_noise_are_asked_for_twice_at_most() -> None:
    """The client may still send noise in training, as batch normalisation does."""
    hospital = Hospital(noise=1.0)
    hospital.noise = 0.0
    attack = hospital.attacked()
    assert attack._count == 8
    assert attack._averaged is attack._single
    assert hospital.asked == 1000, "what is left is spent on variants"


def test_nothing_seen_is_an_error() -> None:
    hospital = Hospital(noise=1.0, epochs=0)
    with pytest.raises(UsageError, match="nothing to average"):
        hospital.attacked()


@pytest.mark.slow
def test_a_cell_averages_its_training_victims(tmp_path: Path) -> None:
    settings = ["training.epochs=4", "counts.private=64", "counts.public=64", "counts.victims=24"]
    settings += ["counts.validation=12", "counts.held_out=24", "counts.victims=24"]
    for attack in ("average", "regression"):
        settings += [f"attack.{attack}.queries=256", f"attack.{attack}.form=linear"]
    asked = {"target": "fsha-client", "cut": 1, "size": 16, "settings": settings, "threads": 1}
    cells = resolve(Request(attack="average,regression", defense="gaussian-noise:sigma=3", **asked))
    skills = []
    for record in run_cells(cells, tmp_path / "out", Silent()):
        assert record.threat_model is not None, record.reason
        assert record.threat_model.sample_ids == (record.spec.attack == "average")
        assert record.access is not None and record.access.queries == 256
        assert record.victims is not None and record.victims.training is not None
        skills.append(record.victims.training.skill.mse or 0)
    assert skills[0] > skills[1] + 0.1, "training victims were sent four times"
