"""Varies an attacker's own images, so that a few hundred of them make thousands of queries."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from splitsec.devices import beside

_SHIFT = 0.06  # of the image's extent, at most
_TURN = 0.15  # radians, standard deviation
_SCALE = 0.06  # standard deviation
_CONTRAST, _BRIGHTNESS = 0.15, 0.06  # standard deviations
_MIXED = 0.5  # share of the variants to which a second image is mixed


def varied(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return images and then variants of them.

    A variant is mirrored or not, moved, turned and scaled a little, lighter or darker, and half
    of them are mixed with another image. Each image has as many variants as any other, give or take
    one. The steps need no knowledge of the data.

    Args:
        images: (N, C, H, W), in [0, 1].
        count: how many to return, 0 or more.
        generator: draws the variants, on the CPU.

    Returns:
        (count, C, H, W), in [0, 1]; the first N are the images themselves. Row r is of image r mod
        N.

    Examples:
        >>> import torch
        >>> images = torch.rand(4, 3, 8, 8)
        >>> more = varied(images, 10, torch.Generator().manual_seed(0))
        >>> more.shape, bool((more[:4] == images).all())
        (torch.Size([10, 3, 8, 8]), True)
    """
    extra = count - len(images)
    if extra <= 0:
        return images[:count]
    rows = torch.arange(extra) % len(images)
    turned = torch.randn(extra, generator=generator) * _TURN
    scaled = 1 + torch.randn(extra, generator=generator) * _SCALE
    mirrored = 1 - 2 * torch.randint(2, (extra,), generator=generator)
    moved = (2 * torch.rand(extra, 2, generator=generator) - 1) * 2 * _SHIFT
    cosine, sine = scaled * turned.cos(), scaled * turned.sin()
    placed = torch.stack(
        [cosine * mirrored, -sine, moved[:, 0], sine * mirrored, cosine, moved[:, 1]], 1
    ).view(-1, 2, 3)
    contrast = 1 + torch.randn(extra, 1, 1, 1, generator=generator) * _CONTRAST
    brightness = torch.randn(extra, 1, 1, 1, generator=generator) * _BRIGHTNESS
    partner = torch.randint(len(images), (extra,), generator=generator)
    share = torch.rand(extra, 1, 1, 1, generator=generator)
    share = torch.where(torch.rand(extra, 1, 1, 1, generator=generator) < _MIXED, share, 1.0)
    chosen = images[beside(rows, images)]
    grid = F.affine_grid(beside(placed, images), list(chosen.shape), align_corners=False)
    chosen = F.grid_sample(chosen, grid, padding_mode="border", align_corners=False)
    share, contrast, brightness = (beside(one, images) for one in (share, contrast, brightness))
    chosen = share * chosen + (1 - share) * images[beside(partner, images)]
    middle = chosen.mean((1, 2, 3), keepdim=True)
    chosen = (middle + (chosen - middle) * contrast + brightness).clamp(0, 1)
    return torch.cat([images, chosen])
