"""The machine that benchmarks run on: seconds, FLOPs, and its rate in matrix products."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

THREADS = 2
MATMUL_SIZE, MATMULS = 2048, 8


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def overhead(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of what ours takes more in rounds that took turns, as a share of theirs."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True)) - 1


class MatmulRate:
    """Times products of square matrices, which take turns with what is measured."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self._factors = torch.rand(2, MATMUL_SIZE, MATMUL_SIZE, generator=generator)
        self._seconds: list[float] = []

    def measure(self) -> None:
        a, b = self._factors
        self._seconds.extend(seconds(lambda: a @ b) for _ in range(MATMULS))

    @property
    def gflops(self) -> float:
        """The median rate, GFLOP/s."""
        return 2 * MATMUL_SIZE**3 / statistics.median(self._seconds) / 1e9


class FlopCount(TorchDispatchMode):
    """Count the FLOPs of what runs inside, by torch's own formulas."""

    def __init__(self) -> None:
        super().__init__()
        self.gflop = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.gflop += formula(*args, **(kwargs or {}), out_val=output) / 1e9
        return output
