"""SDAR: its networks are the authors' for their shapes, and each loss reaches what it should."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.attacks.sdar import Sdar, SdarParameters
from splitsec.attacks.sdar.networks import build_critic, build_decoder, build_image_critic
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.devices import CPU
from splitsec.plugins.defense import Defense
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import SplitModel
from splitsec.plugins.toolbox.recent import Seen
from splitsec.plugins.view import View
from splitsec.progress import Silent
from splitsec.running.runs import run_cells
from splitsec.shapes import Shape


def convolutions(network: nn.Module) -> list[tuple[int, int, int]]:
    """Return inputs, outputs and stride of each convolution."""
    return [
        (one.in_channels, one.out_channels, one.stride[0])
        for one in network.modules()
        if isinstance(one, nn.Conv2d)
    ]


# From the layers that the authors' code builds at levels 4 and 7 of ResNet-20, and at level 3.
DECODER_4 = [(33, 32, 1), (32, 16, 1), (16, 16, 1), (16, 16, 1), (16, 3, 1)]
DECODER_7 = [(65, 64, 1), (64, 32, 1), (32, 32, 1), (32, 32, 1), (32, 16, 1), *DECODER_4[2:]]
LAST = [(256, 256, 1), (256, 256, 1), (256, 256, 2)]


def test_the_decoder_has_the_authors_layers() -> None:
    assert convolutions(build_decoder((32, 16, 16), (3, 32, 32), 10)) == DECODER_4
    assert convolutions(build_decoder((64, 8, 8), (3, 32, 32), 10)) == DECODER_7


def test_the_critics_have_the_authors_layers() -> None:
    levels = {
        (64, 8, 8): [(65, 128, 1), (128, 256, 2), *LAST],
        (32, 16, 16): [(33, 64, 1), (64, 128, 2), (128, 256, 1), *LAST],
        (16, 32, 32): [(17, 32, 1), (32, 64, 2), (64, 128, 2), (128, 256, 1), *LAST],
    }
    for shape, expected in levels.items():
        assert convolutions(build_critic(shape, 10)) == expected, shape
    image = [(4, 64, 1), (64, 128, 2), (128, 128, 2), (128, 256, 2)]
    assert convolutions(build_image_critic((3, 32, 32), 10)) == image


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize(
    ("smashed", "image"),
    [((5, 3, 7), (1, 12, 28)), ((4, 1, 1), (3, 9, 9)), ((7, 12, 12), (3, 12, 12))],
)
def test_networks_fit_any_shape(
    smashed: tuple[int, int, int], image: tuple[int, int, int], classes: int
) -> None:
    labels = torch.tensor([0, 2, 1, 1]) if classes else None
    made = build_decoder(smashed, image, classes)(torch.rand(4, *smashed), labels)
    assert made.shape == (4, *image)
    assert made.min() >= 0
    assert made.max() <= 1
    assert build_critic(smashed, classes)(torch.rand(4, *smashed), labels).shape == (4, 1)
    assert build_image_critic(image, classes)(made, labels).shape == (4, 1)


def test_networks_are_told_the_label() -> None:
    torch.manual_seed(0)
    critic = build_critic((4, 4, 4), 3).eval()
    maps = torch.rand(1, 4, 4, 4).expand(3, -1, -1, -1)
    assert critic(maps, torch.arange(3)).unique().numel() == 3


def attack_of(server: nn.Module, defense: Defense[Any] | None = None, **given: Any) -> Sdar:
    view = SimpleNamespace(
        public_images=torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        public_labels=torch.arange(12) % 2,
        labels=None,
        in_training=True,
        task="classification",
        u_shaped=False,
        labels_shared=True,
        outputs=2,
        image_shape=Shape(1, 8, 8),
        smashed_shape=Shape(4, 4, 4),
        server_architecture=None,
        server_model=server,
        loss=F.cross_entropy,
        device=CPU,
        threat=Sdar.threat_model(SdarParameters()),
        client_architecture=SplitModel(nn.Conv2d(1, 4, 3, 2, 1), nn.Identity()),
        defense=defense or Defense(Parameters()),
    )
    parameters = SdarParameters(client_batch_size=8, afterwards=2, **given)
    return Sdar(parameters, cast(View, view), torch.Generator().manual_seed(0))


def linear_server() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))


def changed(network: nn.Module, before: dict[str, Tensor]) -> bool:
    """Return whether a weight has changed; running statistics do not count."""
    return any(not torch.equal(one, before[name]) for name, one in network.named_parameters())


@pytest.mark.parametrize("image_critic", [0.0, 1.0])
def test_each_step_changes_its_own_network(image_critic: float) -> None:
    attack = attack_of(linear_server(), image_critic=image_critic, image_critic_lr=1e-3)
    server = linear_server()
    networks: dict[str, nn.Module] = {
        "simulator": attack.stand_in.encoder,
        "decoder": attack._decoder,
        "critic": attack._critic,
        "image critic": attack._image_critic,
        "server": server,
    }
    before = {
        name: {k: v.clone() for k, v in one.state_dict().items()} for name, one in networks.items()
    }
    attack.update(Seen(torch.rand(8, 4, 4, 4), torch.arange(8) % 2), server)
    moved = {name for name, one in networks.items() if changed(one, before[name])}
    assert moved == {"simulator", "decoder", "critic"} | (
        {"image critic"} if image_critic else set()
    )


def test_the_simulator_learns_what_the_server_expects() -> None:
    attack = attack_of(linear_server(), client_lr=0.05)
    server = linear_server()
    for _ in range(40):
        attack.update(Seen(torch.rand(8, 4, 4, 4), torch.arange(8) % 2), server)
    losses = attack.losses["simulator loss"]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_labels_that_are_not_told_are_predicted() -> None:
    """The server here sees class 1 where the first value is positive."""

    class Sign(nn.Module):
        def forward(self, smashed: Tensor) -> Tensor:
            return torch.stack([-smashed[:, 0, 0, 0], smashed[:, 0, 0, 0]], 1)

    attack = attack_of(Sign())
    for step in range(3):
        smashed = torch.randn(8, 4, 4, 4)
        attack.observe(Exchange(Message(smashed, torch.arange(8) % 2, 0, step), smashed))
    attack.fit(Silent())
    victims = torch.randn(6, 4, 4, 4)
    view = cast(Any, attack.view)
    predicted = (victims[:, 0, 0, 0] > 0).long()
    unknown = attack.reconstruct(victims)
    view.labels = predicted
    assert torch.equal(attack.reconstruct(victims), unknown)
    view.labels = 1 - predicted
    assert not torch.equal(attack.reconstruct(victims), unknown)


SMALL = [
    "training.epochs=2",
    "counts.private=32",
    "counts.public=32",
    "counts.validation=12",
    "counts.held_out=12",
    "counts.victims=12",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        {"target": "fsha-client", "cut": 1, "defense": "proxy-adversary"},
        {"target": "resnet:depth=18,labels=private", "cut": 3, "defense": "none"},
        {"target": "unet:width=4", "cut": 1, "defense": "none", "channels": 1},
    ],
    ids=lambda asked: asked["target"],
)
def test_it_attacks_any_split_of_maps(asked: dict[str, Any], tmp_path: Path) -> None:
    attack = "sdar:every=1,afterwards=2,client_batch_size=8,image_critic=1e-5"
    (cell,) = resolve(Request(attack=attack, size=16, settings=SMALL, threads=1, **asked))
    (record,) = run_cells([cell], tmp_path, Silent())
    assert record.status == "ok", record.reason
    assert record.victims is not None
    assert "oracle-access" not in record.flags
    assert len(record.history["attack"]["decoder loss"]) >= 4
    assert [one.measured_on for one in record.convergence] == ["pairs of the simulator"]
