"""Any network can be cut at a submodule; the parts compute what the whole does."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.errors import UsageError
from splitsec.plugins.toolbox.cutting import cut_network, cut_points
from splitsec.shapes import Shape

IMAGE = Shape(3, 32, 32)


class Residual(nn.Module):
    """Adds its input to what a layer makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = maps + self.second(F.relu(self.first(maps)))
        return added


class Small(nn.Module):
    """A stem, a residual block and a head, written as people write networks."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True))
        self.block = Residual()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        count = images.shape[0]
        maps = self.pool(self.block(self.stem(images)))
        logits: Tensor = self.classifier(maps.view(count, -1))
        return logits


class UShaped(nn.Module):
    """An encoder, a bottleneck and a decoder with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, 2, 1)
        self.deep = nn.Conv2d(4, 8, 3, 2, 1)
        self.middle = nn.Conv2d(8, 8, 3, 1, 1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.end = nn.ConvTranspose2d(8, 1, 2, 2)

    def forward(self, images: Tensor) -> Tensor:
        high = F.relu(self.down(images))
        low = F.relu(self.up(self.middle(F.relu(self.deep(high)))))
        mask: Tensor = self.end(torch.cat([low, high], 1))
        return mask


def images(count: int = 4, image: Shape = IMAGE) -> Tensor:
    return torch.rand(count, *image, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("at", "shape"),
    [
        ("stem.0", (8, 16, 16)),
        ("stem", (8, 16, 16)),
        ("block", (8, 16, 16)),
        ("pool", (8, 2, 2)),
        ("before-classifier", (32,)),
        ("before-block", (8, 16, 16)),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_the_parts_compute_what_the_whole_does(
    at: str, shape: tuple[int, ...], training: bool
) -> None:
    network = Small()
    whole = copy.deepcopy(network).train(training)(images())
    client, server, head = cut_network(network, IMAGE, at)
    client.train(training)
    server.train(training)
    smashed = client(images())
    assert head is None
    assert tuple(smashed.shape[1:]) == shape
    assert torch.equal(server(smashed), whole)


def test_gradients_pass_the_parts_as_the_whole() -> None:
    network = Small()
    whole = copy.deepcopy(network)
    client, server, _ = cut_network(network, IMAGE, "stem")
    whole(images()).sum().backward()
    smashed = client(images())
    received = smashed.detach().requires_grad_()
    server(received).sum().backward()
    assert received.grad is not None
    smashed.backward(received.grad)
    theirs = dict(whole.named_parameters())
    ours = {name: one for part in (client, server) for name, one in part.named_parameters()}
    assert ours.keys() == theirs.keys()
    assert all(
        torch.allclose(one.grad, theirs[name].grad, atol=1e-6)
        for name, one in ours.items()
        if one.grad is not None and theirs[name].grad is not None
    )


def test_a_batch_of_any_size_passes_although_forward_reads_its_size() -> None:
    client, server, _ = cut_network(Small().eval(), IMAGE, "block")
    assert server(client(images(7))).shape == (7, 3)


def test_the_smashed_data_are_not_written_into() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2)
    )
    network[3] = nn.Linear(4 * 30 * 30, 2)
    client, server, _ = cut_network(network, IMAGE, "0")
    smashed = client(images()).detach()
    before = smashed.clone()
    server(smashed.requires_grad_()).sum().backward()
    assert torch.equal(smashed.detach(), before)
    assert before.min() < 0


def test_a_cut_beside_a_residual_connection_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"the server also needs the output of 'stem'.*'stem'"):
        cut_network(Small(), IMAGE, "block.first")


def test_a_residual_connection_is_carried_where_asked() -> None:
    network = Small().eval()
    client, server, _ = cut_network(network, IMAGE, "block.first", carry=True)
    smashed = client(images())
    assert smashed.shape == (4, 16, 16, 16), "both are maps of one size, so they are channels"
    assert torch.equal(server(smashed), network(images()))


class Uneven(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.second = nn.Conv2d(4, 4, 3, 2, 1)
        self.end = nn.Linear(4 * 8 * 8 + 4, 2)

    def forward(self, images: Tensor) -> Tensor:
        first = self.first(images)
        second = self.second(first)
        logits: Tensor = self.end(torch.cat([second.flatten(1), first.mean((2, 3))], 1))
        return logits


def test_what_is_carried_may_have_another_size() -> None:
    network = Uneven().eval()
    client, server, _ = cut_network(network, IMAGE, "second", carry=True)
    smashed = client(images())
    assert smashed.shape == (4, 4 * 8 * 8 + 4 * 16 * 16)
    assert torch.allclose(server(smashed), network(images()))


def test_a_client_keeps_the_end_and_the_skips() -> None:
    network = UShaped().eval()
    client, server, head = cut_network(network, IMAGE, "deep", "middle")
    smashed, *skips = client(images())
    assert head is not None
    assert smashed.shape == (4, 8, 8, 8)
    assert [tuple(one.shape) for one in skips] == [(4, 4, 16, 16)]
    assert torch.equal(head(server(smashed), *skips), network(images()))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU()
        self.unused = nn.ReLU()
        self.end = nn.Conv2d(3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.layer(self.relu(self.layer(images))))
        logits: Tensor = self.end(maps).mean((2, 3))
        return logits


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.layer(images)
        return maps.mean((2, 3)) if maps.mean() > 0 else maps.sum((2, 3))


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3)
        self.end = nn.Conv2d(2, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        kept = F.dropout(self.layer(images), 0.5, self.training)
        logits: Tensor = self.end(kept).mean((2, 3))
        return logits


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 3, 1)
        self.second.weight = self.first.weight
        self.end = nn.Conv2d(3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.end(self.second(self.first(images))).mean((2, 3))
        return logits


@pytest.mark.parametrize(
    ("network", "at", "until", "says"),
    [
        (Small(), "blok", "", r"unknown submodule of Small: 'blok'; did you mean 'block'"),
        (Small(), "classifier", "", "leaves nothing to the server: the network ends there"),
        (Small(), "before-stem", "", "nothing but the image itself"),
        (Small(), "stem", "pol", "unknown submodule of Small: 'pol'"),
        (Twice(), "relu", "", "forward\\(\\) calls it 2 times"),
        (Twice(), "unused", "", "calls it by none"),
        (Deciding(), "layer", "", "cannot be followed to this cut"),
        (Dropping(), "layer", "", "something else in training"),
        (Tied(), "first", "", r"would leave the weight 'second.weight' on both sides"),
    ],
)
def test_a_cut_that_cannot_be_is_refused_with_its_reason(
    network: nn.Module, at: str, until: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        cut_network(network, IMAGE, at, until)


def test_what_cannot_be_followed_may_be_inside_a_submodule() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3), Deciding())
    client, server, _ = cut_network(network.eval(), IMAGE, "0")
    assert torch.equal(server(client(images())), network(images()))


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match="does not take images of 3x4x4"):
        cut_points(Uneven(), Shape(3, 4, 4))


def test_the_network_stays_in_its_mode() -> None:
    network = Small().train()
    cut_points(network, IMAGE)
    cut_network(network, IMAGE, "block")
    assert network.training


def test_possible_cuts_are_those_that_all_data_pass() -> None:
    found = cut_points(Small(), IMAGE)
    assert list(found) == ["stem.0", "stem.1", "stem.2", "stem", "block", "pool"]
    assert found["block"] == (8, 16, 16)
    for name in found:
        cut_network(Small(), IMAGE, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 32),
        ("densenet121", 32),
        ("mobilenet_v3_small", 32),
        ("efficientnet_b0", 32),
        ("convnext_tiny", 32),
        ("vit_b_16", 224),
    ],
)
def test_models_of_torchvision_are_cut_in_three_places(name: str, size: int) -> None:
    from torchvision import models

    image = Shape(3, size, size)
    network = models.get_model(name, weights=None, num_classes=3).eval()
    names = list(cut_points(network, image))
    with torch.no_grad():
        whole = network(images(2, image))
        for place in (1, len(names) // 2, len(names) - 2):
            client, server, _ = cut_network(network, image, names[place])
            assert torch.equal(server(client(images(2, image))), whole), names[place]
