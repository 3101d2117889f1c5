"""SplitOut: the client trains the whole model itself for a moment, and ends a session unlike that.

Erdogan, Teksen, Celiktenyildiz, Kupcu, Cicek, "SplitOut: out-of-the-box training-hijacking
detection in split learning via outlier detection", CANS 2024; its authors' code. The client trains
a copy of the whole model, client and server, on a few of its own images, and keeps the gradients at
the cut. The server's gradients are compared with these by their local outlier factor, LOF (Breunig,
Kriegel, Ng, Sander, SIGMOD 2000), with as many neighbours as there are. With the distance d, the
distance k(o) of an honest gradient o to the farthest other one, and the n-1 nearest o of a gradient

    density(g) = 1 / mean over o of max(k(o), d(g, o))
    LOF(g)     = mean over o of density(o) / density(g),

which is 1 for a gradient as near to the others as they are to each other. The session ends when
most of the last gradients are farther out than the threshold.

Deviations: gradients are summed over the batch, so that the last batch of an epoch, a smaller one,
can be compared. Images are gathered from the first batches: 64, where the authors take one in 100
of tens of thousands, and the copy takes a stated number of steps with these, where theirs takes one
epoch, and again in every epoch of the session. The first steps of the copy do not count, and as
many exchanges of the session are not judged: gradients of a network that has just been initialised
are several times as long as later ones, and nothing that is shorter is an outlier among them.

The copy has weights of its own, so that lengths are compared more than directions. A server that
scales its gradients down is not an outlier; see ``tests/evidence/detectors.py --only splitout``.
"""

from __future__ import annotations

from statistics import median_low
from typing import ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor

from splitsec.devices import beside, on_cpu
from splitsec.errors import NotApplicable, SessionEnded
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.target import encode
from splitsec.plugins.toolbox.optimization import make_optimizer
from splitsec.shapes import Shape, SmashedShape

_LEAST = 1e-10  # of a distance, so that no density is infinite


class SplitOutParameters(Parameters):
    """Parameters of the client's own training and of the verdict."""

    images: int = Field(64, ge=2, description="own images that the copy is trained on; paper 1 %")
    first: int = Field(
        20, ge=0, description="steps of the copy that do not count, and batches that are not judged"
    )
    steps: int = Field(20, ge=3, description="later ones of the copy, each an honest gradient")
    learning_rate: float = Field(0.001, gt=0, description="of the copy's training, by Adam")
    threshold: float = Field(
        1.5, ge=1, description="outlier factor above which a gradient is an outlier; paper 1.5"
    )
    window: int = Field(10, ge=1, description="gradients of which most must be outliers; paper 10")


class SplitOut(Defense[SplitOutParameters]):
    """Compares the server's gradients with those of a short training of the client's own."""

    Parameters: ClassVar[type[SplitOutParameters]] = SplitOutParameters
    strength: ClassVar[Strength] = Strength("threshold", (4.0, 2.0, 1.5, 1.25, 1.1))

    def begin(self, image: Shape, smashed: SmashedShape, generator: Generator) -> None:
        """Begin without images."""
        self._seed = int(torch.randint(1 << 31, (), generator=generator))
        self._batches: list[tuple[Tensor, Tensor]] = []  # images and labels
        self._begun = False
        self._unjudged: list[tuple[int, Tensor]] = []  # exchange and gradient
        self._honest: Tensor | None = None  # gradients of the client's own training
        self.scores: list[float] = []
        self.steps: list[int] = []  # the exchange of each score

    def receive(self, gradient: Tensor, step: int, labels: Tensor) -> Tensor:
        """Return the gradient.

        Raises:
            SessionEnded: most of the last gradients are outliers.
        """
        self._begun = True
        if step >= self.parameters.first:
            self._unjudged.append((step, _summed(gradient)))
        if self._honest is not None:
            for at, one in self._unjudged:
                self._judge(at, one, self._honest)
            self._unjudged.clear()
        return gradient

    def _judge(self, step: int, gradient: Tensor, honest: Tensor) -> None:
        self.scores.append(outlier_factor(honest, gradient))
        self.steps.append(step)
        last = self.scores[-self.parameters.window :]
        typical = median_low(last)
        if len(last) == self.parameters.window and typical > self.parameters.threshold:
            raise SessionEnded(
                "the server's gradients are unlike those of the task: more than half of the last "
                f"{len(last)} have an outlier factor of {typical:.2f} or more, and "
                f"{self.parameters.threshold:g} is the most"
            )

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> None:
        """Gather images, and train the copy once there are enough.

        Raises:
            NotApplicable: there is no model to train.
        """
        if self._honest is not None or not self._begun or labels is None:
            return
        if self.untrained is None:
            raise NotApplicable("splitout trains a copy of the model, and there is none")
        self._batches.append((images.detach(), labels))
        if sum(len(one) for one, _ in self._batches) >= self.parameters.images:
            self._honest = self._own_training()
            self._batches.clear()

    def _own_training(self) -> Tensor:
        """Return the gradients at the cut, summed over each batch, of a training of its own."""
        assert self.untrained is not None, "penalty() has checked"
        size = len(self._batches[0][0])
        images, labels = (torch.cat(parts) for parts in zip(*self._batches, strict=True))
        images, labels = images[: self.parameters.images], labels[: self.parameters.images]
        client, server, head = model = self.untrained.model(self._seed)
        trained = [one for one in model if one is not None]
        weights = [weight for one in trained for weight in one.train().parameters()]
        optimizer = make_optimizer("adam", weights, self.parameters.learning_rate)
        generator, gradients = torch.Generator().manual_seed(self._seed), []
        for step in range(self.parameters.first + self.parameters.steps):
            rows = torch.randperm(len(images), generator=generator)[:size]
            rows = beside(rows, images)
            smashed, skips = encode(client, images[rows])
            smashed.retain_grad()
            outputs = server(smashed) if head is None else head(server(smashed), *skips)
            optimizer.zero_grad()
            torch.autograd.backward(self.untrained.loss(outputs, labels[rows]))
            assert smashed.grad is not None, "the loss depends on it"
            if step >= self.parameters.first:
                gradients.append(_summed(smashed.grad))
            optimizer.step()
        return torch.stack(gradients)


def _summed(gradient: Tensor) -> Tensor:
    """Return a batch's gradient as one vector: the sum over its images."""
    return on_cpu(gradient.detach().sum(0).flatten()).double()


def outlier_factor(honest: Tensor, gradient: Tensor) -> float:
    """Return the local outlier factor of a new vector (d,) among others (n, d), with k = n-1."""
    between = torch.cdist(honest, honest)
    farthest = between.amax(1)
    others = ~torch.eye(len(honest), dtype=torch.bool)
    reach = torch.maximum(between, farthest)[others].view(len(honest), -1)  # row: from one
    density = 1 / (reach.mean(1) + _LEAST)
    distance = torch.linalg.vector_norm(honest - gradient, dim=1)
    near = distance.argsort()[:-1]
    own = 1 / (torch.maximum(farthest[near], distance[near]).mean() + _LEAST)
    return float(density[near].mean() / own)
