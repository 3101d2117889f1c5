"""Phantom chests as a source: drawn X-rays with masks, any number, nothing to download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from splitsec.data.phantom_cxr import Style, draw_cxr, draw_cxr_mask
from splitsec.data.source import ANY, SHIFTED, Availability, Catalogue, Source, Task
from splitsec.data.spec import DataSpec
from splitsec.parameters import Parameters
from splitsec.progress import Progress

_VERSION = "1"  # of the drawing; raised whenever the same index gives another picture


class PhantomCxrParameters(Parameters):
    """Parameters of the phantoms."""

    stream: int = Field(0, ge=0, description="seed of the stream of phantoms")


class _Film(NamedTuple):
    seed: int
    number: int
    style: Style


class PhantomCxr(Source[PhantomCxrParameters]):
    """Drawn frontal chest X-rays with masks of the lungs."""

    Parameters: ClassVar[type[PhantomCxrParameters]] = PhantomCxrParameters
    task: ClassVar[Task] = "segmentation"

    def availability(self) -> Availability:
        """Phantoms are always there."""
        return Availability(True, "drawn on demand; nothing to download")

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List as many phantoms as are needed; shifted ones come from another hospital."""
        shifted = np.arange(spec.public if spec.public_from == "shifted" else 0)
        # A few spare ones, should two be drawn alike.
        plain = np.arange(spec.total - len(shifted) + spec.total // 50 + 10)
        keys = np.concatenate([2 * plain, 2 * shifted + 1])
        return Catalogue(
            keys=keys,
            labels=np.zeros(len(keys), np.int64),
            groups=np.arange(len(keys)),
            classes=(),
            pools=np.array([ANY] * len(plain) + [SHIFTED] * len(shifted)),
            fingerprint=f"phantom-cxr {_VERSION} {self.parameters.stream}",
            disclosures=("phantoms are drawn: leakage on them says nothing about real patients",),
        )

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Draw films: key 2i is film i of the stream, 2i + 1 of the shifted stream."""
        films = np.empty((len(keys), channels, size, size), np.uint8)
        with progress.stage("drawing phantoms", len(keys)) as stage:
            for row, key in enumerate(keys):
                film = self._film(key)
                films[row] = draw_cxr(film.seed, film.number, size, film.style)[0]
                stage.advance()
        return films

    def decode_masks(self, keys: Sequence[int], size: int, progress: Progress) -> NDArray[np.uint8]:
        """Draw the masks of films."""
        masks = np.empty((len(keys), 1, size, size), np.uint8)
        with progress.stage("drawing masks", len(keys)) as stage:
            for row, key in enumerate(keys):
                film = self._film(key)
                masks[row] = draw_cxr_mask(film.seed, film.number, size, film.style)
                stage.advance()
        return masks

    def _film(self, key: int) -> _Film:
        """Return which film a key stands for: the shifted stream has a seed of its own."""
        shifted = key & 1
        return _Film(
            2 * self.parameters.stream + shifted, key >> 1, "shifted" if shifted else "standard"
        )
