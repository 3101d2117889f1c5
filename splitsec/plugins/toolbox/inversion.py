"""Inversion of a frozen client: a decoder trained on pairs of images and their smashed data.

Passive attacks share it. Each gets its pairs in a way of its own.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.checkpoint import Checkpoints
from splitsec.devices import beside
from splitsec.errors import DivergedError, UsageError
from splitsec.metrics.image_errors import SSIM_WINDOW, mean_ssim_error
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.batching import batches
from splitsec.plugins.toolbox.decoders import DECODERS
from splitsec.plugins.toolbox.layers import Standardise
from splitsec.plugins.toolbox.optimization import (
    OptimizerName,
    half_cosine,
    make_optimizer,
    set_rate,
)
from splitsec.plugins.toolbox.queries import Pairs
from splitsec.progress import Progress
from splitsec.shapes import Shape

_AT_ONCE = 64
_SSIM_WEIGHT = 0.2
_LEAST_RATE = 0.01  # of the learning rate, at the end of its fading


class InversionParameters(Parameters):
    """How a decoder is trained on pairs; an attack's parameters may extend it.

    Examples:
        >>> given = InversionParameters(epochs=20, loss="l2")
        >>> given.decoder, given.epochs, given.loss
        ('adaptive', 20, 'l2')
        >>> from splitsec.plugins.toolbox.inversion import REPORT_SETTINGS
        >>> InversionParameters(**REPORT_SETTINGS).optimizer
        'sgd'
    """

    decoder: Literal["adaptive", "residual", "report"] = Field(
        "adaptive",
        description="network; adaptive: standardises its input; residual: the same with residual "
        "blocks, which takes about three times as long; report: 32 channels, transposed "
        "convolutions",
    )
    loss: Literal["l1", "l2", "l1+ssim"] = Field(
        "l1+ssim",
        description="of images in [-1, 1]; l1+ssim: less a fifth of SSIM, where images have seven "
        "pixels or more a side; report l1",
    )
    optimizer: OptimizerName = Field("adam", description="of the decoder; report sgd")
    learning_rate: float = Field(
        2e-3, gt=0, allow_inf_nan=False, description="fades by half a cosine; report 0.01, constant"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD; report 0.9")
    fade: bool = Field(True, description="let the learning rate fade; report no")
    average: float = Field(
        0.99, ge=0, lt=1, description="decay of the weights' average per step; report 0, none"
    )
    epochs: int = Field(150, ge=1, description="passes over the pairs at most; report 20")
    batch_size: int = Field(32, ge=2, description="pairs per step; report 32")
    kept: float = Field(
        0.1, ge=0, lt=1, description="share of the pairs that stops the training; report 0"
    )
    patience: int = Field(
        30, ge=1, description="epochs without a better error on the kept pairs before it stops"
    )


REPORT_SETTINGS = {
    "decoder": "report",
    "loss": "l1",
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "fade": False,
    "average": 0.0,
    "epochs": 20,
    "kept": 0.0,
}
"""The report's values of :class:`InversionParameters`, for the ``paper`` profile."""


@dataclass
class _BestDecoder:
    """The decoder at its lowest loss, and the number of steps so far."""

    weights: dict[str, Tensor]
    share: float = 1.0
    loss: float = math.inf
    epoch: int = 0
    steps: int = 0


class Inversion(NamedTuple):
    """A trained decoder.

    Attributes:
        decoder: maps smashed data to images in [-1, 1]; in evaluation mode, with the weights
            that had the lowest loss on the kept pairs.
        curves: ``decoder loss`` per epoch, and ``kept pairs`` where some were kept.
        share: how much of the decoder is in a blend with other images, from 0 to 1.

    Examples:
        >>> import torch
        >>> trained = Inversion(decoder=torch.nn.Tanh(), curves={})
        >>> trained.reconstruct(torch.zeros(1, 3, 2, 2)).mean()
        tensor(0.5000)
    """

    decoder: nn.Module
    curves: dict[str, list[float]]
    share: float = 1.0

    def convergence(self, whose: str = "") -> Convergence:
        """Return the decoder's errors at half and at full length of its training.

        Args:
            whose: is put behind what they were measured on, such as ``" of the stand-in"``.
        """
        if "kept pairs" in self.curves:
            return Convergence.of_best(f"kept pairs{whose}", self.curves["kept pairs"])
        return Convergence.of_last(f"pairs trained on{whose}", self.curves["decoder loss"])

    @torch.no_grad()
    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] from the smashed data of N images."""
        parts = [self.decoder(part) for part in torch.split(smashed, _AT_ONCE)]
        return (torch.cat(parts) + 1) / 2


def invert(
    given: InversionParameters,
    pairs: Pairs,
    generator: torch.Generator,
    progress: Progress,
    name: str,
    checkpoints: Checkpoints,
    others: Tensor | None = None,
) -> Inversion:
    """Train a decoder on pairs until the loss on the kept pairs stops falling.

    The decoder is given at its best weights: those with the lowest loss on the kept pairs, or the
    last ones if no pair is kept; with ``average``, of the weights' average. Initial weights
    come from torch's global generator, which the framework seeds before it calls an attack.

    Args:
        given: how to train.
        pairs: images with their smashed data, of which some may be kept.
        generator: shuffles the pairs.
        progress: shows every epoch.
        name: name of the stage.
        checkpoints: where the training is saved, ``self.checkpoints`` in an attack.
        others: the kept pairs' images as another attack reconstructs them, in [0, 1]. The decoder's
            are then blended with them before their loss is measured, in the share that suits best.

    Returns:
        The trained decoder with its curves.

    Raises:
        UsageError: fewer than two pairs to train on.
        DivergedError: the loss is not finite.

    Examples:
        >>> import torch
        >>> from splitsec.checkpoint import Checkpoints
        >>> from splitsec.plugins.toolbox.inversion import InversionParameters
        >>> from splitsec.plugins.toolbox.queries import Pairs
        >>> from splitsec.progress import Silent
        >>> generator = torch.Generator().manual_seed(0)
        >>> images = torch.rand(8, 3, 8, 8, generator=generator)
        >>> smashed = torch.nn.functional.avg_pool2d(images, 2)
        >>> pairs = Pairs(images, smashed, kept=torch.arange(8) < 2)
        >>> given = InversionParameters(epochs=2)
        >>> trained = invert(given, pairs, generator, Silent(), "demo", Checkpoints())
        >>> trained.reconstruct(smashed).shape, len(trained.curves["decoder loss"])
        (torch.Size([8, 3, 8, 8]), 2)
    """
    rows, kept = (~pairs.kept).nonzero().flatten(), pairs.kept_side()
    if len(rows) < 2:
        raise UsageError(f"{name} needs two pairs or more to train on; it has {len(rows)}")
    build = DECODERS[given.decoder]
    decoder = build(pairs.smashed.shape[1:], Shape(*pairs.images.shape[1:]))
    if given.decoder != "report":
        decoder = nn.Sequential(standardise(pairs.smashed), decoder)
    decoder = beside(decoder, pairs.smashed)
    averaged = copy.deepcopy(decoder) if given.average else decoder
    optimizer = make_optimizer(
        given.optimizer, decoder.parameters(), given.learning_rate, momentum=given.momentum
    )
    curves: dict[str, list[float]] = {"decoder loss": []}
    some = len(kept.images) > 0
    if some:
        curves["kept pairs"] = []
    best = _BestDecoder(copy.deepcopy(averaged.state_dict()))
    saved = checkpoints.stage(
        name,
        decoder=decoder,
        averaged=averaged,
        optimizer=optimizer,
        generator=generator,
        curves=curves,
        best=best,
    )
    over = _Pass(given, decoder, averaged, optimizer, pairs, rows, generator, best)
    with progress.stage(name, given.epochs) as stage:
        stage.advance(saved.position)
        for epoch in range(saved.position, given.epochs):
            fade = half_cosine(epoch, given.epochs, _LEAST_RATE) if given.fade else 1.0
            set_rate(optimizer, given.learning_rate * fade)
            loss, share = _epoch(over), 1.0
            curves["decoder loss"].append(loss)
            if some:
                loss, share = _error(averaged, given, kept, others)
                curves["kept pairs"].append(loss)
            if not math.isfinite(loss):
                raise DivergedError(f"{name}: the decoder's loss is not finite in epoch {epoch}")
            if not some or loss < best.loss:
                best.weights = copy.deepcopy(averaged.state_dict())
                best.loss, best.epoch, best.share = loss, epoch, share
            stage.advance(note=f"loss {loss:.4f}")
            if some and epoch - best.epoch >= given.patience:
                break
            saved.reached(epoch + 1)
    averaged.load_state_dict(best.weights)
    return Inversion(averaged.eval(), curves, best.share)


def standardise(smashed: Tensor) -> Standardise:
    """Return a layer that gives each channel, or each feature, mean 0 and variance 1.

    A channel that hardly varies is scaled as if it had a thousandth of the largest spread.
    """
    channel = 1 if smashed.dim() == 4 else smashed.dim() - 1
    others = [axis for axis in range(smashed.dim()) if axis != channel]
    spread, mean = torch.std_mean(smashed, others)
    floor = 1e-3 * spread.max().item() + 1e-12
    axes = smashed.dim() - 1 - channel
    return Standardise(mean.tolist(), spread.clamp(min=floor).tolist(), axes)


def _loss(given: InversionParameters, made: Tensor, wanted: Tensor) -> Tensor:
    """Return the loss of decoded images against those in [0, 1]; decoded ones are in [-1, 1]."""
    due = 2 * wanted - 1
    if given.loss == "l2":
        return F.mse_loss(made, due)
    loss = F.l1_loss(made, due)
    if given.loss == "l1" or min(made.shape[2:]) < SSIM_WINDOW:
        return loss
    return loss + _SSIM_WEIGHT * mean_ssim_error(wanted)((made + 1) / 2)


@dataclass
class _Pass:
    """Passes over the pairs, and the average of the decoder's weights."""

    given: InversionParameters
    decoder: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    pairs: Pairs
    rows: Tensor
    generator: torch.Generator
    best: _BestDecoder

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average towards the decoder, faster at the beginning."""
        self.best.steps += 1
        if self.averaged is self.decoder:
            return
        decay = min(self.given.average, self.best.steps / (self.best.steps + 10))
        ours, theirs = self.averaged.parameters(), self.decoder.parameters()
        for weight, current in zip(ours, theirs, strict=True):
            weight.lerp_(current, 1 - decay)
        for statistic, latest in zip(self.averaged.buffers(), self.decoder.buffers(), strict=True):
            statistic.copy_(latest)


def _epoch(over: _Pass) -> float:
    """Pass over the pairs once; return the mean loss."""
    over.decoder.train()
    images, smashed = over.pairs.images, over.pairs.smashed
    losses = []
    for chosen in batches(len(over.rows), over.given.batch_size, over.generator):
        rows = beside(over.rows[chosen], images)
        loss = _loss(over.given, over.decoder(smashed[rows]), images[rows])
        over.optimizer.zero_grad()
        torch.autograd.backward(loss)
        over.optimizer.step()
        over.follow()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def _error(
    decoder: nn.Module, given: InversionParameters, pairs: Pairs, others: Tensor | None
) -> tuple[float, float]:
    """Return the loss on pairs, and the decoder's share in the blend that it is the loss of."""
    decoder.eval()
    made = torch.cat([decoder(part) for part in torch.split(pairs.smashed, _AT_ONCE)])
    share = 1.0
    if others is not None:
        theirs = 2 * others - 1
        apart, due = made - theirs, 2 * pairs.images - 1 - theirs
        tiny = torch.finfo(apart.dtype).tiny
        share = ((apart * due).sum() / apart.square().sum().clamp_min(tiny)).clamp(0, 1).item()
        made = theirs + share * apart
    return _loss(given, made, pairs.images).item(), share
