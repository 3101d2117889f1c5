"""Tokens and vectors as maps, and decoders and standardisation of all kinds of smashed data."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from splitsec.checkpoint import Checkpoints
from splitsec.plugins.toolbox.decoders import DECODERS
from splitsec.plugins.toolbox.inversion import InversionParameters, invert, standardise
from splitsec.plugins.toolbox.layouts import Grid, TokenGrid, grid_of, map_layout
from splitsec.plugins.toolbox.queries import Pairs, keep_some
from splitsec.progress import Silent
from splitsec.shapes import Shape, SmashedShape, TokenShape, VectorShape

SQUARE, WIDE = Shape(3, 32, 32), Shape(1, 16, 48)
SMASHED: list[SmashedShape] = [
    Shape(8, 4, 4),
    TokenShape(16, 6),
    TokenShape(17, 6),
    TokenShape(13, 6),
    VectorShape(20),
]


def test_every_weight_of_a_decoder_of_one_place_is_learned() -> None:
    torch.manual_seed(0)
    decoder = DECODERS["adaptive"]((8, 1, 1), (3, 16, 16))
    decoder(torch.rand(16, 8, 1, 1)).square().sum().backward()
    weights = [one.grad for one in decoder.parameters() if one.dim() == 4 and one.grad is not None]
    assert len(weights) == 5
    for gradient in weights:
        assert (gradient.abs().sum((0, 1)) > 0).all()


@pytest.mark.parametrize(
    ("tokens", "image", "grid"),
    [
        (64, SQUARE, Grid(8, 8, False)),
        (65, SQUARE, Grid(8, 8, True)),
        (1, SQUARE, Grid(1, 1, False)),
        (2, SQUARE, Grid(1, 1, True)),
        (12, WIDE, Grid(2, 6, False)),
        (13, WIDE, Grid(2, 6, True)),
        (3, SQUARE, None),
        (66, SQUARE, None),
        (16, WIDE, None),
    ],
)
def test_tokens_cover_an_image_in_its_own_proportions(
    tokens: int, image: Shape, grid: Grid | None
) -> None:
    assert grid_of(tokens, image) == grid


def test_each_patch_comes_to_lie_where_it_was() -> None:
    images = torch.rand(2, 3, 8, 24)
    means = F.avg_pool2d(images, 4)
    tokens = means.flatten(2).transpose(1, 2)
    assert torch.equal(TokenGrid(Grid(2, 6, False))(tokens), means)
    first = torch.rand(2, 1, 3)
    maps = TokenGrid(Grid(2, 6, True))(torch.cat([first, tokens], 1))
    assert torch.equal(maps[:, :3], means)
    assert torch.equal(maps[:, 3:], first.transpose(1, 2)[..., None].expand(2, 3, 2, 6))


def test_maps_pass_as_they_are() -> None:
    assert map_layout(Shape(8, 4, 4), SQUARE) == ([], Shape(8, 4, 4))


@pytest.mark.parametrize("image", [SQUARE, WIDE], ids=str)
@pytest.mark.parametrize("smashed", SMASHED, ids=str)
@pytest.mark.parametrize("name", DECODERS)
def test_decoders_take_any_smashed_data(name: str, smashed: SmashedShape, image: Shape) -> None:
    decoder = DECODERS[name](smashed, image)
    given = torch.randn(2, *smashed, requires_grad=True)
    images = decoder(given)
    assert images.shape == (2, *image)
    images.square().sum().backward()
    assert given.grad is not None
    reached = given.grad.abs().flatten(1).gt(0).float().mean()
    assert reached > 0.5, "most values have a say"


@pytest.mark.parametrize(
    ("smashed", "others"), [((50, 4, 3, 3), (0, 2, 3)), ((50, 7, 4), (0, 1)), ((50, 4), (0,))]
)
def test_each_channel_or_feature_is_standardised(
    smashed: tuple[int, ...], others: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    scales = torch.tensor([0.1, 1.0, 5.0, 20.0])
    shape = (4, 1, 1) if len(smashed) == 4 else (4,)
    given = torch.randn(smashed) * scales.view(shape) + 3
    made = standardise(given)(given)
    spread, mean = torch.std_mean(made, others)
    assert torch.allclose(mean, torch.zeros(4), atol=1e-5)
    assert torch.allclose(spread, torch.ones(4), atol=1e-5)


@pytest.mark.parametrize("smashed", SMASHED, ids=str)
def test_a_decoder_learns_from_any_smashed_data(smashed: SmashedShape) -> None:
    """Images of one grey level each, which every value of the smashed data repeats."""
    torch.manual_seed(0)
    levels = torch.rand(64, 1)
    images = levels[..., None, None].expand(64, 1, 8, 8)
    sent = levels.expand(64, torch.Size(smashed).numel()).reshape(64, *smashed)
    given, draw = InversionParameters(epochs=30), torch.Generator().manual_seed(1)
    pairs = Pairs(images, sent, keep_some(64, 0.1, draw))
    trained = invert(given, pairs, draw, Silent(), "training", Checkpoints())
    assert F.mse_loss(trained.reconstruct(sent), images) < 0.01
