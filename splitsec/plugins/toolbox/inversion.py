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
from splitsec.progress import Progress
from splitsec.shapes import Shape

_AT_ONCE = 256
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

    decoder: Literal["adaptive", "report"] = Field(
        "adaptive",
        description="network; adaptive: standardises its input; "
        "report: 32 channels, transposed convolutions",
    )
    loss: Literal["l1", "l2"] = Field("l1", description="of images in [-1, 1]; report l1")
    optimizer: OptimizerName = Field("adam", description="of the decoder; report sgd")
    learning_rate: float = Field(
        2e-3, gt=0, allow_inf_nan=False, description="fades by half a cosine; report 0.01, constant"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD; report 0.9")
    fade: bool = Field(True, description="let the learning rate fade; report no")
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
    "epochs": 20,
    "kept": 0.0,
}
"""The report's values of :class:`InversionParameters`, for the ``paper`` profile."""


@dataclass
class _BestDecoder:
    """The decoder at its lowest loss."""

    weights: dict[str, Tensor]
    loss: float = math.inf
    epoch: int = 0


class Inversion(NamedTuple):
    """A trained decoder.

    Attributes:
        decoder: maps smashed data to images in [-1, 1]; in evaluation mode, with the weights
            that had the lowest loss on the kept pairs.
        curves: ``decoder loss`` per epoch, and ``kept pairs`` where some were kept.

    Examples:
        >>> import torch
        >>> trained = Inversion(decoder=torch.nn.Tanh(), curves={})
        >>> trained.reconstruct(torch.zeros(1, 3, 2, 2)).mean()
        tensor(0.5000)
    """

    decoder: nn.Module
    curves: dict[str, list[float]]

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
    images: Tensor,
    smashed: Tensor,
    generator: torch.Generator,
    progress: Progress,
    name: str,
    checkpoints: Checkpoints,
) -> Inversion:
    """Train a decoder on pairs until the loss on the kept pairs stops falling.

    A share of the images is kept aside with all their smashed data. The decoder's initial weights
    come from torch's global generator, which the framework seeds before it calls an attack.

    Args:
        given: how to train.
        images: (N, C, H, W), in [0, 1].
        smashed: the smashed data of all N images, R times in a row (R * N in all), since a
            randomised defense releases different ones each time.
        generator: chooses the kept images and shuffles the pairs.
        progress: shows every epoch.
        name: name of the stage.
        checkpoints: where the training is saved, ``self.checkpoints`` in an attack.

    Returns:
        The trained decoder with its curves.

    Raises:
        UsageError: fewer than four pairs.
        DivergedError: the loss is not finite.

    Examples:
        >>> import torch
        >>> from splitsec.checkpoint import Checkpoints
        >>> from splitsec.plugins.toolbox.inversion import InversionParameters
        >>> from splitsec.progress import Silent
        >>> generator = torch.Generator().manual_seed(0)
        >>> images = torch.rand(8, 3, 8, 8, generator=generator)
        >>> smashed = torch.nn.functional.avg_pool2d(images, 2)
        >>> given = InversionParameters(epochs=2)
        >>> trained = invert(given, images, smashed, generator, Silent(), "demo", Checkpoints())
        >>> trained.reconstruct(smashed).shape, len(trained.curves["decoder loss"])
        (torch.Size([8, 3, 8, 8]), 2)
    """
    if len(images) < 4:
        raise UsageError(f"{name} needs four pairs or more, and has {len(images)}")
    build = DECODERS[given.decoder]
    decoder = build(smashed.shape[1:], Shape(*images.shape[1:]))
    if given.decoder == "adaptive":
        decoder = nn.Sequential(standardise(smashed), decoder)
    decoder = beside(decoder, smashed)
    wanted = beside(2 * images - 1, smashed)
    order = torch.randperm(len(images), generator=generator)
    count = min(max(2, round(given.kept * len(images))), len(images) - 2) if given.kept else 0
    turns = torch.arange(0, len(smashed), len(images)).view(-1, 1)
    kept, rows = (
        beside((turns + part).flatten(), smashed) for part in (order[:count], order[count:])
    )
    wanted = wanted.repeat(len(turns), 1, 1, 1)
    optimizer = make_optimizer(
        given.optimizer, decoder.parameters(), given.learning_rate, momentum=given.momentum
    )
    curves: dict[str, list[float]] = {"decoder loss": []}
    if count:
        curves["kept pairs"] = []
    best = _BestDecoder(copy.deepcopy(decoder.state_dict()))
    saved = checkpoints.stage(
        name, decoder=decoder, optimizer=optimizer, generator=generator, curves=curves, best=best
    )
    with progress.stage(name, given.epochs) as stage:
        stage.advance(saved.position)
        for epoch in range(saved.position, given.epochs):
            fade = half_cosine(epoch, given.epochs, _LEAST_RATE) if given.fade else 1.0
            set_rate(optimizer, given.learning_rate * fade)
            loss = _epoch(decoder, optimizer, given, wanted, smashed, rows, generator)
            curves["decoder loss"].append(loss)
            if count:
                loss = _error(decoder, given, wanted[kept], smashed[kept])
                curves["kept pairs"].append(loss)
            if not math.isfinite(loss):
                raise DivergedError(f"{name}: the decoder's loss is not finite in epoch {epoch}")
            if not count or loss < best.loss:
                best.weights = copy.deepcopy(decoder.state_dict())
                best.loss, best.epoch = loss, epoch
            stage.advance(note=f"loss {loss:.4f}")
            if count and epoch - best.epoch >= given.patience:
                break
            saved.reached(epoch + 1)
    decoder.load_state_dict(best.weights)
    return Inversion(decoder.eval(), curves)


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
    return F.l1_loss(made, wanted) if given.loss == "l1" else F.mse_loss(made, wanted)


def _epoch(
    decoder: nn.Module,
    optimizer: torch.optim.Optimizer,
    given: InversionParameters,
    wanted: Tensor,
    smashed: Tensor,
    rows: Tensor,
    generator: torch.Generator,
) -> float:
    """Pass over the pairs once; return the mean loss."""
    decoder.train()
    losses = []
    for chosen in batches(len(rows), given.batch_size, generator):
        batch = rows[beside(chosen, rows)]
        loss = _loss(given, decoder(smashed[batch]), wanted[batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def _error(
    decoder: nn.Module, given: InversionParameters, wanted: Tensor, smashed: Tensor
) -> float:
    decoder.eval()
    return _loss(given, decoder(smashed), wanted).item()
