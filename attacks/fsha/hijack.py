"""The malicious server's training step: it answers smashed data with hijacking gradients.

Pasquini, Ateniese, Bernaschi, "Unleashing the Tiger: Inference Attacks on Split Learning", CCS
2021. The server ignores the task. On public images it trains a pilot encoder f~ with a decoder; a
critic D learns to distinguish the client's smashed data z from f~'s features; and the server sends
the client the gradient that makes z look like f~'s features to D, so that the decoder inverts z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from splitsec.plugins.toolbox.gradient_penalty import PenaltyNorm, gradient_penalty
from splitsec.plugins.toolbox.optimization import KerasAdam


@dataclass(frozen=True, kw_only=True)
class HijackSettings:
    """How the malicious server trains; the defaults are the paper's.

    Attributes:
        loss: ``"wgan"`` or ``"bce"``, the adversarial game's loss.
        gradient_penalty: weight of the gradient penalty; 0 leaves it out.
        gradient_penalty_norm: one norm per ``"sample"`` (canonical WGAN-GP) or per
            ``"channel"`` (the authors' code).
        autoencoder_lr: Adam's learning rate for the pilot and the decoder.
        critic_lr: Adam's learning rate for the critic.
        betas: Adam's betas, for both optimizers.
        adam: whose form of Adam; the authors used Keras'.
        critic_steps: critic updates per exchange, 1 or more, on the same features with fresh
            interpolates. The client's gradient is taken at the weights before the last one.
    """

    loss: Literal["wgan", "bce"] = "wgan"
    gradient_penalty: float = 500.0
    gradient_penalty_norm: PenaltyNorm = "sample"
    autoencoder_lr: float = 1e-5
    critic_lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    adam: Literal["torch", "keras"] = "keras"
    critic_steps: int = 1


class HijackStep(NamedTuple):
    """The results of one exchange; all values are for the weights before the update.

    Attributes:
        gradient: gradient of the client's hijacked loss at the smashed data, same shape.
        client_loss: mean D(z), or its cross-entropy against "public".
        autoencoder_loss: mean squared error of decoder(f~(public)), images in [-1, 1].
        critic_loss: the critic's adversarial loss, without the penalty.
        gradient_penalty: the penalty, unweighted; 0 if its weight is 0.
    """

    gradient: Tensor
    client_loss: float
    autoencoder_loss: float
    critic_loss: float
    gradient_penalty: float


class Hijack:
    """Trains pilot, decoder and critic on the client's smashed data, one exchange at a time.

    With z the smashed data and x public images, each step takes at the same weights

    - for the client, the gradient of mean D(z) with respect to z,
    - for pilot and decoder, the gradient of MSE(decoder(f~(x)), x),
    - for the critic, the gradient of mean D(f~(x)) - mean D(z) + w * GP.

    In the BCE form the client descends the cross-entropy of D(z) against 1, and the critic the
    mean of those of D(f~(x)) against 1 and of D(z) against 0.

    The critic must score each sample on its own, as the gradient penalty presumes (no batch
    normalisation). The optimizers are public, so that a schedule can drive their learning rates.
    """

    def __init__(
        self,
        pilot: nn.Module,
        decoder: nn.Module,
        critic: nn.Module,
        settings: HijackSettings,
        generator: torch.Generator,
    ):
        self.pilot = pilot
        self.decoder = decoder
        self.critic = critic
        self.settings = settings
        adam = torch.optim.Adam if settings.adam == "torch" else KerasAdam
        self.autoencoder_optimizer = adam(
            [*pilot.parameters(), *decoder.parameters()],
            lr=settings.autoencoder_lr,
            betas=settings.betas,
        )
        self.critic_optimizer = adam(
            critic.parameters(), lr=settings.critic_lr, betas=settings.betas
        )
        self._generator = generator

    def step(self, smashed: Tensor, public: Tensor) -> HijackStep:
        """Learn from one exchange and answer it.

        Args:
            smashed: the client's smashed data (N, C, h, w).
            public: as many public images (N, channels, H, W), in [-1, 1].

        Returns:
            The gradient to send to the client, and the losses.

        Raises:
            ValueError: the pilot's features of the public images differ in shape from the
                smashed data.
        """
        features = self.pilot(public)
        if features.shape != smashed.shape:
            raise ValueError(
                f"the pilot's features {tuple(features.shape)} must have the shape of the "
                f"smashed data, {tuple(smashed.shape)}"
            )
        autoencoder_loss = functional.mse_loss(self.decoder(features), public)
        self.autoencoder_optimizer.zero_grad()
        torch.autograd.backward(autoencoder_loss)
        self.autoencoder_optimizer.step()
        for _ in range(self.settings.critic_steps):
            turn = self._train_critic(smashed.detach(), features.detach())
        return HijackStep(
            gradient=turn.gradient,
            client_loss=turn.client_loss,
            autoencoder_loss=autoencoder_loss.item(),
            critic_loss=turn.critic_loss,
            gradient_penalty=turn.gradient_penalty,
        )

    def _train_critic(self, private: Tensor, public: Tensor) -> _CriticTurn:
        """Update the critic once, and take the client's gradient at its weights before that.

        Args:
            private: smashed data (N, C, h, w), detached.
            public: the pilot's features, same shape, detached.
        """
        watched = private.clone().requires_grad_()
        private_scores, public_scores = self.critic(torch.cat([watched, public])).chunk(2)
        self.critic_optimizer.zero_grad()
        if self.settings.loss == "wgan":
            client_loss = private_scores.mean()
            critic_loss = public_scores.mean() - client_loss
            # One backward pass serves both: the critic ascends what the client descends.
            torch.autograd.backward(critic_loss)
            assert watched.grad is not None
            gradient = -watched.grad
        else:
            client_loss = cross_entropy(private_scores, 1.0)
            critic_loss = cross_entropy(public_scores, 1.0) / 2
            critic_loss = critic_loss + cross_entropy(private_scores, 0.0) / 2
            (gradient,) = torch.autograd.grad(client_loss, watched, retain_graph=True)
            torch.autograd.backward(critic_loss)
        penalty = 0.0
        if self.settings.gradient_penalty > 0:
            penalty = self._add_penalty(private, public)
        self.critic_optimizer.step()
        return _CriticTurn(gradient, client_loss.item(), critic_loss.item(), penalty)

    def _add_penalty(self, private: Tensor, public: Tensor) -> float:
        """Add the weighted penalty's gradient to the critic's; return it unweighted."""
        penalty = gradient_penalty(
            self.critic, private, public, self.settings.gradient_penalty_norm, self._generator
        )
        torch.autograd.backward(self.settings.gradient_penalty * penalty)
        return penalty.item()


class _CriticTurn(NamedTuple):
    """The results of one critic update; the gradient is the client's."""

    gradient: Tensor
    client_loss: float
    critic_loss: float
    gradient_penalty: float


def cross_entropy(scores: Tensor, label: float) -> Tensor:
    """Return the mean binary cross-entropy of scores (logits, any shape) against one label."""
    return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, label))
