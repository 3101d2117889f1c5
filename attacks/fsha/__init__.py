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

A server may behave until it has learned (``honest``), or mix the task's gradient into what it
sends (``task``), so that the clients' loss falls as it should. For that it needs the labels that
clients share, or, where they keep them, the gradient of the features that it receives anyway.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from splitsec.devices import beside
from splitsec.errors import PluginError, UsageError
from splitsec.plugins.attack import Attack, Hijacking
from splitsec.plugins.convergence import Convergence
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.messages import Message
from splitsec.plugins.toolbox.decoders import build_decoder, count_halvings
from splitsec.plugins.toolbox.optimization import half_cosine, set_rate
from splitsec.plugins.view import View
from splitsec.randomness import seeded_global_generator
from splitsec.shapes import require_map

from . import light_networks, paper_networks
from .hijack import Hijack, HijackSettings
from .images import ImageGame, energy_distance
from .pace import Pace
from .parameters import FshaParameters
from .task import Task, mixed

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
        self._task: Task | None = None
        if parameters.honest or parameters.task:
            server = view.device.put(view.server_architecture)
            self._task = Task(server, view.loss, parameters.task_lr)
        if self._plays():
            aside = len(self._public) // _ASIDE
            self._aside, self._public = self._public[:aside], self._public[aside:]
            self._game = self._build_game()
        self._curves: dict[str, list[float]] = {}

    @classmethod
    def threat_model(cls, parameters: FshaParameters) -> ThreatModel:
        """Declare an active server that has public images of a similar kind."""
        dictates = parameters.batch_size is not None or parameters.client_lr is not None
        labels = bool(parameters.honest or parameters.task)
        return ThreatModel(active=True, public_images=True, labels=labels, client_settings=dictates)

    def hijacking(self) -> Hijacking:
        """Request one exchange per iteration."""
        given = self.parameters
        return Hijacking(given.iterations, given.batch_size, given.client_lr)

    def features(self, message: Message) -> Tensor:
        """Return features for a client that keeps its model's head."""
        task = self._task_at(self._step + 1)
        return super().features(message) if task is None else task.features(message)

    def answer(self, message: Message) -> Tensor:
        """Train on one exchange and answer with the hijacking gradient, or as an honest server."""
        self._step += 1
        given, task = self.parameters, self._task_at(self._step)
        behaves = self._step <= given.honest
        if self._game is not None:
            gradient = self._play(self._game, message.smashed)
        else:
            gradient = self._train(message.smashed)
        if task is not None:
            honest = task.answer(message)
            if task.loss is not None:
                self._note({"task loss": task.loss})
            gradient = honest if behaves else mixed(gradient, honest, given.task)
        if self._game is not None:
            ready = self._pace.loud or self._game.ready
            gradient = self._paced(gradient, hijacks=ready and not behaves)
        return gradient if behaves else given.gradient_scale * gradient

    def _task_at(self, step: int) -> Task | None:
        """Return the task if it is trained at this step, from 1."""
        trained = step <= self.parameters.honest or self.parameters.task
        return self._task if trained else None

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
        losses = {
            "client loss": step.client_loss,
            "autoencoder loss": step.autoencoder_loss,
            "critic loss": step.critic_loss,
            "gradient penalty": step.gradient_penalty,
        }
        self._note(losses)
        return step.gradient * max(fade, self.parameters.gradient_floor)

    def _play(self, game: ImageGame, smashed: Tensor) -> Tensor:
        """Listen until there is enough to start with; then train on one exchange.

        Returns:
            The gradient of the distance, or zeros.
        """
        assert self._inverse is not None
        enough = game.remember(smashed) or 4 * self._step >= self.parameters.iterations
        if enough and not game.ready:
            game.start(self.parameters.image_steps)
            self._inverse.load_state_dict(game.decoder.state_dict())
        if not game.ready:
            return torch.zeros_like(smashed)
        set_rate(game.optimizer, self.parameters.image_lr * max(self._fade(), _LOWEST_RATE))
        gradient, distance = game.step(smashed)
        self._follow(game.decoder)
        aside = self._distance_aside(smashed)
        self._note({"client loss": distance, "distance from public images": aside})
        return gradient

    def _paced(self, gradient: Tensor, *, hijacks: bool) -> Tensor:
        """Return the gradient with the length that makes the client take steps of the wanted size.

        One that does not hijack keeps its length, which the client's optimizer remembers.
        """
        if hijacks and self._pace.loud:
            gradient = beside(torch.randn(gradient.shape, generator=self.generator), gradient)
        length: Tensor = gradient.norm().clamp(min=_NOTHING) * len(gradient) ** 0.5 / _LARGEST
        if not hijacks:
            self._pace.wait(length.item())
            return gradient
        rate = self.parameters.client_rate * max(self._fade(), self.parameters.gradient_floor)
        return gradient / length * self._pace.factor(rate)

    @torch.no_grad()
    def _distance_aside(self, smashed: Tensor) -> float:
        """Return the distance of reconstructions from public images that were kept aside."""
        if self._inverse is None or len(self._aside) < 2:
            return 0.0
        return max(0.0, energy_distance(self._inverse(smashed), self._aside).item())

    def _note(self, losses: Mapping[str, float]) -> None:
        if self._step % _LOG_EVERY == 1:
            for name, loss in losses.items():
                self._curves.setdefault(name, []).append(loss)

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
        errors = self._curves.get(name)
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
