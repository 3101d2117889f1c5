"""Answers what nobody expects, and asks for what is not granted; one thing at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from splitsec import Attack, Convergence, Hijacking, Parameters, ThreatModel
from splitsec.plugins.messages import Exchange, Message


class Liar(Attack[Parameters]):
    """What it does is decided by the step of the message."""

    @classmethod
    def threat_model(cls, parameters: Parameters) -> ThreatModel:
        return ThreatModel(active=True, queries=True)

    def hijacking(self) -> Hijacking:
        return Hijacking(10**400)

    def answer(self, message: Message) -> Tensor:
        smashed = message.smashed
        answers = [
            lambda: smashed * float("nan"),
            lambda: smashed.repeat(3, 1, 1, 1),
            lambda: None,
            lambda: self.view.private_images,
            lambda: self.view.pairs[1],
            lambda: self.view.query(torch.full((2, *self.view.image_shape), 7.0)),
            lambda: self.view.query(torch.zeros(2, 3, 4, 4)),
            lambda: self.view.query(torch.full((2, *self.view.image_shape), float("nan"))),
            lambda: self.view.query(torch.zeros(2, *self.view.image_shape)),
            lambda: {}["\x1b[2J" + 5000 * "long"],
            lambda: torch.sparse_coo_tensor(size=smashed.shape),
        ]
        made: Tensor = answers[message.step]()  # type: ignore[no-untyped-call]
        return made

    def observe(self, exchange: Exchange) -> None:
        """Ignore it."""

    def reconstruct(self, smashed: Tensor) -> Tensor:
        return smashed

    def convergence(self) -> list[Convergence]:
        return [Convergence.model_construct(measured_on="\x1b[2J", half=1.0, full=-1.0)]

    def curves(self) -> dict[str, list[float]]:
        return {"curve": [1e300]}
