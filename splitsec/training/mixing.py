"""Finds clients that mix the images of a batch, for defenses that bound what one image changes."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from splitsec.devices import Device
from splitsec.errors import NotApplicable
from splitsec.plugins.target import encode
from splitsec.randomness import globally_seeded
from splitsec.shapes import Shape

_CLOSE = 1e-4  # relative; kernels may round an image differently in another batch


def refuse_mixing(label: str, encoder: nn.Module, image: Shape, device: Device) -> None:
    """Raise an error if another image in the batch changes what is sent of an image.

    It tries: a copy of the encoder gets two batches that differ in one image.

    Args:
        label: names the defense.
        encoder: in the mode in which it sends.
        image: shape of one image.
        device: where the encoder is.

    Raises:
        NotApplicable: it does.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, *image, generator=generator)
    changed = images.clone()
    changed[0] = torch.rand(*image, generator=generator)
    probe = copy.deepcopy(encoder)

    def others(batch: Tensor) -> Tensor:
        with globally_seeded(0), torch.no_grad():  # dropout drops the same values
            return encode(probe, device.put(batch)).smashed[1:]

    first, second = others(images), others(changed)
    if torch.allclose(first, second, rtol=_CLOSE, atol=_CLOSE * float(first.abs().max())):
        return
    norms = [
        f", as its layer {name!r} does"
        for name, one in encoder.named_modules()
        if isinstance(one, nn.modules.batchnorm._BatchNorm)
    ]
    raise NotApplicable(
        f"{label} bounds what one image changes, and this client mixes the images of a batch"
        f"{norms[0] if norms else ''}; use one that normalises each image by itself, such as "
        "--target resnet:norm=group"
    )
