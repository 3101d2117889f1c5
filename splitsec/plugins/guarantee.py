"""What a defense proves of what it sends."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_MOST = 700.0  # whose exponential is still a number


class Guarantee(BaseModel):
    """Differential privacy of smashed data: one image in place of another changes little.

    Attributes:
        epsilon: the bound on the logarithm of how much likelier any output becomes.
        delta: the chance that this bound does not cover.
        releases: how often an image may be sent in all.
        covers: ``everything``: all that the client sends; ``the image's own``: what it sends of the
            image itself. An encoder that trains carries an image into what is sent of the others
            later, which no noise covers then.

    Examples:
        >>> from splitsec.plugins.guarantee import Guarantee
        >>> given = Guarantee(epsilon=2, delta=1e-5, releases=11, covers="everything")
        >>> round(given.most_identified(gallery=100), 3)
        0.069
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: float = Field(gt=0, allow_inf_nan=False)
    delta: float = Field(ge=0, lt=1)
    releases: int = Field(ge=1)
    covers: Literal["everything", "the image's own"]

    def most_identified(self, gallery: int) -> float:
        """Return the largest chance of telling which of several images was sent.

        With equal chances beforehand, whoever sees what was sent is right with a probability of at
        most ``(e^epsilon + (m - 1) delta) / (e^epsilon + m - 1)`` among m images: sum
        ``P_i(A_i) <= e^epsilon P_j(A_i) + delta`` over all pairs of images i and j, where ``A_i``
        is the guess of i.

        Args:
            gallery: number of images m.
        """
        others, likelier = gallery - 1, math.exp(min(self.epsilon, _MOST))
        return min(1.0, (likelier + others * self.delta) / (likelier + others))

    def in_words(self) -> str:
        """Return the bound as a sentence."""
        scope = (
            "all that the client sends"
            if self.covers == "everything"
            else "what the client sends of an image; an encoder that trains carries it into what "
            "is sent of other images, which is not covered"
        )
        return (
            f"epsilon {self.epsilon:g} and delta {self.delta:g} over {self.releases} releases of "
            f"an image bound {scope}"
        )
