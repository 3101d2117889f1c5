"""The data source ``phantom-fundus``: drawn fundus photographs, any number and size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from splitsec.data import phantom, phantom_vessels
from splitsec.data.catalogue import ROLES, Catalogue, Decoded, Source
from splitsec.data.images import SIGNATURE_SIDE, signature, to_array
from splitsec.parameters import Parameters
from splitsec.progress import Progress, Stage


class PhantomParameters(Parameters):
    """Which stream of eyes is photographed."""

    seed: int = Field(0, ge=0, description="seed of the stream of images")


class PhantomFundus(Source):
    """Draws as many photographs as the partition needs, from one stream.

    Rows below the number of same-population images are positions in the stream; with
    ``public_from="shifted"`` the rows after them are photographs of other eyes, further down
    the stream, by the shifted camera.
    """

    name = "phantom-fundus"
    parameter_class = PhantomParameters
    stage = "drawing images"
    shifts = True

    def catalogue(self, progress: Progress) -> Catalogue:
        """Return labels, which are known without drawing."""
        total = sum(getattr(self.spec, role) for role in ROLES)
        shifted = np.arange(total) >= self._same_population()
        seed = self._seed()
        pool_of = dict.fromkeys(ROLES, 0)
        disclosures = ["the images are drawn (phantoms), not photographs of patients"]
        if self.spec.public_from == "shifted":
            pool_of["public"] = 1
            disclosures.append("public images come from another camera and population")
        return Catalogue(
            classes=phantom.CLASSES,
            labels=np.array([phantom.phantom_label(seed, i) for i in range(total)], np.int64),
            groups=np.arange(total, dtype=np.int64),
            pools=shifted.astype(np.int64),
            pool_of=pool_of,
            independent=True,
            disclosures=tuple(disclosures),
        )

    def fingerprint(self, rows: NDArray[np.int64]) -> object:
        """Name the stream, the rows and the drawing code."""
        code = hashlib.sha256()
        for module in (phantom, phantom_vessels):
            code.update(Path(str(module.__file__)).read_bytes())
        rows_hash = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
        return [code.hexdigest(), self._same_population(), rows_hash]

    def decode(self, rows: NDArray[np.int64], stage: Stage) -> Decoded:
        """Draw the images."""
        size, channels = self.spec.size, self.spec.channels
        images = np.empty((len(rows), channels, size, size), dtype=np.uint8)
        signatures = np.empty((len(rows), SIGNATURE_SIDE, SIGNATURE_SIDE), dtype=np.uint8)
        border, seed = self._same_population(), self._seed()
        for place, row in enumerate(rows):
            camera: phantom.Camera = "screening" if row < border else "shifted"
            drawn = phantom.draw_fundus(seed, int(row), size, camera)
            image = Image.fromarray(np.ascontiguousarray(drawn.transpose(1, 2, 0)))
            images[place] = to_array(image, size, channels)
            signatures[place] = signature(image)
            stage.advance()
        return Decoded(images, signatures)

    def _seed(self) -> int:
        assert isinstance(self.parameters, PhantomParameters)
        return self.parameters.seed

    def _same_population(self) -> int:
        total = sum(getattr(self.spec, role) for role in ROLES)
        return total - (self.spec.public if self.spec.public_from == "shifted" else 0)
