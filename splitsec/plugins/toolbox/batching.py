"""Rows drawn at random: shuffled batches, and samples."""

from __future__ import annotations

import torch
from torch import Tensor

from splitsec.devices import beside


def batches(count: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Shuffle rows and cut them into batches; a last batch of one row joins the batch before.

    BatchNorm cannot train on one value per channel, so a batch of one image would fail wherever
    the map is 1x1.

    Args:
        count: number of rows.
        batch_size: rows per batch.
        generator: shuffles the rows.

    Returns:
        The row indices of each batch, int64, which together are 0 to ``count - 1``.

    Examples:
        >>> import torch
        >>> parts = batches(9, batch_size=4, generator=torch.Generator().manual_seed(0))
        >>> [len(rows) for rows in parts]
        [4, 5]
        >>> torch.cat(parts).sort().values.tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    chunks = list(torch.split(torch.randperm(count, generator=generator), batch_size))
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        last = chunks.pop()
        chunks[-1] = torch.cat([chunks[-1], last])
    return chunks


def sample(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the indices of rows that are drawn at random, none twice, on the rows' device.

    Args:
        rows: (N, ...).
        count: how many to draw; all of them if there are fewer.
        generator: draws them, on the CPU.

    Examples:
        >>> import torch
        >>> drawn = sample(torch.zeros(9, 3), 4, torch.Generator().manual_seed(0))
        >>> len(set(drawn.tolist())), sample(torch.zeros(2, 3), 4, torch.Generator()).numel()
        (4, 2)
    """
    return beside(torch.randperm(len(rows), generator=generator)[:count], rows)
