"""The hijacking step against a plain port: three passes, one after the other, autograd alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from splitsec.attacks.fsha import paper_networks
from splitsec.attacks.fsha.hijack import Hijack, HijackSettings
from splitsec.plugins.toolbox.gradient_penalty import Rectifier, gradient_penalty
from splitsec.targets.fsha_client import networks as client_networks
from support.hijacking import PlainPort, exchange

BATCH = 6
CLIENT_LR = 1e-3
SETTINGS = HijackSettings(
    gradient_penalty=10.0, autoencoder_lr=2e-3, critic_lr=1e-3, betas=(0.5, 0.99)
)


class Networks:
    """A client and a server small enough for double precision; smashed data 4 x 4 x 4."""

    def __init__(self, activation: Callable[[], nn.Module] = nn.ReLU):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.client = nn.Sequential(
                nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)
            ).double()
            self.pilot = nn.Sequential(
                nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), nn.Conv2d(4, 4, 1)
            ).double()
            self.decoder = nn.Sequential(nn.ConvTranspose2d(4, 3, 2, 2), nn.Tanh()).double()
            self.critic = nn.Sequential(
                nn.Conv2d(4, 8, 3, 1, 1),
                activation(),
                nn.Conv2d(8, 8, 3, 1, 1),
                activation(),
                nn.Flatten(),
                nn.Linear(128, 1),
            ).double()
        self.client_optimizer = torch.optim.Adam(self.client.parameters(), CLIENT_LR)

    def weights(self) -> list[Tensor]:
        """The weights of client, pilot, decoder and critic, one vector each."""
        networks = (self.client, self.pilot, self.decoder, self.critic)
        return [nn.utils.parameters_to_vector(network.parameters()) for network in networks]


def batches(steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        private, public = torch.rand(2, BATCH, 3, 8, 8, generator=generator).double() * 2 - 1
        yield private, public


def build(settings: HijackSettings, networks: Networks) -> Hijack:
    return Hijack(
        networks.pilot,
        networks.decoder,
        networks.critic,
        settings,
        torch.Generator().manual_seed(2),
    )


@pytest.mark.parametrize("activation", [nn.ReLU, Rectifier])
@pytest.mark.parametrize("critic_steps", [1, 3])
@pytest.mark.parametrize("norm", ["sample", "channel"])
@pytest.mark.parametrize("loss", ["wgan", "bce"])
@pytest.mark.parametrize("adam", ["torch", "keras"])
def test_equals_a_plain_port(
    adam: str, loss: str, norm: str, critic_steps: int, activation: Callable[[], nn.Module]
) -> None:
    settings = replace(
        SETTINGS, adam=adam, loss=loss, gradient_penalty_norm=norm, critic_steps=critic_steps
    )
    networks, reference_networks = Networks(activation), Networks()
    hijack = build(settings, networks)
    port = PlainPort(reference_networks, settings, torch.Generator().manual_seed(2))
    for private, public in batches(5):
        answer = exchange(hijack, networks, private, public)
        expected = port.step(private, public)
        torch.testing.assert_close(answer.gradient, expected.gradient, rtol=1e-7, atol=1e-10)
        assert answer[1:] == pytest.approx(expected[1:], rel=1e-8)
    learned, expected_weights, start = (
        each.weights() for each in (networks, reference_networks, Networks())
    )
    for weights, reference, initial in zip(learned, expected_weights, start, strict=True):
        torch.testing.assert_close(weights, reference, rtol=1e-7, atol=1e-9)
        assert not torch.allclose(weights, initial, atol=1e-4)


def test_no_forward_pass_is_done_twice() -> None:
    networks = Networks()
    samples: dict[str, int] = {}

    def count(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor]) -> None:
            samples[name] = samples.get(name, 0) + len(inputs[0])

        return hook

    for name in ("client", "pilot", "decoder", "critic"):
        getattr(networks, name).register_forward_pre_hook(count(name))
    exchange(build(SETTINGS, networks), networks, *next(batches(1)))
    # The critic sees private, public and interpolated features, once each.
    assert samples == {"client": BATCH, "pilot": BATCH, "decoder": BATCH, "critic": 3 * BATCH}


def test_the_client_descends_the_critic_score_of_its_smashed_data() -> None:
    networks = Networks()
    private, public = next(batches(1))
    smashed = networks.client(private).detach()
    critic = Networks().critic  # the same initial weights, which no step updates
    answer = build(SETTINGS, networks).step(smashed, public)
    with torch.no_grad():
        before = critic(smashed).mean()
        after = critic(smashed - 0.1 * answer.gradient).mean()
    assert answer.client_loss == pytest.approx(before.item())
    assert after < before


def test_the_step_leaves_the_smashed_data_alone_and_repeats_exactly() -> None:
    answers = []
    for _ in range(2):
        networks = Networks()
        hijack = build(SETTINGS, networks)
        for private, public in batches(3):
            smashed = networks.client(private).detach()
            copy = smashed.clone()
            answer = hijack.step(smashed, public)
            assert torch.equal(smashed, copy)
            assert not smashed.requires_grad
            assert not answer.gradient.requires_grad
        answers.append(answer)
    assert torch.equal(answers[0].gradient, answers[1].gradient)
    assert answers[0][1:] == answers[1][1:]


def test_without_a_penalty_none_is_computed() -> None:
    networks = Networks()
    generator = torch.Generator().manual_seed(2)
    state = generator.get_state()
    settings = replace(SETTINGS, gradient_penalty=0.0)
    hijack = Hijack(networks.pilot, networks.decoder, networks.critic, settings, generator)
    answer = exchange(hijack, networks, *next(batches(1)))
    assert answer.gradient_penalty == 0.0
    assert torch.equal(generator.get_state(), state)


def test_features_of_another_shape_are_refused() -> None:
    networks = Networks()
    _, public = next(batches(1))
    with pytest.raises(ValueError, match=r"\(6, 4, 4, 4\).*\(6, 5, 4, 4\)"):
        build(SETTINGS, networks).step(torch.zeros(6, 5, 4, 4).double(), public)


def test_the_penalty_of_a_linear_critic_is_known() -> None:
    critic = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 3, 1))
    weight = torch.zeros(2, 3, 3)
    weight[0, 0, 0], weight[0, 1, 1], weight[1, 2, 0] = 3.0, 4.0, 12.0
    critic[1].weight.data = weight.reshape(1, -1)
    private, public = torch.rand(2, 5, 2, 3, 3, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(4)
    per_sample = gradient_penalty(critic, private, public, "sample", generator)
    per_channel = gradient_penalty(critic, private, public, "channel", generator)
    assert per_sample.item() == pytest.approx((13 - 1) ** 2)
    assert per_channel.item() == pytest.approx(((5 - 1) ** 2 + (12 - 1) ** 2) / 2)


def test_the_penalty_of_a_flat_critic_has_a_finite_gradient() -> None:
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    nn.init.zeros_(critic[1].weight)
    features = torch.ones(3, 1, 2, 2)
    penalty = gradient_penalty(critic, features, features, "sample", torch.Generator())
    assert penalty.item() == 1.0
    (gradient,) = torch.autograd.grad(penalty, critic[1].weight)
    assert torch.isfinite(gradient).all()


@pytest.mark.slow
@pytest.mark.parametrize("level", [1, 4])
def test_the_paper_networks_train(level: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        client = nn.Sequential(*client_networks.client_children(level))
        pilot, decoder = paper_networks.pilot(level), paper_networks.decoder(level, size=8)
        images = torch.rand(2, 3, 8, 8) * 2 - 1
        smashed = client(images).detach()
        _, channels, height, width = smashed.shape
        critic = paper_networks.discriminator((channels, height, width))
    settings = HijackSettings(autoencoder_lr=1e-3, gradient_penalty_norm="channel")
    hijack = Hijack(pilot, decoder, critic, settings, torch.Generator().manual_seed(5))
    losses = [hijack.step(smashed, images).autoencoder_loss for _ in range(5)]
    assert losses[-1] < 0.9 * losses[0]
