"""Images of traffic that another framework recorded, with the attacker's own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from splitsec.data.decoding import resize
from splitsec.errors import UsageError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.parameters import InputPath, Parameters
from splitsec.plugins.source import (
    TEST,
    TRAIN,
    TRAINED,
    VALIDATION,
    Availability,
    Catalogue,
    Source,
)
from splitsec.plugins.toolbox.recording import Recording, read_recording
from splitsec.progress import Progress

LISTENED = 0.5
"""Share of the recorded images that an attack listens to; the others are held out."""

VALIDATION_SHARE = 0.2
"""Share of the public images that choose between attackers who see nothing."""


class RecordedParameters(Parameters):
    """Parameters of recorded traffic."""

    traffic: InputPath = Field("", description="folder of the recording")


class Recorded(Source[RecordedParameters]):
    """Images of recorded traffic; the target ``recorded`` sends what was sent of them."""

    Parameters: ClassVar[type[RecordedParameters]] = RecordedParameters

    @cached_property
    def _recording(self) -> Recording:
        if not self.parameters.traffic:
            raise UsageError("data 'recorded' needs a folder: splitsec audit --traffic FOLDER")
        return read_recording(Path(self.parameters.traffic).expanduser())

    def availability(self) -> Availability:
        """Report which parameter a person must give."""
        return Availability(True, "traffic of another framework: splitsec audit --traffic FOLDER")

    def catalogue(self, spec: DataSpec) -> Catalogue:
        """List the recorded images, then the attacker's own."""
        given = self._recording
        if spec.public_from == "shifted":
            raise UsageError("recorded traffic has no second population; use --public-from same")
        count, own = len(given.images), len(given.public)
        pools = np.full(count + own, TRAIN, dtype="<U10")
        pools[: int(LISTENED * count)] = TRAINED
        pools[int(LISTENED * count) : count] = TEST
        pools[count : count + int(VALIDATION_SHARE * own)] = VALIDATION
        labels = np.concatenate([given.labels, given.public_labels])
        return Catalogue(
            keys=np.arange(count + own),
            labels=labels,
            groups=np.arange(count + own),
            classes=tuple(str(one) for one in range(int(labels.max(initial=0)) + 1)),
            pools=pools,
            fingerprint=self._fingerprint(),
            disclosures=("the traffic was recorded elsewhere; what the model is worth is unknown",),
        )

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for images in (self._recording.images, self._recording.public):
            digest.update(images.tobytes())
        return digest.hexdigest()

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        """Return images as they were recorded, or resized."""
        given = self._recording
        chosen = np.concatenate([given.images, given.public])[np.asarray(keys, np.int64)]
        if chosen.shape[1:] == (channels, size, size):
            return chosen
        opened = (
            Image.fromarray(one[0] if len(one) == 1 else one.transpose(1, 2, 0)) for one in chosen
        )
        return np.stack([resize(one, size, channels) for one in opened])
