"""Rows shuffled into batches."""

from __future__ import annotations

import torch
from torch import Tensor


def batches(count: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Shuffle ``count`` rows and cut them into batches; a last batch of one joins the other.

    BatchNorm cannot train on one value per channel, so a single left-over image would fail
    wherever the map is 1x1.
    """
    chunks = list(torch.split(torch.randperm(count, generator=generator), batch_size))
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        last = chunks.pop()
        chunks[-1] = torch.cat([chunks[-1], last])
    return chunks
