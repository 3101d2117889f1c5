"""Phantoms as a source: drawn fundus photographs, any number, nothing to download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from splitsec.data.decoding import to_grey
from splitsec.data.phantom import CLASSES, draw_fundus, phantom_label
from splitsec.data.source import ANY, SHIFTED, Availability, Catalogue, Source
from splitsec.data.spec import DataSpec
from splitsec.parameters import Parameters
from splitsec.progress import Progress

_VERSION = "1"  # of the drawing; raised whenever the same index gives another picture


class PhantomParameters(Parameters):
    """Parameters of the phantoms."""

    stream: int = Field(0, ge=0, description="seed of the stream of phantoms")


class PhantomFundus(Source[PhantomParameters]):
    """Drawn fundus photographs, healthy or with diabetic retinopathy."""

    Parameters: ClassVar[type[PhantomParameters]] = PhantomParameters

    def availability(self) -> Availability:
        """Phantoms are always there."""
        return Availability(True, "drawn on demand; nothing to download")

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List as many phantoms as are needed; shifted ones come from another camera."""
        shifted = np.arange(spec.public if spec.public_from == "shifted" else 0)
        # A few spare ones, should two be drawn alike.
        plain = np.arange(spec.total - len(shifted) + spec.total // 50 + 10)
        keys = np.concatenate([2 * plain, 2 * shifted + 1])
        return Catalogue(
            keys=keys,
            labels=np.array([self._label(int(key)) for key in keys], np.int64),
            groups=np.arange(len(keys)),
            classes=CLASSES,
            pools=np.array([ANY] * len(plain) + [SHIFTED] * len(shifted)),
            fingerprint=f"phantom-fundus {_VERSION} {self.parameters.stream}",
            disclosures=("phantoms are drawn: leakage on them says nothing about real patients",),
        )

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Draw phantoms: key 2i is image i of the stream, 2i + 1 of the shifted stream."""
        images = np.empty((len(keys), channels, size, size), np.uint8)
        with progress.stage("drawing phantoms", len(keys)) as stage:
            for row, key in enumerate(keys):
                image = draw_fundus(*self._place(key), size, "shifted" if key & 1 else "screening")
                images[row] = image if channels == 3 else to_grey(image)
                stage.advance()
        return images

    def _place(self, key: int) -> tuple[int, int]:
        """Return seed and index: the shifted stream has a seed of its own."""
        return 2 * self.parameters.stream + (key & 1), key >> 1

    def _label(self, key: int) -> int:
        return phantom_label(*self._place(key))
