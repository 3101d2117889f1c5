"""SplitGuard: the client sends false labels now and then, and ends a session where nobody minds.

Erdogan, Kupcu, Cicek, "SplitGuard: detecting and mitigating training-hijacking attacks in split
learning", WPES 2022; its authors' code. A server that trains the task answers false labels by
gradients of another direction and size; one that trains something else does not look at labels.
Gradients of batches with false labels are F, those of the others are divided at random into A and
B. With the angle between mean gradients and the difference d of mean norms,

    x     = (angle(F, A+B) d(F, A+B) - angle(A, B) d(A, B)) / (d(F, A+B) + d(A, B))
    score = sigmoid(5 x)^2,

which is near 1 for an honest server. The session ends when the mean of the last scores is below the
threshold. False labels train nothing on the client. Deviation: gradients are those at the cut,
averaged over the batch, where the authors' code has those of the client's first weights.

It needs a server that has learned the task, and many batches. In sessions of 160 it called one or
two of three honest servers on drawn images hijackers, at every threshold that found those:
``tests/evidence/detectors.py --only splitguard``. It finds servers that ignore labels. One that
mixes the task's gradient in may answer false labels like an honest one.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor

from splitsec.devices import beside, on_cpu
from splitsec.errors import NotApplicable, SessionEnded
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.shapes import Shape, SmashedShape

_STEEPNESS, _POWER = 5.0, 2.0


class SplitGuardParameters(Parameters):
    """Parameters of the false labels and of the verdict."""

    share: float = Field(
        0.1, gt=0, lt=1, description="chance that a batch has false labels; paper 0.1"
    )
    first: int = Field(20, ge=0, description="batches before the first false ones; paper 20")
    threshold: float = Field(
        0.5, ge=0, le=1, description="of the mean score, below which the session ends; 0: never"
    )
    window: int = Field(3, ge=1, description="scores whose mean counts")


class _Gradients:
    """Mean gradient of several batches, and the mean of their norms."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Tensor | float = 0.0
        self._norms = 0.0

    def add(self, gradient: Tensor) -> None:
        """Add the gradient of a batch."""
        self.count += 1
        self._sum = self._sum + gradient
        self._norms += gradient.norm().item()

    @property
    def mean(self) -> Tensor:
        """The mean gradient."""
        assert isinstance(self._sum, Tensor), "there are batches"
        return self._sum / self.count

    @property
    def norm(self) -> float:
        """The mean norm."""
        return self._norms / self.count


class SplitGuard(Defense[SplitGuardParameters]):
    """Compares the answers to false labels with those to true ones."""

    Parameters: ClassVar[type[SplitGuardParameters]] = SplitGuardParameters
    strength: ClassVar[Strength] = Strength("threshold", (0.2, 0.35, 0.5, 0.65, 0.8))
    fakes_labels: ClassVar[bool] = True

    def begin(self, image: Shape, smashed: SmashedShape, generator: Generator) -> None:
        """Begin without gradients."""
        self._generator = generator
        self._classes = 0
        self._false: bool | None = None  # whether the batch has false labels; None: not yet sent
        self._groups = {name: _Gradients() for name in ("false", "A", "B")}
        self.scores: list[float] = []
        self.steps: list[int] = []  # the exchange of each score

    def send_labels(self, labels: Tensor, step: int) -> Tensor:
        """Return the labels, or other classes in their place now and then.

        Raises:
            NotApplicable: the labels are masks.
        """
        if labels.dim() != 1:
            raise NotApplicable("splitguard sends false classes, and these labels are masks")
        self._classes = max(self._classes, int(labels.max()) + 1)
        drawn = torch.rand((), generator=self._generator).item()
        self._false = step >= self.parameters.first and drawn < self.parameters.share
        self._false = self._false and self._classes > 1
        if not self._false:
            return labels
        shift = torch.randint(1, self._classes, (), generator=self._generator)
        return (labels + beside(shift, labels)) % self._classes

    def receive(self, gradient: Tensor, step: int, labels: Tensor) -> Tensor:
        """Return the gradient, and none for false labels.

        Raises:
            SessionEnded: the last scores are too low.
            NotApplicable: the clients keep their labels.
        """
        if self._false is None:
            raise NotApplicable("splitguard sends false labels, and these clients keep theirs")
        false, self._false = self._false, None
        seen = on_cpu(gradient.mean(0).flatten()).double()
        if not false:
            if step >= self.parameters.first:
                drawn = torch.rand((), generator=self._generator).item()
                self._groups["A" if drawn < 0.5 else "B"].add(seen)
            return gradient
        self._groups["false"].add(seen)
        if all(one.count for one in self._groups.values()):
            self.scores.append(self._score())
            self.steps.append(step)
            last = self.scores[-self.parameters.window :]
            mean = sum(last) / len(last)
            if len(last) == self.parameters.window and mean < self.parameters.threshold:
                raise SessionEnded(
                    f"the server answers false labels like true ones: score {mean:.2f} over "
                    f"{len(last)} false batches, and {self.parameters.threshold:g} is the least"
                )
        return torch.zeros_like(gradient)

    def _score(self) -> float:
        false, one, other = (self._groups[name] for name in ("false", "A", "B"))
        true, true_norm = (one.mean + other.mean) / 2, (one.norm + other.norm) / 2
        apart, usual = abs(false.norm - true_norm), abs(one.norm - other.norm)
        turned = _angle(false.mean, true) * apart - _angle(one.mean, other.mean) * usual
        score = turned / max(apart + usual, 1e-30)
        return math.pow(1 / (1 + math.exp(-_STEEPNESS * score)), _POWER)


def _angle(one: Tensor, other: Tensor) -> float:
    """Return the angle between two vectors, in radians."""
    size = one.norm() * other.norm()
    cosine = (one @ other / size.clamp(min=1e-30)).clamp(-1, 1)
    return math.acos(cosine.item())
