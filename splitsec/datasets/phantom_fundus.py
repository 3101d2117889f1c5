"""Drawn fundus photographs; nothing to download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from splitsec.data.decoding import to_grey
from splitsec.data.drawn.fundus import CLASSES, draw_fundus, phantom_label
from splitsec.data.drawn.source import Phantoms
from splitsec.progress import Progress


class PhantomFundus(Phantoms):
    """Drawn fundus photographs, healthy or with diabetic retinopathy."""

    name: ClassVar[str] = "phantom-fundus"
    version: ClassVar[str] = "1"
    classes: ClassVar[tuple[str, ...]] = CLASSES

    def labels(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """Return 0 (healthy) or 1 (diabetic retinopathy) for each key."""
        return np.array([phantom_label(*self.place(key)) for key in keys], np.int64)

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Draw photographs; shifted ones come from another camera."""
        images = np.empty((len(keys), channels, size, size), np.uint8)
        with progress.stage("drawing phantoms", len(keys)) as stage:
            for row, key in enumerate(keys):
                image = draw_fundus(*self.place(key), size, "shifted" if key & 1 else "screening")
                images[row] = image if channels == 3 else to_grey(image)
                stage.advance()
        return images
