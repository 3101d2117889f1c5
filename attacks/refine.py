"""Refine: a server that has the trained client's weights inverts them by optimisation.

It knows the client's network, so it encodes images of its own as often as it likes, and nobody
counts them. A ridge regression on its own pairs gives each victim a first image; steps of Adam then
change the image until the client's network makes of it what was sent (rMLE: He, Zhang and Lee,
"Model inversion attacks against collaborative inference", ACSAC 2019). The weight of the total
variation, and whether to refine at all, are chosen on public images that the regression has not
seen. The release of the defense is part of what is inverted.

It is passive. The client's weights are more than a split-learning server has; a client that shares
them with other hospitals, as the clients here do in turns, gives them to each of these.

The authors start from a grey image. This attack starts from the regression, which takes fewer
steps.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from splitsec.errors import PluginError, UsageError
from splitsec.plugins.attack import Attack
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.toolbox.alignment import OtherMode
from splitsec.plugins.toolbox.batching import sample
from splitsec.plugins.toolbox.queries import Pairs, vary
from splitsec.plugins.toolbox.refinement import (
    Refinement,
    RefinementParameters,
    choose_refinement,
)
from splitsec.plugins.toolbox.regression import RegressionParameters, Regressor, regress
from splitsec.plugins.toolbox.stand_in import StandIn
from splitsec.progress import Progress

_NAME = "attack 'refine'"
_FEWEST = 4
_CHOOSING = 32  # public images that choose the weight of the total variation, at most


class RefineParameters(RefinementParameters, RegressionParameters):
    """Parameters of the regression and of the refinement."""

    images: int = Field(
        5000, ge=2, description="images to fit to: its own, and up to 20 variants of each"
    )
    kept: float = Field(
        0.1, gt=0, lt=1, description="share of the public images by which it chooses"
    )


class Refine(Attack[RefineParameters]):
    """Inverts the client's network."""

    Parameters: ClassVar[type[RefineParameters]] = RefineParameters

    _regressor: Regressor | None = None
    _refinement: Refinement | None = None
    _other_mode: OtherMode

    @classmethod
    def threat_model(cls, parameters: RefineParameters) -> ThreatModel:
        """Declare the client's network with its weights, and the defense."""
        return ThreatModel(
            public_images=True, client_architecture=True, client_weights=True, defense=True
        )

    def fit(self, progress: Progress) -> None:
        """Fit the regression to pairs of its own, and choose how to refine."""
        given, public = self.parameters, self.view.public_images
        if len(public) < _FEWEST:
            raise UsageError(
                f"{_NAME} needs {_FEWEST} public images or more; this data set leaves it "
                f"{len(public)}"
            )
        encoder = self.view.client_architecture.client.requires_grad_(False)
        encoder.load_state_dict(self.view.client_weights)
        client = StandIn(encoder, None, self.view.defense, len(self.view.public_images))
        with progress.stage("refinement", 2) as stage:
            order = sample(public, len(public), self.generator)
            few = min(_CHOOSING, max(1, len(public) // 8))
            choosing, own = public[order[:few]], public[order[few:]]
            images, kept, original = vary(own, given.images, given.kept, self.generator)
            pairs = Pairs(images, client.imitate(images), kept, original)
            self._regressor = regress(given, pairs, self.generator, _NAME)
            stage.advance(note=f"strength {self._regressor.strength:g}")
            known = pairs.originals().smashed
            self._other_mode = OtherMode(known)
            self._refinement = choose_refinement(
                given,
                lambda chosen: client.send(chosen).smashed,
                self._regressor.reconstruct,
                choosing,
                known,
            )
            stage.advance(note=f"total variation {self._refinement.strength}")

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Decode smashed data of N images to (N, C, H, W), and refine what they decode to."""
        if self._refinement is None or self._regressor is None:
            raise PluginError(f"{_NAME} has no weights before fit()")
        guess = self._regressor.reconstruct
        if self.view.in_training:
            smashed = self._other_mode.suited(guess, smashed)
        return self._refinement.refine(guess(smashed), smashed)

    def convergence(self) -> list[Convergence]:
        """Return the error on public images after half of the steps and after all."""
        refinement = self._refinement
        if refinement is None or refinement.hurried is None:
            return []
        errors = {"half": refinement.hurried, "full": min(refinement.errors)}
        return [Convergence(measured_on="public images", **errors)]
