"""The base of both phantom data sets: a stream of phantoms and a shifted stream."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from splitsec.data.secret import drawing_seed
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.source import ANY, SHIFTED, Availability, Catalogue, Source


class PhantomParameters(Parameters):
    """Parameters of the phantoms."""

    stream: int = Field(0, ge=0, description="seed of the stream of phantoms")


class Phantoms(Source[PhantomParameters]):
    """Drawn images, any number: key 2i is image i of the stream, 2i + 1 of the shifted one.

    Under a secret the stream's seed is derived from the secret, so that nobody else draws the same.

    Attributes:
        name: name of the source.
        version: version of the drawing; raised whenever an index gives another picture.
        classes: names of the classes; empty if images are labelled with masks.
    """

    Parameters: ClassVar[type[PhantomParameters]] = PhantomParameters
    name: ClassVar[str]
    version: ClassVar[str]
    classes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: PhantomParameters) -> None:
        super().__init__(parameters)
        self._seed = parameters.stream

    @abstractmethod
    def labels(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """Return the labels of some keys; zeros if images are labelled with masks."""

    def availability(self) -> Availability:
        """Report that phantoms are always available."""
        return Availability(True, "drawn on demand; nothing to download")

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List as many phantoms as are needed; shifted ones come from another population."""
        stream = self.parameters.stream
        fingerprint = f"{self.name} {self.version} {stream}"
        self._seed = stream
        if spec.partition_commitment is not None:
            self._seed += drawing_seed(spec.partition_commitment)
            fingerprint += f" under {spec.partition_commitment}"
        shifted = np.arange(spec.public if spec.public_from == "shifted" else 0)
        # A few spare ones, in case two are duplicates.
        plain = np.arange(spec.total - len(shifted) + spec.total // 50 + 10)
        keys = np.concatenate([2 * plain, 2 * shifted + 1])
        return Catalogue(
            keys=keys,
            labels=self.labels(keys.tolist()),
            groups=np.arange(len(keys)),
            classes=self.classes,
            pools=np.array([ANY] * len(plain) + [SHIFTED] * len(shifted)),
            fingerprint=fingerprint,
            disclosures=("phantoms are drawn: leakage on them says nothing about real patients",),
            shuffled_by={"stream": stream},
        )

    def place(self, key: int) -> tuple[int, int]:
        """Return seed and index of a key: the shifted stream has a seed of its own."""
        return 2 * self._seed + (key & 1), key >> 1
