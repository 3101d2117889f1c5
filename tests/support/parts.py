"""Parts of a data set made for tests, and the parameters of a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from splitsec.data.parts import Part
from splitsec.data.sources import get_source


def make_part(count: int, channels: int = 3, size: int = 32, seed: int = 0) -> Part:
    """Return random images with two classes."""
    generator = np.random.default_rng(seed)
    return Part(
        images=generator.integers(0, 256, (count, channels, size, size), dtype=np.uint8),
        labels=np.arange(count, dtype=np.int64) % 2,
        indices=np.arange(count, dtype=np.int64),
    )


def source_parameters(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters of a data source, resolved, as JSON values."""
    resolved: dict[str, Any] = get_source(name, parameters).parameters.model_dump(mode="json")
    return resolved
