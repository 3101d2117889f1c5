"""What benchmarks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from machine import THREADS


@pytest.fixture
def both_cores() -> Iterator[None]:
    """Let torch use as many threads as the yardstick does."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)
