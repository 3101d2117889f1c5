"""What targets state of the images and cuts that they take, and what their clients may send."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from splitsec.errors import PluginError, UsageError
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import Target, check_target, nearest_size, smashed_shape, split_target
from splitsec.shapes import Shape, SmashedShape, TokenShape, VectorShape


class Grey(Target[Parameters]):
    """Takes grey images of 16, 24 or 32 pixels, and has no layer after cut 1."""

    cuts: ClassVar[range] = range(3)
    default_cut: ClassVar[int] = 0
    channels: ClassVar[tuple[int, ...]] = (1,)

    def sizes(self) -> range:
        return range(16, 33, 8)

    def possible_cuts(self) -> range:
        return range(2)

    def preprocessing(self, image: Shape) -> nn.Module:
        return nn.Identity()

    def layers(self, image: Shape, outputs: int) -> list[nn.Module]:
        values = image.height * image.width
        return [nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(values, outputs)]


def split(image: Shape, cut: int = 0, cls: type[Target[Any]] = Grey) -> Any:
    return split_target("target 'grey'", cls(Parameters()), image, 2, cut)


def test_images_and_cuts_that_it_takes() -> None:
    check_target("target 'grey'", Grey, 0)
    assert smashed_shape(split(Shape(1, 16, 24), 1).client, Shape(1, 16, 24)) == VectorShape(384)


@pytest.mark.parametrize(
    ("image", "cut", "says"),
    [
        (Shape(3, 16, 16), 0, "takes grey images only; use --channels 1"),
        (Shape(1, 16, 20), 0, "16 to 32 pixels in steps of 8 .*, not 20; use --size 24"),
        (Shape(1, 64, 64), 0, "not 64; use --size 32"),
        (Shape(1, 16, 16), 2, "cut 2 leaves nothing to the server .* choose one of 0 to 1"),
    ],
)
def test_what_it_does_not_take_is_said(image: Shape, cut: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        split(image, cut)


@pytest.mark.parametrize(("wanted", "nearest"), [(1, 16), (19, 16), (20, 24), (28, 32), (99, 32)])
def test_the_nearest_size(wanted: int, nearest: int) -> None:
    assert nearest_size(range(16, 33, 8), wanted) == nearest


@pytest.mark.parametrize("channels", [(), (2,), [1, 3], 3])
def test_channels_that_no_image_has(channels: Any) -> None:
    with pytest.raises(PluginError, match="states channels"):
        check_target("target 'grey'", type("Odd", (Grey,), {"channels": channels}), None)


def test_sizes_that_are_no_range() -> None:
    with pytest.raises(PluginError, match=r"target 'grey' returned \[32\] from sizes\(\)"):
        split(Shape(1, 32, 32), cls=type("Odd", (Grey,), {"sizes": lambda self: [32]}))
    with pytest.raises(PluginError, match="target 'grey' raised TypeError in sizes"):
        split(Shape(1, 32, 32), cls=type("Odd", (Grey,), {"sizes": range(32, 33)}))


class _Sends(nn.Module):
    def __init__(self, *extents: int) -> None:
        super().__init__()
        self.extents = extents

    def forward(self, images: Tensor) -> Tensor:
        return images.new_zeros(self.extents)


@pytest.mark.parametrize(
    ("sent", "shape"),
    [
        ((1, 8, 4, 2), Shape(8, 4, 2)),
        ((1, 17, 8), TokenShape(17, 8)),
        ((1, 9), VectorShape(9)),
    ],
)
def test_what_a_client_may_send(sent: tuple[int, ...], shape: SmashedShape) -> None:
    assert smashed_shape(_Sends(*sent), Shape(3, 16, 16)) == shape


@pytest.mark.parametrize(
    "sent", [(1,), (), (17, 1, 8), (1, 0, 8), (1, 2, 3, 4, 5)], ids=["no features", *"abcd"]
)
def test_what_a_client_may_not_send(sent: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="needs the batch axis first"):
        smashed_shape(_Sends(*sent), Shape(3, 16, 16))
