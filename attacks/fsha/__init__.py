"""FSHA: a malicious server hijacks the client's feature space and inverts it.

Pasquini, Ateniese, Bernaschi, "Unleashing the tiger: inference attacks on split learning", CCS
2021. The attack is active: the server ignores the task, and from the first exchange sends gradients
that make the client's smashed data look like those of a pilot encoder, whose inverse it trains on
public images. It needs images of a similar kind, and from the client only its smashed data.

The paper's settings are the ``paper`` profile. The defaults differ, to be reliable within minutes
on a CPU. At shallow cuts they play the paper's game with light networks that adapt to any smashed
data, a pilot that resembles the first layers of common networks, pilot and decoder trained briefly
before the first exchange, mirrored public images, rates and the sent gradient decayed by a cosine,
and the decoder's weights averaged.

Where the client halves images three times or more, they play another game (``images.py``): the
server first asks the client for nothing, and finds a linear decoder whose images are distributed as
the public ones are; then it sends gradients by which these distributions come closer. A distance
without weights replaces the critic, there is no pilot, and the size of the gradients makes a client
with Adam take small steps. None of this needs more than the paper's attacker has.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.devices import beside
from splitsec.errors import PluginError, UsageError
from splitsec.plugins.attack import Attack, Hijacking
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.messages import Message
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.toolbox.decoders import build_decoder, count_halvings
from splitsec.plugins.toolbox.optimization import half_cosine, set_rate
from splitsec.plugins.view import View
from splitsec.randomness import seeded_global_generator
from splitsec.shapes import require_map

from . import light_networks, paper_networks
from .hijack import Hijack, HijackSettings
from .images import ImageGame, energy_distance
from .pace import Pace


class FshaParameters(Parameters):
    """Parameters of FSHA; the paper's values are those of the ``paper`` profile."""

    iterations: int = Field(600, ge=1, description="exchanges to hijack; paper 10,000")
    networks: Literal["light", "paper", "auto"] = Field(
        "light",
        description="the paper's networks, light ones, or the paper's where the smashed data "
        "have the shape of one of its levels and either sign",
    )
    images_from: int = Field(
        3,
        ge=0,
        description="halvings of the image from which on light networks give way to the game in "
        "images; 0: always",
    )
    loss: Literal["wgan", "bce"] = Field("wgan", description="adversarial loss; report wgan")
    gradient_penalty: float = Field(10.0, ge=0, description="weight of the penalty; paper 500")
    gradient_penalty_norm: Literal["sample", "channel"] = Field(
        "sample", description="one norm per sample (WGAN-GP), or per channel (the authors' code)"
    )
    gradient_scale: float = Field(
        1.0,
        gt=0,
        description="factor on the gradient sent; decides against a client's own penalty",
    )
    gradient_floor: float = Field(
        0.05,
        gt=0,
        le=1,
        description="share of itself to which the sent gradient fades with the rates; 1: it "
        "does not fade; paper 1",
    )
    client_rate: float = Field(
        0.03,
        gt=0,
        le=1,
        description="in the game in images: length of the client's steps relative to its learning "
        "rate, which a client with Adam is made to take by the size of the gradients",
    )
    image_steps: int = Field(
        200,
        ge=1,
        description="in the game in images: steps of the decoder from each start, and at each size "
        "of images",
    )
    image_lr: float = Field(
        5e-3, gt=0, description="in the game in images: Adam, the decoder, for fine images"
    )
    autoencoder_lr: float = Field(2e-3, gt=0, description="Adam, pilot and decoder; paper 1e-5")
    critic_lr: float = Field(1e-3, gt=0, description="Adam, critic; paper 1e-4")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam's first beta; paper 0.9")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's second beta; paper 0.999")
    adam: Literal["torch", "keras"] = Field(
        "torch",
        description="torch's Adam, with an epsilon of 1e-8 after the bias correction, or Keras', "
        "with 1e-7 before it; paper keras",
    )
    critic_steps: int = Field(1, ge=1, description="critic updates per exchange; paper 1")
    pretraining: int = Field(
        100, ge=0, description="steps of pilot and decoder before the first exchange; paper 0"
    )
    mirror: bool = Field(True, description="mirror public images at random, for a pilot; paper no")
    decay_from: float = Field(
        0.5, ge=0, le=1, description="share of the session after which rates decay; paper 1"
    )
    average: float = Field(
        0.99, ge=0, lt=1, description="decay of the decoder's weight average; paper 0, none"
    )
    batch_size: int | None = Field(
        None, ge=2, description="dictated to the client; empty: its own; paper 64"
    )
    client_lr: float | None = Field(
        None, gt=0, description="learning rate dictated to the client; empty: its own; paper 1e-5"
    )


_NAME = "attack 'fsha'"
_LOWEST_RATE = 0.02  # of the autoencoder and critic at the session's end, relative
_LOG_EVERY = 10
_ASIDE = 10  # one of so many public images is kept aside, to measure convergence on
_LARGEST = 100.0  # norm of a sample's gradient where the pace's factor is one, times the batch size
_NOTHING = 1e-12


class Networks(NamedTuple):
    """The three networks of the malicious server."""

    pilot: nn.Module
    decoder: nn.Module
    critic: nn.Module


class Fsha(Attack[FshaParameters]):
    """The feature-space hijacking attack."""

    Parameters: ClassVar[type[FshaParameters]] = FshaParameters
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "standard": {"iterations": 4000},
        "paper": {
            "iterations": 10_000,
            "networks": "auto",
            "gradient_penalty": 500.0,
            "autoencoder_lr": 1e-5,
            "critic_lr": 1e-4,
            "beta1": 0.9,
            "beta2": 0.999,
            "adam": "keras",
            "pretraining": 0,
            "mirror": False,
            "decay_from": 1.0,
            "gradient_floor": 1.0,
            "average": 0.0,
            "batch_size": 64,
            "client_lr": 1e-5,
        },
    }

    def __init__(self, parameters: FshaParameters, view: View, generator: torch.Generator) -> None:
        super().__init__(parameters, view, generator)
        if len(view.public_images) < 2:
            raise UsageError("attack 'fsha' needs public images; this data set leaves it none")
        require_map(view.smashed_shape, _NAME)
        self._public = 2 * view.public_images - 1
        self._hijack: Hijack | None = None
        self._nonnegative = False
        self._inverse: nn.Module | None = None
        self._game: ImageGame | None = None
        self._aside = self._public[:0]
        self._pace = Pace()
        self._step = 0
        if self._plays():
            names = ["client loss", "distance from public images"]
            aside = len(self._public) // _ASIDE
            self._aside, self._public = self._public[:aside], self._public[aside:]
            self._game = self._build_game()
        else:
            names = ["client loss", "autoencoder loss", "critic loss", "gradient penalty"]
        self._curves: dict[str, list[float]] = {name: [] for name in names}

    @classmethod
    def threat_model(cls, parameters: FshaParameters) -> ThreatModel:
        """Declare an active server that has public images of a similar kind."""
        dictates = parameters.batch_size is not None or parameters.client_lr is not None
        return ThreatModel(active=True, public_images=True, client_settings=dictates)

    def hijacking(self) -> Hijacking:
        """Request one exchange per iteration."""
        given = self.parameters
        return Hijacking(given.iterations, given.batch_size, given.client_lr)

    def answer(self, message: Message) -> Tensor:
        """Train on one exchange and answer with the hijacking gradient."""
        self._step += 1
        if self._game is not None:
            gradient = self._play(self._game, message.smashed)
        else:
            gradient = self._train(message.smashed)
        return self.parameters.gradient_scale * gradient

    def _train(self, smashed: Tensor) -> Tensor:
        """Train pilot, decoder and critic on one exchange, and return the gradient."""
        hijack = self._hijack or self._begin(smashed)
        fade = self._fade()
        set_rate(
            hijack.autoencoder_optimizer, self.parameters.autoencoder_lr * max(fade, _LOWEST_RATE)
        )
        set_rate(hijack.critic_optimizer, self.parameters.critic_lr * max(fade, _LOWEST_RATE))
        step = hijack.step(smashed, self._public_batch(len(smashed)))
        self._follow(hijack.decoder)
        self._note(step.client_loss, step.autoencoder_loss, step.critic_loss, step.gradient_penalty)
        return step.gradient * max(fade, self.parameters.gradient_floor)

    def _play(self, game: ImageGame, smashed: Tensor) -> Tensor:
        """Listen until there is enough to start with; then train on one exchange."""
        assert self._inverse is not None
        enough = game.remember(smashed) or 4 * self._step >= self.parameters.iterations
        if enough and not game.ready:
            game.start(self.parameters.image_steps)
            self._inverse.load_state_dict(game.decoder.state_dict())
        gradient = torch.zeros_like(smashed)
        fade = self._fade()
        if game.ready:
            set_rate(game.optimizer, self.parameters.image_lr * max(fade, _LOWEST_RATE))
            gradient, distance = game.step(smashed)
            self._follow(game.decoder)
            self._note(distance, self._distance_aside(smashed))
        if self._pace.loud:
            gradient = beside(torch.randn(smashed.shape, generator=self.generator), smashed)
        elif not game.ready:
            self._pace.wait()
            return gradient
        unit: Tensor = gradient.norm().clamp(min=_NOTHING) * len(smashed) ** 0.5 / _LARGEST
        rate = self.parameters.client_rate * max(fade, self.parameters.gradient_floor)
        return gradient / unit * self._pace.factor(rate)

    @torch.no_grad()
    def _distance_aside(self, smashed: Tensor) -> float:
        """Return the distance of reconstructions from public images that were kept aside."""
        if self._inverse is None or len(self._aside) < 2:
            return 0.0
        return max(0.0, energy_distance(self._inverse(smashed), self._aside).item())

    def _note(self, *values: float) -> None:
        if self._step % _LOG_EVERY == 1:
            for curve, value in zip(self._curves.values(), values, strict=True):
                curve.append(value)

    def reconstruct(self, smashed: Tensor) -> Tensor:
        """Invert smashed data by the decoder."""
        if self._inverse is None:
            raise PluginError("attack 'fsha' saw no exchange, so it has nothing to invert with")
        self._inverse.eval()
        images: Tensor = self._inverse(smashed)
        return ((images + 1) / 2).clamp(0, 1)

    def curves(self) -> dict[str, list[float]]:
        """Return the losses of every tenth exchange."""
        return self._curves

    def convergence(self) -> list[Convergence]:
        """Return the distance of reconstructions from public images that were kept aside.

        With a pilot, return the autoencoder's errors on public images. They say nothing about how
        close the client has come to the pilot; the critic's losses do not either.
        """
        if self._game is not None:
            name = measured = "distance from public images"
        else:
            name, measured = "autoencoder loss", "public images"
        errors = self._curves[name]
        return [Convergence.of_last(measured, errors)] if errors else []

    def _begin(self, smashed: Tensor) -> Hijack:
        """Build the networks for the observed smashed data, and pretrain the autoencoder."""
        self._nonnegative = bool((smashed >= 0).all())
        hijack = self._build()
        for _ in range(self.parameters.pretraining):
            public = self._public_batch(len(smashed))
            loss = F.mse_loss(hijack.decoder(hijack.pilot(public)), public)
            hijack.autoencoder_optimizer.zero_grad()
            torch.autograd.backward(loss)
            hijack.autoencoder_optimizer.step()
        if self.parameters.average:
            self._inverse = copy.deepcopy(hijack.decoder)
        return hijack

    def rebuild(self, state: Mapping[str, Any]) -> None:
        """Build the networks again, before a checkpoint is restored."""
        if state["_hijack"] is not None:
            self._nonnegative = state["_nonnegative"]
            self._build()

    def _build(self) -> Hijack:
        """Build the networks, with weights from the attack's own generator."""
        given = self.parameters
        draw = int(torch.randint(2**62, (), generator=self.generator))
        with seeded_global_generator("fsha networks", {"draw": draw}):
            networks = self.view.device.put(self._networks(self._nonnegative))
        settings = HijackSettings(
            loss=given.loss,
            gradient_penalty=given.gradient_penalty,
            gradient_penalty_norm=given.gradient_penalty_norm,
            autoencoder_lr=given.autoencoder_lr,
            critic_lr=given.critic_lr,
            betas=(given.beta1, given.beta2),
            adam=given.adam,
            critic_steps=given.critic_steps,
        )
        hijack = Hijack(*networks, settings, self.generator)
        self._hijack = hijack
        self._inverse = copy.deepcopy(hijack.decoder) if given.average else hijack.decoder
        return hijack

    def _plays(self) -> bool:
        """Return whether the game is played in images, without a pilot."""
        given = self.parameters
        image, smashed = self.view.image_shape, require_map(self.view.smashed_shape, _NAME)
        deep = count_halvings(image, smashed) >= given.images_from
        return given.networks == "light" and deep

    def _build_game(self) -> ImageGame:
        """Build the game in images, with weights from the attack's own generator."""
        smashed = require_map(self.view.smashed_shape, _NAME)
        draw = int(torch.randint(2**62, (), generator=self.generator))
        with seeded_global_generator("fsha networks", {"draw": draw}):
            game = ImageGame(
                self.view.image_shape,
                smashed,
                self._public,
                self.parameters.image_lr,
                self.generator,
            )
        self._inverse = copy.deepcopy(game.decoder)
        return game

    def _networks(self, nonnegative: bool) -> Networks:
        image, smashed = self.view.image_shape, require_map(self.view.smashed_shape, _NAME)
        level = paper_networks.level_of(image, smashed)
        wanted = self.parameters.networks
        # The paper's pilot ends linearly, so it fits only a client that sends both signs.
        if wanted == "light" or (wanted == "auto" and (level is None or nonnegative)):
            return Networks(
                light_networks.build_pilot(image, smashed, nonnegative),
                build_decoder(smashed, image),
                light_networks.build_critic(smashed),
            )
        if level is None:
            raise UsageError(
                f"networks=paper cannot attack smashed data of {smashed} for images of {image}; "
                "use --target fsha-client, or --set attack.fsha.networks=light"
            )
        return Networks(
            paper_networks.pilot(level, image.channels),
            paper_networks.decoder(level, image.channels, image.height),
            paper_networks.discriminator(smashed),
        )

    def _public_batch(self, count: int) -> Tensor:
        """Draw public images in [-1, 1], shape (count, C, H, W)."""
        rows = torch.randint(len(self._public), (count,), generator=self.generator)
        images = self._public[beside(rows, self._public)]
        if self.parameters.mirror:
            flip = torch.rand(count, 1, 1, 1, generator=self.generator) < 0.5
            images = torch.where(beside(flip, images), images.flip(3), images)
        return images

    def _fade(self) -> float:
        """Return 1, then after ``decay_from`` half a cosine down to 0."""
        start, done = self.parameters.decay_from, (self._step - 1) / self.parameters.iterations
        if done <= start:
            return 1.0
        return half_cosine(done - start, 1 - start)

    @torch.no_grad()
    def _follow(self, decoder: nn.Module) -> None:
        """Move the averaged decoder towards the one in training, faster at the beginning."""
        if self._inverse is None or self._inverse is decoder:
            return
        decay = min(self.parameters.average, self._step / (self._step + 9))
        for average, current in zip(self._inverse.parameters(), decoder.parameters(), strict=True):
            average.lerp_(current, 1 - decay)
