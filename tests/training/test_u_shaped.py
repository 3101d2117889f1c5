"""U-shaped split training is unsplit training; the server sees no label and no mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from splitsec.data.parts import Part
from splitsec.errors import PluginError, UsageError
from splitsec.plugins.defense import Defense
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.messages import Exchange, Message
from splitsec.plugins.parameters import Parameters, build_parameters
from splitsec.plugins.target import SplitModel, Target, encode, split_target
from splitsec.progress import Silent
from splitsec.shapes import Shape
from splitsec.training.client import Client
from splitsec.training.honest_server import HonestServer
from splitsec.training.loop import Schedule, exchanges_in, run_session, schedule
from splitsec.training.optimizers import make_optimizer
from splitsec.training.release import Sender
from splitsec.training.settings import Training
from splitsec.training.wire import Wire
from support.parts import make_part

IMAGE = Shape(3, 32, 32)
TRAINING = Training(epochs=2, batch_size=4, optimizer="adam", learning_rate=1e-3)


def target_of(name: str, **parameters: Any) -> Target[Any]:
    plugin = load_plugin("target", name)
    target: Target[Any] = plugin.cls(build_parameters(name, plugin.cls.Parameters, parameters))
    return target


def part_for(target: Target[Any], count: int = 12, seed: int = 0) -> Part:
    """Return random images with labels, or with masks that follow their brightness."""
    part = make_part(count, seed=seed)
    if target.task == "classification":
        return part
    masks = (part.images.mean(1, keepdims=True) > 127).astype(np.uint8)
    return Part(part.images, part.labels, part.indices, masks)


def session(
    target: Target[Any],
    cut: int,
    server: Any = None,
    defense: Any = None,
    exchanges: int = 0,
    clients: int = 1,
    **options: Any,
) -> tuple[list[float], SplitModel]:
    torch.manual_seed(0)
    model = target.split(IMAGE, 2 if target.task == "classification" else 1, cut)
    server = server or HonestServer(
        model.server, target.loss, make_optimizer(TRAINING, model.server)
    )
    defense = defense or Defense(Parameters())
    sides = [
        Client(
            part_for(target, seed=index),
            Sender(model.client, defense, client=index),
            model.head,
            target.loss,
            make_optimizer(TRAINING, model.client, model.head),
        )
        for index in range(clients)
    ]
    schedule = Schedule(TRAINING, {"seed": 3}, exchanges or exchanges_in(sides, TRAINING))
    result = run_session("test", sides, Wire(server, **options), schedule, Silent())
    return result.losses, model


def whole(model: SplitModel, images: Tensor) -> Tensor:
    """Run an unsplit forward pass: one graph, skips and all."""
    encoded = encode(model.client, images)
    features = model.server(encoded.smashed)
    outputs: Tensor = model.head(features, *encoded.skips) if model.head else features
    return outputs


def unsplit(target: Target[Any], cut: int) -> tuple[list[float], SplitModel]:
    torch.manual_seed(0)
    model = target.split(IMAGE, 2 if target.task == "classification" else 1, cut)
    holder = nn.ModuleList([part for part in model if part is not None]).train()
    optimizer = torch.optim.Adam(holder.parameters(), lr=TRAINING.learning_rate, fused=True)
    part = part_for(target)
    client = Client(
        part, Sender(model.client, Defense(Parameters())), model.head, target.loss, optimizer
    )
    losses = []
    turns = schedule([client], TRAINING, TRAINING.batch_size, {"seed": 3})
    for _ in range(exchanges_in([client], TRAINING)):
        _, _, rows = next(turns)
        outputs = whole(model, part.batch(rows.tolist()))
        loss = target.loss(outputs, part.targets(rows.tolist()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model


CASES = [
    *(("unet", {"width": 4, "loss": "dice"}, cut) for cut in (1, 2, 3, 4)),
    ("unet", {"width": 4, "loss": "dice+bce"}, 2),
    ("resnet", {"depth": 18, "labels": "private"}, 3),
    *(
        pytest.param("resnet", {"depth": 18, "labels": "private"}, cut, marks=pytest.mark.slow)
        for cut in (0, 7)
    ),
]


@pytest.mark.parametrize(("name", "parameters", "cut"), CASES)
def test_split_training_equals_unsplit_training(
    name: str, parameters: dict[str, Any], cut: int
) -> None:
    target = target_of(name, **parameters)
    losses, model = session(target, cut)
    reference, unsplit_model = unsplit(target, cut)
    assert len(losses) == 6
    assert losses == pytest.approx(reference, abs=1e-5)
    for ours, theirs in zip(model, unsplit_model, strict=True):
        assert ours is not None
        assert theirs is not None
        for one, other in zip(
            ours.state_dict().values(), theirs.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_every_cut_of_the_unet_trains_the_same_model() -> None:
    target = target_of("unet", width=4)
    runs = [session(target, cut)[0] for cut in (1, 2, 3)]
    assert runs[0] == pytest.approx(runs[1], abs=1e-5)
    assert runs[0] == pytest.approx(runs[2], abs=1e-5)


def test_skips_carry_gradient_into_the_clients_encoder() -> None:
    """With a server that sends no gradient, the encoder still learns through its skips."""

    class Mute:
        def features(self, message: Message) -> Tensor:
            return torch.zeros(len(message.smashed), 8, *message.smashed.shape[2:])

        def answer(self, message: Message) -> Tensor:
            return torch.zeros_like(message.smashed)

    target = target_of("unet", width=4)
    torch.manual_seed(0)
    before = target.split(IMAGE, 1, 1).client.state_dict()["blocks.0.0.weight"].clone()
    _, model = session(target, 1, Mute(), exchanges=1)
    assert not torch.equal(before, model.client.state_dict()["blocks.0.0.weight"])


def test_the_server_never_receives_labels_or_masks() -> None:
    target = target_of("unet", width=4)
    exchanges: list[Exchange] = []
    session(target, 2, exchanges=2, listeners=[(exchanges.append, ThreatModel(labels=True))])
    assert len(exchanges) == 2
    for exchange in exchanges:
        assert exchange.message.labels is None
        assert exchange.features is not None
        assert exchange.message.feature_gradient is not None
        assert exchange.message.feature_gradient.shape == exchange.features.shape
        for tensor in (exchange.features, exchange.message.feature_gradient, exchange.gradient):
            assert tensor.grad_fn is None


def test_the_task_weight_scales_all_task_gradients() -> None:
    """Head, skips and smashed data: with SGD, half the weight is half the rate."""

    class Half(Defense[Parameters]):
        @property
        def task_weight(self) -> float:
            return 0.5

    target = target_of("unet", width=4)

    def step(defense: Defense[Parameters], rate: float) -> list[Tensor]:
        torch.manual_seed(0)
        model = target.split(IMAGE, 1, 1)
        assert model.head is not None
        weights = [*model.client.parameters(), *model.head.parameters()]
        optimizer = torch.optim.SGD(weights, lr=rate)
        server = HonestServer(model.server, target.loss, make_optimizer(TRAINING, model.server))
        part = part_for(target)
        client = Client(part, Sender(model.client, defense), model.head, target.loss, optimizer)
        client.step(torch.arange(4), Wire(server), 0)
        return [weight.detach() for weight in weights]

    half = step(Half(Parameters()), 0.2)
    plain = step(Defense(Parameters()), 0.1)
    for ours, theirs in zip(half, plain, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (lambda z: None, "NoneType; expected features"),
        (lambda z: torch.zeros(len(z), 7, *z.shape[2:]), "the client's head or loss"),
    ],
)
def test_wrong_features_are_refused(features: Any, says: str) -> None:
    class Wrong:
        def features(self, message: Message) -> Tensor:
            made: Tensor = features(message.smashed)
            return made

        def answer(self, message: Message) -> Tensor:
            return torch.zeros_like(message.smashed)

    with pytest.raises(PluginError, match=says):
        session(target_of("unet", width=4), 1, Wrong(), exchanges=1)


def test_the_reports_network_has_the_papers_parameters() -> None:
    """Width 64 and depth 4: 31.0 million, as the published U-Net with batch normalisation."""
    model = target_of("unet", width=64).split(Shape(1, 32, 32), 1, 1)
    count = sum(w.numel() for part in model if part is not None for w in part.parameters())
    assert count == pytest.approx(31.04e6, rel=0.001)


@pytest.mark.parametrize(
    ("name", "parameters", "image", "cut", "says"),
    [
        ("unet", {"depth": 2}, IMAGE, 3, "leaves nothing to the server"),
        ("unet", {}, Shape(3, 8, 8), 1, "takes images of 16 to .* not 8; use --size 16"),
        ("resnet", {"labels": "private"}, IMAGE, 8, "leaves nothing to the server"),
    ],
)
def test_splits_that_cannot_be(
    name: str, parameters: dict[str, Any], image: Shape, cut: int, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        split_target(name, target_of(name, **parameters), image, 1, cut)
