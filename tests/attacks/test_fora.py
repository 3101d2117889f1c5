"""FORA: the discrepancy that its substitute minimises, and what it learns without labels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from splitsec.attacks.fora import Fora, ForaParameters, build_critic, build_substitute, discrepancy
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.devices import CPU
from splitsec.plugins.defense import Defense
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.recent import Seen
from splitsec.plugins.view import View
from splitsec.progress import Silent
from splitsec.randomness import seeded_global_generator
from splitsec.running.runs import run_cells
from splitsec.shapes import Shape


def drawn(count: int, seed: int, spread: float = 1.0, mean: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + spread * torch.randn(count, 3, generator=generator).double()


def test_the_discrepancy_is_that_of_its_definition() -> None:
    one, other = drawn(4, 0), drawn(3, 1, mean=1.0)
    rows = torch.cat([one, other])
    scale = sum((a - b).square().sum() for a in rows for b in rows) / len(rows) ** 2

    def alike(a: Tensor, b: Tensor) -> Tensor:
        squared = (a - b).square().sum()
        total = sum(torch.exp(-squared / (2 * scale * 2.0**k)) for k in (-3, -2, -1, 0, 1))
        return cast(Tensor, total)

    def within(sample: Tensor) -> Tensor:
        pairs = [alike(a, b) for i, a in enumerate(sample) for j, b in enumerate(sample) if i != j]
        return torch.stack(pairs).mean()

    across = torch.stack([alike(a, b) for a in one for b in other]).mean()
    expected = within(one) + within(other) - 2 * across
    torch.testing.assert_close(discrepancy(one, other), expected)


def test_it_has_no_bias_and_sees_mean_and_spread() -> None:
    same = [discrepancy(drawn(40, k), drawn(40, 100 + k)).item() for k in range(60)]
    assert abs(sum(same) / len(same)) < 0.01
    assert discrepancy(drawn(200, 0), drawn(200, 1, mean=0.5)) > 0.05
    assert discrepancy(drawn(200, 0), drawn(200, 1, spread=2.0)) > 0.05


@pytest.mark.parametrize(
    ("image", "smashed"),
    [
        ((3, 32, 32), (128, 4, 4)),
        ((1, 12, 28), (5, 3, 7)),
        ((3, 9, 9), (4, 1, 1)),
        ((3, 8, 8), (6, 8, 8)),
    ],
)
def test_networks_fit_any_shape(image: tuple[int, int, int], smashed: tuple[int, int, int]) -> None:
    made = build_substitute(image, smashed)(torch.rand(4, *image))
    assert made.shape == (4, *smashed)
    assert build_critic(smashed, 8, 1)(made).shape == (4, 1)


def attack_of(defense: Defense[Any] | None = None, **given: Any) -> Fora:
    parameters = ForaParameters(**{"client_batch_size": 32, "width": 8, "blocks": 1, **given})
    view = SimpleNamespace(
        public_images=torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        image_shape=Shape(1, 8, 8),
        smashed_shape=Shape(4, 4, 4),
        server_architecture=None,
        device=CPU,
        defense=defense or Defense(Parameters()),
        threat=Fora.threat_model(parameters),
    )
    with seeded_global_generator("networks", {}):
        return Fora(parameters, cast(View, view), torch.Generator().manual_seed(0))


def sent() -> Seen:
    """Return smashed data of a client that the attacker knows nothing of."""
    generator = torch.Generator().manual_seed(5)
    with seeded_global_generator("client", {}), torch.no_grad():
        client = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU())
        return Seen(3 * client(torch.rand(64, 1, 8, 8, generator=generator)), None)


def test_the_substitute_comes_to_send_what_the_client_sends() -> None:
    attack = attack_of(discrepancy=1.0, client_lr=0.01)
    for _ in range(60):
        attack.update(sent(), None)
    distances = attack.losses["discrepancy"]
    assert sum(distances[-5:]) < 0.5 * sum(distances[:5])


class Heavy(Defense[Parameters]):
    """Sends the negative; its penalty draws smashed data to 5."""

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        return -smashed

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
        return 1000 * (smashed - 5).square().mean()


def test_the_substitute_carries_the_defense() -> None:
    made = {}
    for adaptive in (True, False):
        attack = attack_of(Heavy(Parameters()), adaptive=adaptive, client_lr=0.05)
        for _ in range(30):
            attack.update(sent(), None)
        made[adaptive] = attack.stand_in.imitate(attack.view.public_images, 32).mean().item()
    assert made[True] < -2 < made[False]


@pytest.mark.slow
def test_it_needs_no_labels_and_no_architecture(tmp_path: Path) -> None:
    settings = ["training.epochs=2", "counts.private=32", "counts.public=32", "counts.victims=12"]
    settings += ["counts.validation=12", "counts.held_out=12"]
    asked: dict[str, Any] = {"target": "resnet:depth=18,labels=private", "cut": 3, "size": 16}
    attack = "fora:every=1,afterwards=2,epochs=1,client_batch_size=8,width=8"
    cells = resolve(Request(attack=attack, defense="dcor", settings=settings, threads=1, **asked))
    (record,) = run_cells(cells, tmp_path, Silent())
    assert record.status == "ok", record.reason
    assert record.threat_model is not None
    assert [name for name, _ in record.threat_model.grants()] == ["public_images", "defense"]
    measured = [one.measured_on for one in record.convergence]
    assert measured == ["discrepancy", "kept pairs of the substitute"]
