"""Defenses that change what is sent by a rule, and send nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from splitsec.cells.configured import configure
from splitsec.cells.plugin_requests import PluginRequest
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import NotApplicable, UsageError
from splitsec.plugins.defense import Defense
from splitsec.plugins.loading import list_plugins, load_plugin
from splitsec.plugins.parameters import build_parameters
from splitsec.progress import Silent
from splitsec.running.runs import run_cells
from splitsec.shapes import Shape, SmashedShape, TokenShape, VectorShape, smashed_shape_of
from support.cells import COUNTS, tiny_cells

IMAGE, MAP = Shape(3, 16, 16), Shape(12, 8, 8)


def defense_of(
    name: str, smashed: SmashedShape = MAP, image: Shape = IMAGE, **given: Any
) -> Defense[Any]:
    cls = load_plugin("defense", name).cls
    made: Defense[Any] = cls(build_parameters(f"defense {name!r}", cls.Parameters, given))
    torch.manual_seed(0)
    made.begin(image, smashed, torch.Generator().manual_seed(0))
    return made


def batch(count: int = 6, smashed: SmashedShape = MAP) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(1)
    images = torch.rand(count, *IMAGE, generator=drawn)
    return images, torch.randn(count, *smashed, generator=drawn) * 3


@pytest.mark.parametrize("smashed", [MAP, TokenShape(5, 8), VectorShape(30)])
def test_a_clipped_norm_depends_on_its_own_image_alone(smashed: SmashedShape) -> None:
    defense = defense_of("clip", smashed, limit=0.7)
    images, sent = batch(smashed=smashed)
    sent[0] *= 1e-3
    clipped = defense.release(images, sent)
    largest = 0.7 * torch.Size(smashed).numel() ** 0.5
    norms = clipped.flatten(1).norm(dim=1)
    assert torch.equal(clipped[0], sent[0]), "it is within the limit"
    assert norms[1:].tolist() == pytest.approx([largest] * 5, rel=1e-5)
    other = sent.clone()
    other[3] = torch.randn(*smashed) * 1e4
    moved = defense.release(images, other) - clipped
    assert moved[torch.arange(6) != 3].abs().max() == 0
    assert moved[3].norm() <= 2 * largest * 1.001
    assert defense.release(images, torch.zeros_like(sent)).abs().max() == 0


@pytest.mark.parametrize(("bound", "low", "high"), [("tanh", -0.5, 0.5), ("sigmoid", 0, 0.5)])
def test_each_value_is_bounded(bound: str, low: float, high: float) -> None:
    images, sent = batch()
    made = defense_of("clip", bound=bound, limit=0.5).release(images, 100 * sent)
    assert (made.min().item(), made.max().item()) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("name", "kurtosis"), [("gaussian-noise", 3.0), ("laplace-noise", 6.0)])
def test_noise_has_the_stated_deviation_and_form(name: str, kurtosis: float) -> None:
    images, sent = batch(256)
    for unit, scale in (("batch", sent.std().item()), ("absolute", 1.0)):
        noise = defense_of(name, sigma=0.5, unit=unit).release(images, sent) - sent
        assert noise.mean().item() == pytest.approx(0, abs=0.01 * scale)
        assert noise.std().item() == pytest.approx(0.5 * scale, rel=0.01)
        standard = (noise - noise.mean()) / noise.std()
        assert standard.pow(4).mean().item() == pytest.approx(kurtosis, rel=0.1)


def test_dropout_keeps_the_mean_and_draws_anew() -> None:
    images, sent = batch(256)
    defense = defense_of("dropout", rate=0.75)
    first, second = (defense.release(images, sent + 5) for _ in range(2))
    assert (first == 0).float().mean().item() == pytest.approx(0.75, abs=0.01)
    assert first.mean().item() == pytest.approx((sent + 5).mean().item(), rel=0.02)
    assert (first != second).float().mean().item() == pytest.approx(2 * 0.75 * 0.25, abs=0.01)
    assert torch.equal(defense_of("dropout", rate=0).release(images, sent), sent)


def test_top_k_sends_the_largest_and_as_many_as_stated() -> None:
    images, sent = batch()
    made = defense_of("top-k", share=0.25, random=0).release(images, sent).flatten(1)
    flat = sent.flatten(1)
    due = torch.zeros_like(flat).scatter(1, flat.abs().topk(192, dim=1).indices, 1.0) * flat
    assert torch.equal(made, due)
    assert (defense_of("top-k", share=1e-9, random=0).release(images, sent) != 0).sum() == 6


@pytest.mark.parametrize(("random", "in_top"), [(0.3, 0.7), (1.0, 0.0)])
def test_randomised_top_k_sends_as_many_of_which_some_are_drawn(
    random: float, in_top: float
) -> None:
    images, sent = batch(64)
    defense = defense_of("top-k", share=0.25, random=random)
    first, second = (defense.release(images, sent).flatten(1) for _ in range(2))
    assert ((first != 0).sum(1) == 192).all()
    assert not torch.equal(first, second)
    top = sent.flatten(1).abs()
    top = top >= top.topk(192, dim=1).values[:, -1:]
    assert ((first != 0) & top).sum().item() / (64 * 192) == pytest.approx(in_top, abs=0.02)
    all_sent = defense_of("top-k", share=1, random=random).release(images, sent)
    assert torch.equal(all_sent, sent)


@pytest.mark.parametrize("name", ["dropout", "top-k", "thumbnail", "colour-only"])
def test_zeros_have_no_sign(name: str) -> None:
    images, sent = batch()
    made = defense_of(name).release(images, sent)
    assert (made == 0).any()
    assert not torch.signbit(made[made == 0]).any(), "it would be that of what is not sent"


@pytest.mark.parametrize("bits", [1, 3])
def test_each_image_has_its_own_few_levels(bits: int) -> None:
    images, sent = batch()
    sent[2] = 4.0  # constant
    sent.requires_grad_()
    made = defense_of("quantise", bits=bits).release(images, sent)
    for one, original in zip(made.detach(), sent.detach(), strict=True):
        assert len(one.unique()) <= 2**bits, "not even the last bits tell more"
        step = (original.max() - original.min()) / (2**bits - 1)
        assert (one - original).abs().max() <= step / 2 + 1e-4
    made.sum().backward()
    assert torch.equal(sent.grad, torch.ones_like(sent)), "the gradient passes unchanged"


@pytest.mark.parametrize("smashed", [MAP, VectorShape(30)])
def test_a_bottleneck_sends_no_more_dimensions_than_it_has_channels(smashed: SmashedShape) -> None:
    images, sent = batch(400, smashed)
    made = defense_of("bottleneck", smashed, channels=3).release(images, sent).detach()
    positions = made.movedim(1, -1).flatten(0, -2)
    assert torch.linalg.matrix_rank(positions - positions.mean(0), rtol=1e-4) == 3


def test_a_client_trains_its_bottleneck(tmp_path: Path) -> None:
    def trained(epochs: int) -> dict[str, float]:
        (cell,) = tiny_cells("none", "bottleneck:channels=2", None, f"training.epochs={epochs}")
        (record,) = run_cells([cell], tmp_path, Silent())
        assert record.status == "ok", record.reason
        return record.numbers()

    assert trained(1) != trained(2)


@pytest.mark.parametrize(("name", "size"), [("thumbnail", 4), ("colour-only", 1)])
@pytest.mark.parametrize("smashed", [MAP, TokenShape(17, 8), VectorShape(60)])
def test_nothing_is_sent_but_the_thumbnail(name: str, size: int, smashed: SmashedShape) -> None:
    images, sent = batch(smashed=smashed)
    small = F.adaptive_avg_pool2d(images, size)
    alike = F.interpolate(small, (16, 16))  # other images with the same thumbnails
    defense = defense_of(name, smashed)
    made, same = defense.release(images, sent), defense.release(alike, 2 * sent)
    assert torch.allclose(made, same, atol=1e-6), "it depends on the thumbnail alone"
    values = (small - 0.5).flatten(1)
    if isinstance(smashed, Shape):
        shown = F.adaptive_avg_pool2d(made[:, :3], size).flatten(1)
        assert made[:, 3:].abs().max() == 0
    else:
        shown = made.flatten(1)[:, : values.shape[1]]
        assert made.flatten(1)[:, values.shape[1] :].abs().max() == 0
    assert torch.allclose(shown, values, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "smashed", "image", "says"),
    [
        ("thumbnail", Shape(12, 2, 2), IMAGE, "does not fit into smashed data of 12x2x2"),
        ("thumbnail", Shape(2, 8, 8), IMAGE, "does not fit"),
        ("thumbnail", VectorShape(47), IMAGE, "does not fit"),
        ("thumbnail", MAP, Shape(3, 2, 2), "does not fit"),
        ("colour-only", Shape(2, 8, 8), IMAGE, "does not fit"),
        ("bottleneck", TokenShape(17, 64), IMAGE, "these are tokens"),
        ("bottleneck", Shape(8, 4, 4), IMAGE, "does not narrow smashed data of 8"),
    ],
)
def test_what_cannot_work_is_refused(
    name: str, smashed: SmashedShape, image: Shape, says: str
) -> None:
    with pytest.raises(NotApplicable, match=says):
        defense_of(name, smashed, image)


@pytest.mark.parametrize(
    ("name", "parameter", "values"),
    [
        ("clip", "limit", ["0", "-1", "inf", "nan", "much"]),
        ("clip", "bound", ["cosine"]),
        ("gaussian-noise", "sigma", ["-1", "inf", "nan", "loud"]),
        ("laplace-noise", "sigma", ["-1", "inf", "nan", ""]),
        ("laplace-noise", "unit", ["pixels"]),
        ("dropout", "rate", ["1", "-0.1", "nan", "half"]),
        ("top-k", "share", ["0", "1.1", "nan", "all"]),
        ("top-k", "random", ["-0.1", "1.1", "nan"]),
        ("quantise", "bits", ["0", "17", "1.5", "few"]),
        ("bottleneck", "channels", ["0", "2.5", "nan", "few"]),
        ("thumbnail", "size", ["0", "1.5", "tiny"]),
        ("colour-only", "size", ["1"]),
    ],
)
def test_a_strength_out_of_range_is_refused(name: str, parameter: str, values: list[str]) -> None:
    for value in values:
        with pytest.raises(UsageError, match=f"parameter.*{name!r}|{parameter!r} of defense"):
            configure("defense", PluginRequest(name, {parameter: value}))


STRONGER_IF_LOWER = {
    "proxy-adversary",
    "top-k",
    "quantise",
    "bottleneck",
    "thumbnail",
    "dp-release",
    "splitout",
}


@pytest.mark.parametrize("name", [one.name for one in list_plugins("defense")])
def test_strengths_are_valid_and_go_from_weak_to_strong(name: str) -> None:
    strength = load_plugin("defense", name).cls.strength
    if name in ("none", "clip", "colour-only"):
        assert strength is None
        return
    values = list(strength.values)
    assert 4 <= len(values) <= 7
    assert values == sorted(values, reverse=name in STRONGER_IF_LOWER)
    for value in values:
        asked = PluginRequest(name, {strength.parameter: f"{value:g}"})
        assert configure("defense", asked).values()[strength.parameter] == value


@pytest.mark.parametrize("name", ["bottleneck:channels=2", "bottleneck:channels=2+clip"])
def test_in_inference_an_untrained_network_is_refused(tmp_path: Path, name: str) -> None:
    name = name.replace("bottleneck:channels=2+clip", "bottleneck+clip:channels=2")
    cells = resolve(
        Request(
            attack="none",
            defense=f"{name},clip",
            target="fsha-client",
            cut="1",
            size="16",
            threads=1,
            settings=[*COUNTS, "training.mode=inference"],
        )
    )
    refused, allowed = run_cells(cells, tmp_path, Silent())
    assert (refused.status, allowed.status) == ("skipped", "ok")
    assert "nothing is trained here (training.mode=inference)" in str(refused.reason)


def test_shapes_are_those_of_a_batch_without_its_axis() -> None:
    assert smashed_shape_of((12, 8, 8)) == MAP
