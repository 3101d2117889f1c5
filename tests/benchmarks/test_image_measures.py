"""What measuring an image costs, and how it grows: SSIM, LPIPS and identification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from machine import THREADS
from tables import report
from torch import Tensor

from splitsec.metrics.identification import GALLERY, Gallery
from splitsec.metrics.image_errors import ssim
from splitsec.metrics.lpips_weights import load_backbone
from splitsec.metrics.perceptual import Lpips

ROUNDS = 5


def lpips() -> Callable[[Tensor, Tensor], Tensor]:
    return Lpips(load_backbone()).distance


MEASURES: dict[str, Callable[[], Callable[[Tensor, Tensor], object]]] = {
    "SSIM": lambda: ssim,
    "LPIPS (AlexNet, both images)": lpips,
    f"identification among {GALLERY}": lambda: (
        lambda images, victims: Gallery.of(victims, victims.mean(0)).identify(images)
    ),
}


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("name", MEASURES)
def test_image_measure(name: str, size: int, benchmark: Any) -> None:
    torch.set_num_threads(THREADS)
    generator = torch.Generator().manual_seed(1)
    images, victims = torch.rand(2, GALLERY, 3, size, size, generator=generator)
    measure = MEASURES[name]()
    benchmark.pedantic(measure, (images, victims), rounds=ROUNDS, warmup_rounds=1)
    per_image = benchmark.stats.stats.median / GALLERY
    report(
        benchmark,
        "image-measures",
        {
            "measure": name,
            "size": f"{size} px",
            "per image, ms": 1e3 * per_image,
            "per megapixel, ms": 1e3 * per_image / (size * size / 1e6),
        },
    )
