"""The hijacking step written plainly, to compare the real one with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from splitsec.attacks.fsha.hijack import Hijack, HijackSettings, HijackStep


class PlainKerasAdam:
    """Adam as Keras documents it, written out: an epsilon of 1e-7 before the bias correction."""

    def __init__(self, weights: Iterable[Tensor], lr: float, betas: tuple[float, float]):
        self.weights, self.rate, self.betas, self.steps = list(weights), lr, betas, 0
        self.means = [torch.zeros_like(weight) for weight in self.weights]
        self.squares = [torch.zeros_like(weight) for weight in self.weights]

    def zero_grad(self) -> None:
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        one, two = self.betas
        rate = self.rate * (1 - two**self.steps) ** 0.5 / (1 - one**self.steps)
        for weight, mean, square in zip(self.weights, self.means, self.squares, strict=True):
            assert weight.grad is not None
            mean.copy_(one * mean + (1 - one) * weight.grad)
            square.copy_(two * square + (1 - two) * weight.grad**2)
            weight.sub_(rate * mean / (square.sqrt() + 1e-7))


class PlainPort:
    """Each party's loss by its own forward pass, differentiated by autograd alone."""

    def __init__(self, networks: Any, settings: HijackSettings, generator: torch.Generator):
        self.networks, self.settings, self.generator = networks, settings, generator
        adam = torch.optim.Adam if settings.adam == "torch" else PlainKerasAdam
        self.autoencoder_optimizer = adam(
            [*networks.pilot.parameters(), *networks.decoder.parameters()],
            settings.autoencoder_lr,
            settings.betas,
        )
        self.critic_optimizer = adam(
            networks.critic.parameters(), settings.critic_lr, settings.betas
        )

    def step(self, private: Tensor, public: Tensor) -> HijackStep:
        networks = self.networks
        smashed = networks.client(private)
        features = networks.pilot(public)
        autoencoder_loss = (networks.decoder(features) - public).pow(2).mean()
        self.autoencoder_optimizer.zero_grad()
        autoencoder_loss.backward()
        for _ in range(self.settings.critic_steps - 1):
            self.critic_pass(smashed.detach(), features.detach())
            self.critic_optimizer.step()
        critic_loss, penalty = self.critic_pass(smashed.detach(), features.detach())
        watched = smashed.detach().requires_grad_()
        client_loss = self.client_loss(watched)
        (gradient,) = torch.autograd.grad(client_loss, watched)
        networks.client_optimizer.zero_grad()
        smashed.backward(gradient)
        for optimizer in (
            networks.client_optimizer,
            self.autoencoder_optimizer,
            self.critic_optimizer,
        ):
            optimizer.step()
        losses = (client_loss, autoencoder_loss, critic_loss, penalty)
        return HijackStep(gradient, *(loss.item() for loss in losses))

    def client_loss(self, smashed: Tensor) -> Tensor:
        scores = self.networks.critic(smashed)
        return scores.mean() if self.settings.loss == "wgan" else -logsigmoid(scores).mean()

    def critic_pass(self, smashed: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        critic = self.networks.critic
        if self.settings.loss == "wgan":
            loss = critic(features).mean() - critic(smashed).mean()
        else:
            loss = -logsigmoid(critic(features)).mean() / 2
            loss = loss - logsigmoid(-critic(smashed)).mean() / 2
        mix = torch.rand(len(smashed), 1, 1, 1, generator=self.generator).to(smashed)
        interpolates = (mix * smashed + (1 - mix) * features).requires_grad_()
        (slopes,) = torch.autograd.grad(critic(interpolates).sum(), interpolates, create_graph=True)
        axes = (1, 2, 3) if self.settings.gradient_penalty_norm == "sample" else (2, 3)
        penalty = (slopes.pow(2).sum(axes).sqrt() - 1).pow(2).mean()
        self.critic_optimizer.zero_grad()
        (loss + self.settings.gradient_penalty * penalty).backward()
        return loss, penalty


def exchange(hijack: Hijack, networks: Any, private: Tensor, public: Tensor) -> HijackStep:
    """One exchange over the wire: only detached tensors cross."""
    smashed = networks.client(private)
    answer = hijack.step(smashed.detach(), public)
    networks.client_optimizer.zero_grad()
    smashed.backward(answer.gradient)
    networks.client_optimizer.step()
    return answer
