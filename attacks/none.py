"""No attack: runs only the honest session, for its utility, training curves and times."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from splitsec.plugins.attack import Attack
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.parameters import Parameters


class NoAttack(Attack[Parameters]):
    """Sees nothing and reconstructs nothing."""

    reconstructs: ClassVar[bool] = False

    @classmethod
    def threat_model(cls, parameters: Parameters) -> ThreatModel:
        """Declare nothing."""
        return ThreatModel()

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Refuse: there is nothing to score."""
        raise NotImplementedError("the attack 'none' reconstructs nothing")
