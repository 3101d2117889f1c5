"""What a cell has yielded so far; it becomes the record, also when the cell fails halfway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from torch import Tensor


@dataclass
class Findings:
    """Results as they come.

    Attributes:
        fields: of the record.
        flags: raised so far.
        notes: sentences for the reader.
        timings: stage to seconds.
        panel: what the panel shows, or empty.
        pictures: name to images that are kept beside the record.
        models: name to weights that are kept beside it where that was asked for.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    panel: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, NDArray[Any]] = field(default_factory=dict)
    models: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a block to a stage's timing."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[stage] = self.timings.get(stage, 0.0) + time.perf_counter() - start

    def flag(self, name: str, raised: bool = True) -> None:
        """Raise a flag once."""
        if raised and name not in self.flags:
            self.flags.append(name)

    def copy(self) -> Findings:
        """Return findings that begin with what these hold."""
        return Findings(
            dict(self.fields),
            [*self.flags],
            [*self.notes],
            dict(self.timings),
            dict(self.panel),
            dict(self.pictures),
            dict(self.models),
        )
