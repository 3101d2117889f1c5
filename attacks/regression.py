"""Regression: ridge regression from smashed data to pixels, linear or with a kernel.

The simplest attack on a client that answers queries, and hard to beat where smashed data depend
almost linearly on the image. The attacker asks for the smashed data of its own images and of
variants of them (mirrored, moved, mixed, lighter), and solves for the weights in closed form: Hoerl
and Kennard, "Ridge regression", Technometrics 1970. The kernel form is that of Saunders, Gammerman
and Vovk, "Ridge regression learning algorithm in dual variables", ICML 1998, with a Gaussian or a
Matern kernel. Kept pairs of the attacker's own choose the form, the strength of the penalty and the
width of the kernel. The attack has no training that could stop too early. What was sent in training
is aligned with the answers where it decodes to unlikely images; see
:mod:`splitsec.plugins.toolbox.alignment`.

It is passive. Queries are more than a split-learning server has. No paper proposes this attack;
it is what a decoder network has to beat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from splitsec.errors import PluginError
from splitsec.plugins.attack import Attack
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.toolbox.alignment import OtherMode
from splitsec.plugins.toolbox.queries import QueryParameters, ask
from splitsec.plugins.toolbox.regression import RegressionParameters, Regressor, regress
from splitsec.progress import Progress

_NAME = "attack 'regression'"


class RegressionAttackParameters(RegressionParameters, QueryParameters):
    """Parameters of the regression."""

    kept: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="share of the public images, with their variants, that choose the form",
    )


class Regression(Attack[RegressionAttackParameters]):
    """The closed-form attack on a frozen client that answers queries."""

    Parameters: ClassVar[type[RegressionAttackParameters]] = RegressionAttackParameters
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"queries": 1000}}

    _regressor: Regressor | None = None
    _other_mode: OtherMode

    @classmethod
    def threat_model(cls, parameters: RegressionAttackParameters) -> ThreatModel:
        """Declare queries on public images."""
        return ThreatModel(public_images=True, queries=True)

    def fit(self, progress: Progress) -> None:
        """Ask for pairs, choose form and strength on kept ones, and solve with all."""
        with progress.stage("regression", 2) as stage:
            pairs = ask(self.parameters, self.view, self.generator, _NAME)
            stage.advance(note=f"{len(pairs.images)} queries")
            self._regressor = regress(self.parameters, pairs, self.generator, _NAME)
            self._other_mode = OtherMode(pairs.originals().smashed)
            stage.advance(note=f"strength {self._regressor.strength:g}")

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Predict the images of N smashed data, (N, C, H, W)."""
        if self._regressor is None:
            raise PluginError(f"{_NAME} has no weights before fit()")
        if self.view.in_training:
            return self._other_mode.reconstruct(self._regressor.reconstruct, smashed)
        return self._regressor.reconstruct(smashed)

    def curves(self) -> dict[str, list[float]]:
        """Return the error on kept pairs over the strengths, for each kernel that was tried."""
        return {} if self._regressor is None else self._regressor.curves
