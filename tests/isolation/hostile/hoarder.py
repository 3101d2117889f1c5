"""Saves more stages than there is room for."""

from __future__ import annotations

import torch
from torch import Tensor

from splitsec import Attack, Parameters, ThreatModel
from splitsec.progress import Progress


class Hoarder(Attack[Parameters]):
    """It begins one stage after the other."""

    @classmethod
    def threat_model(cls, parameters: Parameters) -> ThreatModel:
        return ThreatModel()

    def fit(self, progress: Progress) -> None:
        for number in range(100):
            self.checkpoints.stage(f"stage {number}", state=[0]).reached(1)

    def reconstruct(self, smashed: Tensor) -> Tensor:
        return torch.zeros(len(smashed), *self.view.image_shape)
