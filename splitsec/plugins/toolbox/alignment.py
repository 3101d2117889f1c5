"""Aligns smashed data that were sent in training with those of a trained client, or the reverse.

Batch normalisation makes them differ: in training each batch is normalised by its own statistics,
afterwards by running ones. What was learned from one kind then misreads the other. Matching
mean and covariance undoes most of it and needs no pairs: Sun, Feng and Saenko, "Return of
frustratingly easy domain adaptation" (CORAL), AAAI 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_FLOOR = 1e-3  # variance added along every direction, relative to the mean variance
_FEWEST = 16  # images; the moments of fewer say too little
_CHANCE = 10.0  # times what chance alone does; held-out RetinaMNIST reaches 8


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features, the latter by its principal axes.

    Attributes:
        mean: (d,).
        axes: (r, d), orthonormal.
        variances: (r,), along the axes, floor included; everything else has variance ``floor``.
        floor: variance along all other directions.
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor
    floor: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """Return the moments of rows (n, d), double precision, n at least 2."""
        mean = rows.mean(0)
        centred = (rows - mean) / (len(rows) - 1) ** 0.5
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        known = values > 1e-10 * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
        axes = (vectors[:, known] / values[known].sqrt()).T @ centred
        floor = _FLOOR * values[known].sum() / rows.shape[1]
        return cls(mean, axes, values[known] + floor, floor)

    def scaled(self, rows: Tensor, power: float) -> Tensor:
        """Return centred rows (n, d) times a power of the covariance."""
        if not self.floor:
            return rows
        rest = self.floor**power
        return rest * rows + ((rows @ self.axes.T) * (self.variances**power - rest)) @ self.axes


def align(sent: Tensor, answered: Tensor) -> Tensor:
    """Give smashed data the mean and the covariance of others.

    Args:
        sent: (N, *smashed_shape), whose own moments are replaced.
        answered: (M, *smashed_shape), whose moments they get.

    Returns:
        (N, *smashed_shape); ``sent`` as it is if N or M is under 16.

    Examples:
        >>> import torch
        >>> answered = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> aligned = align(3 * answered + 7, answered)
        >>> bool((aligned - answered).abs().max() < 0.05)
        True
    """
    if min(len(sent), len(answered)) < _FEWEST:
        return sent
    rows, others = sent.flatten(1).double(), answered.flatten(1).double()
    theirs, ours = Moments.of(rows), Moments.of(others)
    made = ours.scaled(theirs.scaled(rows - theirs.mean, -0.5), 0.5) + ours.mean
    return made.to(sent.dtype).view_as(sent)


@dataclass(frozen=True)
class OtherMode:
    """Reconstructs images from smashed data that were not sent in the mode that was learned from.

    Attributes:
        known: smashed data (M, *smashed_shape) of the kind that was learned from, no variants: for
            traffic of the training what the trained client answers, and the reverse.
    """

    known: Tensor

    def reconstruct(self, decode: Callable[[Tensor], Tensor], smashed: Tensor) -> Tensor:
        """Decode smashed data as they are, or aligned if that makes unlikely images.

        Args:
            decode: gives images (N, C, H, W) for smashed data like the known ones.
            smashed: (N, *smashed_shape).
        """
        return self.likeliest([decode], smashed)

    def likeliest(self, decoders: Sequence[Callable[[Tensor], Tensor]], smashed: Tensor) -> Tensor:
        """Decode smashed data by the first decoder that makes likely images of them as they are.

        If there is none, the data are aligned, and the decoder counts whose images are least
        unlike those that it makes of the known ones: some tolerate the difference that remains
        better than others.

        Args:
            decoders: each as for :meth:`reconstruct`, the one that errs least first.
            smashed: (N, *smashed_shape).
        """
        unlikely = []
        for decode in decoders:
            made, usual = decode(smashed), decode(self.known)
            if unlikeness(made, usual) <= _CHANCE:
                return made
            unlikely.append((decode, usual))
        aligned = align(smashed, self.known)
        tried = [(decode(aligned), usual) for decode, usual in unlikely]
        return min(tried, key=lambda one: unlikeness(*one))[0]

    def suited(self, decode: Callable[[Tensor], Tensor], smashed: Tensor) -> Tensor:
        """Return smashed data as they are, or aligned if they decode to unlikely images.

        Without batch normalisation the two sets of smashed data agree, and aligning would only add
        the noise of the moments. The attacker cannot measure errors here, but it knows how images
        of this kind, once decoded, are distributed.

        Args:
            decode: gives images (N, C, H, W) for smashed data like the known ones.
            smashed: (N, *smashed_shape).
        """
        likely = unlikeness(decode(smashed), decode(self.known)) <= _CHANCE
        return smashed if likely else align(smashed, self.known)


def unlikeness(images: Tensor, usual: Tensor) -> float:
    """Return how far images are from others as a population, 1 being usual.

    Args:
        images: (N, C, H, W), N at least 2.
        usual: (M, C, H, W), M at least 2.

    Returns:
        Mean squared difference of the mean and of the standard deviation at each pixel, over what
        it would be by chance if the pixels of both were drawn from the same normal distributions.
    """
    spread, mean = torch.std_mean(images.double(), 0)
    other, middle = torch.std_mean(usual.double(), 0)
    chance = 1.5 * (1 / len(images) + 1 / len(usual)) * other.square().mean()
    away = ((mean - middle).square() + (spread - other).square()).mean()
    return (away / chance.clamp_min(torch.finfo(chance.dtype).tiny)).item()
