"""Recordings of traffic, as splitsec audit --traffic reads them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file


def write_random_traffic(folder: Path, count: int) -> Path:
    """Write ``count`` random images, and as many public ones, of which grey versions are sent."""
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for name in ("0", "public"):
        images = torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)
        held = {"images": images, "labels": torch.arange(count) % 2}
        if name != "public":
            held["smashed"] = images.float().mean(1, keepdim=True)
        save_file(held, folder / f"{name}.safetensors")
    return folder
