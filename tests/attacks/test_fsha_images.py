"""The game in images, and the pace that gradients set for the client."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from splitsec.attacks.fsha import images
from splitsec.attacks.fsha.images import ImageGame, LinearDecoder, energy_distance
from splitsec.attacks.fsha.pace import Pace
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.progress import Silent
from splitsec.randomness import seeded_global_generator
from splitsec.running.runs import run_cells
from support.cells import COUNTS
from support.smashed_shapes import SHAPES

SMALL = [shapes for shapes in SHAPES if max(shapes[0]) < 100]


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(images, "_STARTS", 2)
    with seeded_global_generator("test", {}):
        yield


def game(smashed: Tensor, public: Tensor) -> ImageGame:
    generator = torch.Generator().manual_seed(0)
    shapes = tuple(public.shape[1:]), tuple(smashed.shape[1:])
    one = ImageGame(*shapes, public, 5e-3, generator)
    one.remember(smashed)
    return one


@pytest.mark.parametrize(("image", "smashed"), SMALL)
def test_any_shape_is_answered(image: tuple[int, int, int], smashed: tuple[int, int, int]) -> None:
    sent, public = torch.randn(2, *smashed), torch.rand(3, *image)
    one = game(sent, public)
    one.start(1)
    gradient, distance = one.step(sent)
    assert gradient.shape == sent.shape
    assert gradient.isfinite().all()
    assert distance == pytest.approx(distance)
    assert one.decoder(sent).shape == (2, *image)


@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_smashed_data_without_an_image_give_the_mean_image(constant: float) -> None:
    sent, public = torch.full((8, 4, 4, 4), constant), torch.rand(8, 1, 8, 8)
    decoder = LinearDecoder((4, 4, 4), 1, 2, 32)
    decoder.begin(sent, public)
    torch.testing.assert_close(decoder(sent), public.mean(0).expand(8, 1, 8, 8))


def test_a_refined_decoder_makes_the_same_images_enlarged() -> None:
    sent, public = torch.randn(8, 40, 4, 4), torch.rand(8, 3, 16, 16)
    coarse = LinearDecoder((40, 4, 4), 3, 2, 32)
    coarse.begin(sent, public)
    enlarged = nn.functional.interpolate(coarse(sent), scale_factor=2)
    torch.testing.assert_close(coarse.refined()(sent), enlarged)


def test_energy_distance_tells_places_and_joint_values() -> None:
    columns = torch.randn(400, 2, 1, 1, 16).expand(400, 2, 1, 16, 16)
    ours, theirs = columns.unbind(1)
    assert abs(energy_distance(ours, theirs)) < 0.01
    assert energy_distance(ours + 0.5, theirs) > 0.03
    assert energy_distance(ours.transpose(2, 3), theirs) > 0.03  # each pixel alone is alike
    shade = torch.linspace(0, 2, 16)
    assert energy_distance(ours + shade.flip(0), theirs + shade) > 0.1


def bars(count: int) -> Tensor:
    """Dark images of 8 x 8 with one bright bar that begins at the left and ends anywhere."""
    rows, length = torch.arange(8), torch.randint(1, 7, (count, 1, 1, 1))
    row = torch.randint(1, 6, (count, 1, 1, 1))
    inside = (rows[:, None] >= row) & (rows[:, None] < row + 2) & (rows < length)
    return 1.6 * inside.float() - 0.8


@pytest.mark.slow
def test_mixed_images_are_found_again_without_a_pair() -> None:
    mixing = nn.Conv2d(1, 16, 2, 2).requires_grad_(False)
    private = bars(300)
    one = game(mixing(private), bars(300))
    one.start(150)
    blind = bars(300).mean(0).sub(private).square().mean()
    with torch.no_grad():
        error = (one.decoder(mixing(private)) - private).square().mean()
    assert error < 0.3 * blind


class Steps:
    """The steps of a client's single weight, by torch's Adam with a learning rate of one."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.double))
        self.adam = torch.optim.Adam([self.weight], lr=1.0)

    def take(self, gradient: float) -> float:
        before = self.weight.item()
        self.weight.grad = torch.full_like(self.weight, gradient)
        self.adam.step()
        return before - self.weight.item()


@pytest.mark.parametrize(("before", "length"), [(0, 0.0), (16, 0.0), (300, 0.02)])
def test_adam_takes_steps_of_the_wanted_length(before: int, length: float) -> None:
    pace, client = Pace(), Steps()
    for step in range(before):
        client.take(length * (-1) ** step)
        pace.wait(length)
    taken = [client.take(pace.factor(0.1)) for _ in range(600)]
    assert abs(sum(taken[:20])) < 4
    assert taken[100:] == pytest.approx([0.1] * 500, rel=0.06)


@pytest.mark.slow
@pytest.mark.parametrize(("cut", "images_from_the_start"), [(4, True), (1, False)])
def test_depth_decides_the_game(cut: int, images_from_the_start: bool, tmp_path: Path) -> None:
    asked = Request(
        attack="fsha:iterations=12,image_steps=1,pretraining=1",
        target="fsha-client",
        cut=cut,
        size=16,
        threads=1,
        settings=COUNTS,
    )
    (record,) = run_cells(resolve(asked), tmp_path, Silent())
    assert record.status == "ok", record.reason
    assert record.session["attacked_exchanges"] == 12
    assert ("distance from public images" in record.history["attack"]) == images_from_the_start
    measured = "distance from public images" if images_from_the_start else "public images"
    assert [one.measured_on for one in record.convergence] == [measured]
    assert "client-settings" not in record.flags
