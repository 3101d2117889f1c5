"""The vision transformer: tokens at each cut, the same weights at each, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import UsageError
from splitsec.plugins.target import smashed_shape
from splitsec.shapes import Shape, TokenShape
from splitsec.targets.vit import PatchEmbedding
from support.halves import target_of

IMAGE = Shape(3, 32, 32)


@pytest.mark.parametrize("cut", range(5))
def test_every_cut_starts_from_the_same_weights(cut: int) -> None:
    images = torch.rand(2, *IMAGE, generator=torch.Generator().manual_seed(0))
    outputs = []
    for one in (0, cut):
        torch.manual_seed(1)
        client, server, head = target_of("vit").split(IMAGE, 5, one)
        assert head is None
        assert smashed_shape(client, IMAGE) == TokenShape(65, 64)
        outputs.append(server(client(images)))
    assert outputs[0].shape == (2, 5)
    torch.testing.assert_close(*outputs)


def test_tokens_are_the_class_and_then_the_patches_row_by_row() -> None:
    torch.manual_seed(0)
    embedding = PatchEmbedding(Shape(1, 8, 12), patch=4, width=5)
    images = torch.rand(2, 1, 8, 12)
    tokens = embedding(images) - embedding.positions
    assert tokens.shape == (2, 7, 5)
    assert torch.equal(tokens[:, :1], embedding.class_token.expand(2, 1, 5))
    patches = F.unfold(images, 4, stride=4).transpose(1, 2)
    weights = embedding.patches.weight.flatten(1)
    torch.testing.assert_close(tokens[:, 1:], patches @ weights.T)


@pytest.mark.parametrize(
    ("target", "request_", "says"),
    [
        ("vit:patch=5", {}, "takes images of 5 to 65535 pixels in steps of 5.* use --size 30"),
        ("vit:depth=2", {"cut": 3}, "cut 3 leaves nothing to the server .* choose one of 0 to 2"),
        ("vit", {"cut": 13}, "cut 13 is out of range"),
        ("vit:heads=3", {}, "heads=3 do not divide width=64"),
    ],
)
def test_what_cannot_be_built_is_said_before_any_cell(
    target: str, request_: dict[str, int], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        resolve(Request(attack="none", defense="none", target=target, size=32, **request_))
