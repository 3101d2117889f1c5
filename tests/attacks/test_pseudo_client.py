"""The pseudo-client: what it compares with what was observed, and what that gives it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.attacks.pseudo_client import PseudoClient, PseudoClientParameters
from splitsec.attacks.pseudo_client.critic import ConditionalCritic, LabelledCritic
from splitsec.attacks.pseudo_client.observed import Observation
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.devices import CPU
from splitsec.errors import UsageError
from splitsec.plugins.defense import Defense
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.parameters import Parameters, build_parameters
from splitsec.plugins.target import SplitModel
from splitsec.progress import Silent
from splitsec.running.runs import run_cells
from splitsec.shapes import Shape

if TYPE_CHECKING:
    from splitsec.plugins.view import View

PUBLIC = torch.tensor([0, 1, 1, 0, 0, 1])


def observed(count: int = 64, classes: int = 3) -> Observation:
    """Return smashed data whose mean depends on channel and class, as it was observed."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    smashed = torch.randn(count, 2, 4, 4, generator=generator) + labels.view(-1, 1, 1, 1)
    smashed[:, 1] = 50 * smashed[:, 1] - 7
    return Observation(smashed, labels, PUBLIC, classes)


def test_imitations_are_compared_in_units_of_what_was_observed() -> None:
    smashed = 50 * torch.randn(200, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 7
    seen = Observation(smashed, None, PUBLIC, 0)
    unit = seen.unit(smashed)
    standard = seen.standardise(smashed, unit)
    torch.testing.assert_close(standard.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard.std((0, 2, 3)), torch.ones(3))
    torch.testing.assert_close(seen.unit(2 * smashed), unit)
    far = seen.unit(100 * smashed)
    reached = seen.standardise(100 * smashed, far).square().mean((0, 2, 3)).sqrt()
    torch.testing.assert_close(reached, torch.full((3,), 4.0))


@pytest.mark.parametrize("constant", [0.0, 1000.0])
@pytest.mark.parametrize("channels", [[1], [0, 1, 2]])
def test_a_channel_that_never_changes_drowns_no_other(channels: list[int], constant: float) -> None:
    generator = torch.Generator().manual_seed(0)
    smashed = torch.randn(64, 3, 4, 4, generator=generator)
    smashed[:, channels] = constant
    seen = Observation(smashed, None, PUBLIC, 0)
    made = torch.randn(64, 3, 4, 4, generator=generator, requires_grad=True)
    unit = seen.unit(made)
    distance = seen.distance(seen.standardise(made, unit), unit, None)
    (gradient,) = torch.autograd.grad(distance, made)
    assert torch.isfinite(gradient).all()
    assert 0.1 < distance.item() < 4**2 + 4**2 + 4**4
    alike = smashed.clone()
    unit = seen.unit(alike)
    assert seen.distance(seen.standardise(alike, unit), unit, None).item() < 1e-6


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
    assert seen.draw(500, torch.Generator()).private.max() == 39


@pytest.mark.parametrize("shared", [0, 1])
def test_classes_of_which_hardly_any_image_is_shared_leave_labels_out(shared: int) -> None:
    smashed, labels = torch.randn(8, 2, 4, 4), torch.full((8,), 2)
    labels[:shared] = 1
    seen = Observation(smashed, labels, PUBLIC, 3)
    batch = seen.draw(5, torch.Generator())
    assert len(seen.smashed) == 8
    assert batch.labels is None


def noise() -> torch.Tensor:
    """Return 64 maps of 2 channels: all means are 0, all spreads 1, and no two go together."""
    drawn = torch.randn(64, 32, generator=torch.Generator().manual_seed(0)).double()
    drawn -= drawn.mean(0)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(drawn.T @ drawn / 63), drawn.T, upper=False
    )
    return white.T.reshape(64, 2, 4, 4)


STRIPES = torch.tensor([1.0, -1.0], dtype=torch.double).repeat(2).expand(2, 4, 4)
OTHERS = STRIPES.roll(1, 2)
CLASSES = torch.arange(64) % 2
SIGN = 1 - 2.0 * CLASSES.view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("seen", "made", "labels", "least"),
    [
        (noise() + STRIPES, noise() + STRIPES, CLASSES, None),
        (noise() + STRIPES, noise() + OTHERS, None, 1.0),
        (noise() * (2 + STRIPES), noise() * (2 + OTHERS), None, 0.5),
        (noise()[:, :1].repeat(1, 2, 1, 1), noise(), None, 0.4),
        (noise() + SIGN * STRIPES, noise() - SIGN * STRIPES, CLASSES, 1.0),
    ],
    ids=["nothing", "where it is bright", "where it varies", "channels together", "classes"],
)
def test_the_distance_sees_what_differs(
    seen: torch.Tensor, made: torch.Tensor, labels: torch.Tensor | None, least: float | None
) -> None:
    """In each case one term differs, and the others do not."""
    observed = Observation(seen, labels, PUBLIC, 2)
    unit = observed.unit(made)
    distance = observed.distance(observed.standardise(made, unit), unit, labels).item()
    assert distance == pytest.approx(0, abs=1e-9) if least is None else distance > least


def test_the_critic_is_told_labels_as_maps_of_ones() -> None:
    critic = ConditionalCritic((1, 3, 3), 2)
    maps, labels = torch.rand(2, 1, 3, 3), torch.tensor([1, 0])
    told = critic._constant(maps, labels)
    assert told[:, :, 0, 0].tolist() == [[0, 1], [1, 0]]
    assert told.flatten(2).std(2).max() == 0
    assert critic._constant(maps, None).abs().max() == 0
    assert not torch.allclose(critic(maps, labels), critic(maps, 1 - labels))
    torch.testing.assert_close(LabelledCritic(critic, labels)(maps), critic(maps, labels))


@pytest.mark.parametrize("shape", [(3, 1, 1), (4, 7, 5), (2, 33, 40)])
def test_the_critic_scores_each_map_on_its_own(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    critic = ConditionalCritic(shape, 0)
    maps = torch.randn(5, *shape)
    scores = critic(maps, None)
    assert scores.shape == (5, 1)
    torch.testing.assert_close(critic(maps[2:3], None), scores[2:3])


def test_the_critic_knows_where_it_looks() -> None:
    """Without its map of positions it is a critic of patches, and sees the same twice here."""
    torch.manual_seed(0)
    critic = ConditionalCritic((1, 8, 8), 0)
    for name, weights in critic.named_parameters():
        if name.endswith("bias"):  # so that borders do not matter
            nn.init.zeros_(weights)
    nn.init.ones_(cast("nn.Linear", critic.body[-1]).weight)
    here, there = torch.zeros(2, 1, 1, 8, 8)
    here[..., 2, 2] = there[..., 4, 4] = 1.0
    torch.testing.assert_close(critic(here, None), critic(there, None))
    nn.init.normal_(critic.position)
    assert (critic(here, None) - critic(there, None)).abs() > 1e-2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"afterwards": 0}, "every=0 and afterwards=0 would never train"),
        ({"task": 0, "moments": 0, "critic": 0}, "leave nothing to train for"),
    ],
)
def test_parameters_that_train_nothing_are_refused(wrong: dict[str, int], says: str) -> None:
    with pytest.raises(UsageError, match=f"parameters of it: .*{says}"):
        build_parameters("it", PseudoClientParameters, wrong)


SESSION = [
    "training.epochs=4",
    "training.batch_size=16",
    "counts.private=64",
    "counts.public=160",
    "counts.validation=12",
    "counts.held_out=12",
    "counts.victims=40",
]


@pytest.mark.slow
def test_alignment_is_what_recovers_something(tmp_path: Path) -> None:
    short = "pseudo-client:epochs=20,afterwards=60"
    variants = f"{short},{short},moments=0,critic=0,{short},moments=0,critic=0.1,align_labels=false"
    cells = resolve(
        Request(
            attack=variants,
            defense="none",
            target="resnet:depth=18",
            cut=1,
            size=16,
            seed=[100],
            settings=SESSION,
            threads=1,
        )
    )
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


@pytest.mark.slow
def test_it_is_updated_in_every_third_exchange_if_asked_to(tmp_path: Path) -> None:
    grid = "pseudo-client:epochs=1,afterwards=1,every=3,remembered=16"
    (cell,) = resolve(
        Request(
            attack=grid,
            defense="none",
            target="fsha-client",
            cut=1,
            size=16,
            settings=[*SESSION, "training.epochs=2"],
            threads=1,
        )
    )
    (record,) = run_cells([cell], tmp_path, Silent())
    assert record.status == "ok", record.reason
    # Twice 64 images in batches of 16 are eight exchanges: two updates, and one afterwards.
    assert len(record.history["attack"]["pseudo-client loss"]) == 3


def attack_of(defense: Defense[Parameters] | None = None, **given: float) -> PseudoClient:
    view = SimpleNamespace(
        public_images=torch.rand(6, 3, 6, 6),
        public_labels=PUBLIC,
        task="classification",
        u_shaped=False,
        labels_shared=True,
        outputs=2,
        smashed_shape=Shape(2, 4, 4),
        server_architecture=None,
        device=CPU,
        client_architecture=SplitModel(nn.Conv2d(3, 2, 3), nn.Identity()),
        defense=defense or Defense(Parameters()),
    )
    parameters = PseudoClientParameters(**given)
    return PseudoClient(parameters, cast("View", view), torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("remembered", "kept"), [(2, [7]), (8, [7]), (9, [6, 7]), (99, range(8))])
def test_the_last_images_are_remembered(remembered: int, kept: Sequence[int]) -> None:
    attack = attack_of(remembered=remembered)
    for step in range(8):
        smashed = torch.full((8, 2, 4, 4), float(step))
        message = Message(smashed, torch.zeros(8, dtype=torch.long), 0, step)
        attack.observe(Exchange(message, smashed))
    assert [smashed[0, 0, 0, 0].item() for smashed, _ in attack.recent._kept] == list(kept)


class Heavy(Defense[Parameters]):
    """Sends the negative; its penalty draws smashed data to 5."""

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        return -smashed

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
        return 1000 * (smashed - 5).square().mean()


def test_the_imitation_carries_the_defense() -> None:
    light = {"critic": 0.0, "client_lr": 0.05, "client_batch_size": 4}
    attack = attack_of(Heavy(Parameters()), **light)
    plain = attack_of(Heavy(Parameters()), adaptive=False, **light)
    server = nn.Sequential(nn.Flatten(), nn.Linear(32, 2))
    made = {}
    for one in (attack, plain):
        one.view.loss = F.cross_entropy
        for _ in range(30):
            one.update(observed(classes=2), server)
        made[one] = one.stand_in.imitate(one.view.public_images, 64).mean().item()
    assert made[attack] < -2, "the penalty drew to 5 what is sent as -5"
    assert made[plain] > -2
    assert PseudoClient.threat_model(plain.parameters).defense is False
