"""Gradient scrutiny: the client ends a session whose gradients do not tell its classes apart.

Fu, Ma, Zhu, Hu, Zhao, Jia, Xu, Jin, Zhang, "Focusing on Pinocchio's nose: a gradients scrutinizer
to thwart split-learning hijacking attacks using intrinsic attributes", NDSS 2023; authors' code.
Where a task is trained, gradients of two images of one class are more alike than those of two
classes. A hijacker's gradients are not. With the mean cosine similarity s of pairs of one class and
d of pairs of two classes in each batch, in [0, 1],

    gap     = (s - d) / (s + d)
    error   = root mean square, of parabolas fitted to all s and d so far, mean of both
    overlap = of the intervals of a standard deviation around s and d, as a share of their union
    product = sign(gap) |gap|^0.4 * -log(7 error + e^-2) * -log(overlap + 1/e)
    score   = sigmoid(5 * (product - 0.7)).

The session ends when the mean of the last scores is below the threshold. Deviations: scores begin
after a stated number of batches; one batch is one point, and batches of one class are passed over;
and the score is the gap alone unless ``measure=published``. In batches of 32 the similarities vary
so much from batch to batch that the error hides a gap of 0.2, which no hijacked session has; see
``tests/evidence/detectors.py``.

It sees what comes back alone. A server that behaves until it has learned enough, or that mixes the
task's gradient in (``fsha:honest=`` and ``fsha:task=``), answers it.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from splitsec.devices import beside, on_cpu
from splitsec.errors import NotApplicable, SessionEnded
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters

_GAP_POWER = 0.4
_STEEPNESS, _SHIFT = 5.0, 0.7
_ERROR_WEIGHT = 7.0
_DEGREE = 2  # of the fitted polynomials


class GradientScrutinyParameters(Parameters):
    """Parameters of the detector."""

    measure: Literal["gap", "published"] = Field(
        "gap", description="the score: the gap of the means, or all terms as published"
    )
    threshold: float = Field(
        0.02,
        ge=-1,
        le=1,
        description="of the mean score, below which the session ends; -1: never; chosen on drawn "
        "images",
    )
    window: int = Field(10, ge=1, description="scores whose mean counts")
    first: int = Field(20, ge=3, description="batches before the first score; paper 50")


class GradientScrutiny(Defense[GradientScrutinyParameters]):
    """Compares the gradients of images of one class with those of two classes."""

    Parameters: ClassVar[type[GradientScrutinyParameters]] = GradientScrutinyParameters
    strength: ClassVar[Strength] = Strength("threshold", (0.01, 0.02, 0.03, 0.05, 0.1))

    def __init__(self, parameters: GradientScrutinyParameters) -> None:
        super().__init__(parameters)
        self._similarities: list[list[float]] = []  # d and s of each batch
        self.scores: list[float] = []

    def receive(self, gradient: Tensor, step: int, labels: Tensor) -> Tensor:
        """Return the gradient.

        Raises:
            SessionEnded: the last scores are too low.
            NotApplicable: the labels are masks.
        """
        if labels.dim() != 1:
            raise NotApplicable(
                "gradient-scrutiny compares images of one class, and these labels are masks"
            )
        same = labels[:, None] == labels[None, :]
        pairs = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        if not (same & pairs).any() or same.all():
            return gradient
        directions = F.normalize(gradient.flatten(1), dim=1)
        alike = on_cpu(0.5 + 0.5 * directions @ directions.T).double()
        within, across = (alike[on_cpu(beside(one, same))] for one in (same & pairs, ~same))
        self._similarities.append([across.mean().item(), within.mean().item()])
        if len(self._similarities) < self.parameters.first:
            return gradient
        published = self.parameters.measure == "published"
        self.scores.append(self._published(within, across) if published else self.gaps[-1])
        last = self.scores[-self.parameters.window :]
        mean = sum(last) / len(last)
        if len(last) == self.parameters.window and mean < self.parameters.threshold:
            raise SessionEnded(
                f"gradients of one class are no more alike than those of two: score {mean:.3f} "
                f"over {len(last)} batches, and {self.parameters.threshold:g} is the least"
            )
        return gradient

    @property
    def gaps(self) -> list[float]:
        """The gap in each batch that was looked at."""
        return [(s - d) / max(s + d, 1e-12) for d, s in self._similarities]

    def _published(self, within: Tensor, across: Tensor) -> float:
        """Return the published score after a batch with these similarities of pairs."""
        means, gap = np.array(self._similarities), self.gaps[-1]
        batches = np.arange(len(means))
        fitted = [np.polyval(np.polyfit(batches, one, _DEGREE), batches) for one in means.T]
        error = float(np.sqrt(np.square(means.T - fitted).mean(1)).mean())
        (low, high), (low_across, high_across) = (
            (one.mean() - one.std(correction=0), one.mean() + one.std(correction=0))
            for one in (within, across)
        )
        union = max(high, high_across) - min(low, low_across)
        shared = max(min(high, high_across) - max(low, low_across), torch.tensor(0.0))
        overlap = float(shared / union) if union > 0 else 1.0
        product = (
            math.copysign(abs(gap) ** _GAP_POWER, gap)
            * -math.log(_ERROR_WEIGHT * error + math.exp(-2))
            * -math.log(overlap + math.exp(-1))
        )
        return 1 / (1 + math.exp(-_STEEPNESS * (product - _SHIFT)))
