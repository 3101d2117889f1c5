"""ADRA: a decoder trained on the smashed data of the honestly trained, frozen client.

This is the report's adversarial reconstruction attack, after SLDML (2021), also known as an inverse
network or black-box model inversion (He, Zhang, Lee, "Model inversion attacks against collaborative
inference", ACSAC 2019). It is passive. The source of its pairs of images and smashed data is its
threat model; both sources give it more than a split-learning server has:

- ``pairs=public`` (He et al.): the attacker queries the client with its own, public images and with
  variants of them, up to its budget. Each query of a randomised defense is another draw of it.
- ``pairs=private`` (the report): an oracle gives it the private images with their smashed data.
  Only held-out images are scored then.

The report's settings are the ``paper`` profile. The default decoder adapts to any shape, is
blended with a ridge regression, and stops early on pairs that it holds out. What was sent in
training is aligned with the answers where it decodes to unlikely images, and then the decoder may
stand alone; see :mod:`splitsec.plugins.toolbox.alignment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from splitsec.errors import PluginError
from splitsec.plugins.attack import Attack
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.toolbox.alignment import OtherMode
from splitsec.plugins.toolbox.blending import Blend, BlendParameters, invert_and_blend
from splitsec.plugins.toolbox.inversion import REPORT_SETTINGS
from splitsec.plugins.toolbox.queries import Pairs, QueryParameters, ask, keep_some
from splitsec.progress import Progress


class AdraParameters(QueryParameters, BlendParameters):
    """Parameters of ADRA."""

    pairs: Literal["public", "private"] = Field(
        "public",
        description="public: queries with the attacker's own images; private: an oracle's pairs, "
        "as in the report",
    )
    epochs: int = Field(15, ge=1, description="passes over the pairs at most; report 20")
    patience: int = Field(
        10, ge=1, description="epochs without a better error on the kept pairs before it stops"
    )


class Adra(Attack[AdraParameters]):
    """The decoder attack on a frozen client."""

    Parameters: ClassVar[type[AdraParameters]] = AdraParameters
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "standard": {"epochs": 80},
        "paper": {"pairs": "private", **REPORT_SETTINGS, "patience": 30, "blend": False},
    }

    @classmethod
    def threat_model(cls, parameters: AdraParameters) -> ThreatModel:
        """Declare queries on public images, or the oracle's pairs."""
        if parameters.pairs == "private":
            return ThreatModel(pairs=True)
        return ThreatModel(public_images=True, queries=True)

    _blend: Blend | None = None
    _other_mode: OtherMode

    def fit(self, progress: Progress) -> None:
        """Collect the pairs and train the decoder."""
        if self.parameters.pairs == "private":
            images, smashed = self.view.pairs
            kept = keep_some(len(images), self.parameters.kept, self.generator)
            pairs = Pairs(images, smashed, kept)
        else:
            pairs = ask(self.parameters, self.view, self.generator, "attack 'adra'")
        self._other_mode = OtherMode(pairs.originals().smashed)
        self._blend = invert_and_blend(
            self.parameters,
            pairs,
            self.generator,
            progress,
            "training adra's decoder",
            self.checkpoints,
        )

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Decode smashed data of N images to (N, C, H, W)."""
        if self._blend is None:
            raise PluginError("attack 'adra' has no decoder before fit()")
        if self.view.in_training:
            return self._other_mode.likeliest(self._blend.decoders, smashed)
        return self._blend.reconstruct(smashed)

    def curves(self) -> dict[str, list[float]]:
        """Return the decoder's losses per epoch."""
        return {} if self._blend is None else self._blend.inversion.curves

    def convergence(self) -> list[Convergence]:
        """Return the errors on its kept pairs, or on all if it kept none."""
        return [] if self._blend is None else [self._blend.inversion.convergence()]
