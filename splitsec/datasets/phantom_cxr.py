"""Drawn chest X-rays with masks of the lungs; nothing to download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from splitsec.data.drawn.chest import Style, draw_cxr, draw_cxr_mask
from splitsec.data.drawn.source import Phantoms
from splitsec.plugins.source import Task
from splitsec.progress import Progress


class PhantomCxr(Phantoms):
    """Drawn frontal chest X-rays with masks of the lungs."""

    task: ClassVar[Task] = "segmentation"
    name: ClassVar[str] = "phantom-cxr"
    version: ClassVar[str] = "1"

    def labels(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """Return zeros, because films are labelled with masks."""
        return np.zeros(len(keys), np.int64)

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Draw films; shifted ones come from another hospital."""
        films = np.empty((len(keys), channels, size, size), np.uint8)
        with progress.stage("drawing phantoms", len(keys)) as stage:
            for row, key in enumerate(keys):
                films[row] = draw_cxr(*self.place(key), size, _style(key))[0]
                stage.advance()
        return films

    def decode_masks(self, keys: Sequence[int], size: int, progress: Progress) -> NDArray[np.uint8]:
        """Draw the masks of films."""
        masks = np.empty((len(keys), 1, size, size), np.uint8)
        with progress.stage("drawing masks", len(keys)) as stage:
            for row, key in enumerate(keys):
                masks[row] = draw_cxr_mask(*self.place(key), size, _style(key))
                stage.advance()
        return masks


def _style(key: int) -> Style:
    return "shifted" if key & 1 else "standard"
