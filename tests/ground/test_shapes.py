"""Shapes of images and smashed data: three kinds, told apart by their extents."""

from __future__ import annotations

import math
import re

import pytest
import torch

from splitsec.errors import NotApplicable
from splitsec.shapes import (
    Shape,
    SmashedShape,
    TokenShape,
    VectorShape,
    require_map,
    smashed_shape_of,
)

KINDS: list[tuple[tuple[int, ...], SmashedShape, str]] = [
    ((64, 8, 4), Shape(64, 8, 4), "64x8x4"),
    ((197, 64), TokenShape(197, 64), "197x64"),
    ((512,), VectorShape(512), "512"),
]


@pytest.mark.parametrize(("extents", "shape", "text"), KINDS)
def test_smashed_data_are_told_apart_by_their_extents(
    extents: tuple[int, ...], shape: SmashedShape, text: str
) -> None:
    found = smashed_shape_of(list(extents))
    assert (found, type(found), str(found)) == (shape, type(shape), text)
    assert torch.zeros(5, *found).numel() == 5 * math.prod(found) == 5 * math.prod(extents)


@pytest.mark.parametrize("extents", [(), (0, 4), (3, -1), (1, 2, 3, 4)])
def test_what_is_no_shape_of_smashed_data(extents: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(extents))):
        smashed_shape_of(extents)


def test_a_method_for_maps_says_what_it_was_given() -> None:
    assert require_map(Shape(8, 4, 4), "attack 'a'") == Shape(8, 4, 4)
    with pytest.raises(NotApplicable, match=r"attack 'a' needs .* sends 65 tokens of 64 values"):
        require_map(TokenShape(65, 64), "attack 'a'")
    with pytest.raises(NotApplicable, match="sends a vector of 12 values"):
        require_map(VectorShape(12), "attack 'a'")
