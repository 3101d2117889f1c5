"""Group normalisation: the same initial weights, and no image changes what is sent of another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.target import SplitModel, encode
from splitsec.plugins.toolbox.layers import normalisation
from splitsec.shapes import Shape

IMAGE = Shape(3, 32, 32)


def built(name: str, cut: int, **parameters: object) -> SplitModel:
    cls = load_plugin("target", name).cls
    torch.manual_seed(0)
    return cls(cls.Parameters(**parameters)).split(IMAGE, 2, cut)


def weights(model: SplitModel) -> list[Tensor]:
    parts = [one for one in model if one is not None]
    return [weight.detach() for part in parts for weight in part.parameters()]


@pytest.mark.parametrize(("name", "cut"), [("resnet", 5), ("unet", 2)])
def test_no_image_changes_what_is_sent_of_another(name: str, cut: int) -> None:
    images, other = torch.rand(4, *IMAGE), torch.rand(1, *IMAGE)
    changed = torch.cat([other, images[1:]])
    for norm, alone in (("group", True), ("batch", False)):
        client = built(name, cut, norm=norm).client.train()
        sent = [encode(client, batch).smashed[1:] for batch in (images, changed)]
        assert torch.equal(*sent) == alone


@pytest.mark.parametrize(("name", "cut"), [("resnet", 5), ("unet", 2)])
def test_both_kinds_begin_with_the_same_weights(name: str, cut: int) -> None:
    batch, group = (weights(built(name, cut, norm=norm)) for norm in ("batch", "group"))
    assert all(torch.equal(one, other) for one, other in zip(batch, group, strict=True))
    keys = {
        str(cell.client_key())
        for norm in ("batch", "group")
        for cell in resolve(Request(attack="none", target=f"{name}:norm={norm}"))
    }
    assert len(keys) == 1, "and with the same batches"


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 12, 16, 64, 512])
def test_a_group_has_two_channels_or_more(channels: int) -> None:
    group = normalisation("group", channels)
    assert isinstance(group, nn.GroupNorm)
    assert channels == 1 or channels // group.num_groups >= 2
