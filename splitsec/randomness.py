"""Derives the seed of each stage's random numbers from the values that the stage depends on.

No part of splitsec draws from the global generators: each stage (partition, initialisation, batch
order, attack, ...) seeds its own generator from a hash of its name and of these values, so adding a
draw in one stage cannot shift another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch


def derive_seed(stage: str, **depends_on: Any) -> int:
    """Derive a seed in [0, 2**63) from a stage's name and the values that it depends on.

    Args:
        stage: name of the stage, for example ``"initialisation"``.
        **depends_on: JSON values; order does not matter.

    Returns:
        The first 63 bits of the SHA-256 of the canonical JSON.
    """
    text = json.dumps([stage, depends_on], sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(stage: str, **depends_on: Any) -> torch.Generator:
    """Return a CPU ``torch.Generator`` for a stage; see :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(stage, **depends_on))


def numpy_generator(stage: str, **depends_on: Any) -> np.random.Generator:
    """Return a ``numpy.random.Generator`` for a stage; see :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(stage, **depends_on))


@contextmanager
def globally_seeded(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator for a block and restore it afterwards.

    Module constructors of torch draw their initial weights from the global generator and
    offer no other way; this is the one place where it is touched. ``torch.manual_seed`` takes 200
    times as long where there is no GPU: it notes a stack trace for one that may be used later.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # of torch
            torch.cuda.manual_seed_all(seed)
        yield


def seeded_global_generator(
    stage: str, depends_on: Mapping[str, Any]
) -> AbstractContextManager[None]:
    """Seed torch's global CPU generator for a stage, as :func:`globally_seeded` does."""
    return globally_seeded(derive_seed(stage, **depends_on))
