"""CEM: the client draws smashed data of alike images together, so that noise hides which it was.

Xia, Yu, Wang, Jiang, Shao, "Theoretical insights in model inversion robustness and conditional
entropy maximization for collaborative inference systems", CVPR 2025; its authors' code. Smashed
data are bounded, and Gaussian noise is added. Once per epoch k-means finds clusters in what each
class sent. The penalty is

    weight * mean over classes of sum over clusters of
        share * max(0, log(variance + 0.01) - log(threshold * noise**2 + 0.01)),

where the variance around the cluster's centre is blended from the batch and from the last epoch.
Deviations: the bound is a hyperbolic tangent; the weight does not depend on the learning rate; the
clusters are of the last images that were sent, 512 at most; a copy without labels takes all images
for one class, as do masks.

An attacker averages the noise over epochs, and its decoder is trained on fresh draws.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from scipy.cluster.vq import kmeans2
from torch import Tensor
from torch.nn import functional as F

from splitsec.devices import beside, on_cpu
from splitsec.plugins.defense import Defense, Strength
from splitsec.plugins.parameters import Parameters
from splitsec.shapes import Shape, SmashedShape

_FLOOR = 0.01  # of a variance, in the logarithm
_MOST_KEPT = 512  # images
_EAGERNESS = 10  # how fast a batch takes over from the last epoch
_MOST_OF_A_BATCH = 0.99


class CemParameters(Parameters):
    """Parameters of the penalty and of the noise."""

    weight: float = Field(16.0, ge=0, allow_inf_nan=False, description="lambda; paper 8 or 16")
    noise: float = Field(
        0.1,
        ge=0,
        allow_inf_nan=False,
        description="standard deviation of the noise, of values in [-1, 1]; paper 0.01 to 0.15",
    )
    clusters: int = Field(5, ge=1, description="of each class; paper 5 to 15")
    threshold: float = Field(
        0.125, gt=0, allow_inf_nan=False, description="variance that costs nothing, in noise**2"
    )


class _Clusters(NamedTuple):
    """Clusters of one class.

    Attributes:
        centres: shape (K, D).
        shares: of the images, shape (K,).
        variances: mean squared distance of a value from the centre's, shape (K,).
        images: how many the class has.
    """

    centres: Tensor
    shares: Tensor
    variances: Tensor
    images: int


class Cem(Defense[CemParameters]):
    """Penalises the spread within clusters, and adds noise to bounded values."""

    Parameters: ClassVar[type[CemParameters]] = CemParameters
    strength: ClassVar[Strength] = Strength("weight", (1, 4, 16, 64, 256))
    randomised: ClassVar[bool] = True

    def begin(self, image: Shape, smashed: SmashedShape, generator: torch.Generator) -> None:
        """Begin without clusters."""
        self._generator = generator
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._clusters: dict[int, _Clusters] = {}

    def begin_epoch(self, epoch: int) -> None:
        """Find the clusters in what was sent in the last epoch."""
        if not self._kept:
            return
        sent = torch.cat([sent for sent, _ in self._kept])[-_MOST_KEPT:]
        classes = torch.cat([classes for _, classes in self._kept])[-_MOST_KEPT:]
        self._kept.clear()
        self._clusters = {
            one: self._clustered(sent[classes == one]) for one in set(classes.tolist())
        }

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Return bounded smashed data plus noise."""
        noise = beside(torch.randn(smashed.shape, generator=self._generator), smashed)
        return torch.tanh(smashed) + self.parameters.noise * noise

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
        """Return the weighted logarithms of the clusters' variances; 0 in the first epoch."""
        sent = torch.tanh(smashed).flatten(1)
        if labels is None or labels.dim() > 1:
            labels = torch.zeros(len(sent), dtype=torch.long, device=sent.device)
        self._kept.append((sent.detach().clone(), labels.clone()))
        while sum(len(classes) for _, classes in self._kept[1:]) >= _MOST_KEPT:
            self._kept.pop(0)
        present = sorted(set(labels.tolist()))
        total = sent.new_zeros(())
        for one in present:
            if one in self._clusters:
                total = total + self._spread(sent[labels == one], self._clusters[one])
        return self.parameters.weight * total / len(present)

    def _spread(self, sent: Tensor, known: _Clusters) -> Tensor:
        """Return the sum over clusters of what their variances cost, for one class's images."""
        least = self.parameters.threshold * self.parameters.noise**2 + _FLOOR
        nearest = torch.cdist(sent.detach(), known.centres).argmin(dim=1)
        apart = (sent - known.centres[nearest]).square().mean(dim=1)
        total = sent.new_zeros(())
        for cluster in set(nearest.tolist()):
            own = apart[nearest == cluster]
            share = known.shares[cluster]
            part = _EAGERNESS * len(own) / (share * known.images).clamp(min=1)
            part = part.clamp(max=_MOST_OF_A_BATCH)
            variance = part * own.mean() + (1 - part) * known.variances[cluster]
            total = total + share * F.relu(torch.log((variance + _FLOOR) / least))
        return total

    def _clustered(self, sent: Tensor) -> _Clusters:
        """Return the clusters of one class's smashed data (N, D)."""
        count = min(self.parameters.clusters, len(sent))
        seed = int(torch.randint(2**31, (1,), generator=self._generator))
        values = on_cpu(sent).numpy().astype(np.float64)
        found = kmeans2(values, count, minit="++", missing="warn", seed=seed)[1]
        hot = beside(F.one_hot(torch.from_numpy(found).long(), count), sent).to(sent.dtype)
        sizes = hot.sum(0).clamp(min=1)
        centres = hot.T @ sent / sizes[:, None]
        apart = (sent - hot @ centres).square().mean(dim=1)
        return _Clusters(centres, hot.mean(0), hot.T @ apart / sizes, len(sent))
