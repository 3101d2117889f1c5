"""How fast one FSHA step with the paper's networks is: level 4, 32x32x3, batch 64, float32.

Run by ``pytest tests/benchmarks/test_fsha_step.py``, with two cores free: convolutions suffer
more from busy cores than matrix products do. Matrix products, the plain port and our step take
turns within one run, and medians are compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch
from machine import THREADS, FlopCount, MatmulRate, seconds
from tables import report
from torch import Tensor, nn

from splitsec.attacks.fsha import paper_networks
from splitsec.attacks.fsha.hijack import Hijack, HijackSettings
from splitsec.plugins.toolbox.gradient_penalty import Rectifier, gradient_penalty
from splitsec.targets.fsha_client.networks import client_children
from support.hijacking import PlainPort, exchange

LEVEL, SIZE, BATCH, ROUNDS = 4, 32, 64, 9
STEP_GFLOP = 252
LEAST_SHARE_OF_MATMUL_RATE = 0.75
LEAST_SPEEDUP = 1.1


class PaperNetworks:
    """The paper's client and server at level 4, all from one seed.

    Args:
        plain: undo what makes ours fast: torch's ReLU, and torch's default memory format.
    """

    def __init__(self, plain: bool = False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.client = nn.Sequential(*client_children(LEVEL))
            self.pilot = paper_networks.pilot(LEVEL)
            self.decoder = paper_networks.decoder(LEVEL, size=SIZE)
            self.critic = paper_networks.discriminator((256, SIZE // 8, SIZE // 8))
        if plain:
            for network in (self.client, self.pilot, self.decoder, self.critic):
                use_torch_relu(network)
                network.to(memory_format=torch.contiguous_format)
        self.client_optimizer = torch.optim.Adam(self.client.parameters(), lr=1e-5)


def use_torch_relu(network: nn.Module) -> None:
    """Put torch's ReLU in every rectifier's place."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, Rectifier):
                setattr(module, name, nn.ReLU())


def backward_passes_of_their_own(networks: PaperNetworks, private: Tensor, public: Tensor) -> None:
    """Differentiate one step: no forward pass twice, but a backward pass for each party."""
    smashed, features = networks.client(private), networks.pilot(public)
    (networks.decoder(features) - public).pow(2).mean().backward()
    watched = smashed.detach().requires_grad_()
    client_loss = networks.critic(watched).mean()
    (gradient,) = torch.autograd.grad(client_loss, watched, retain_graph=True)
    smashed.backward(gradient)
    (networks.critic(features.detach()).mean() - client_loss).backward()
    generator = torch.Generator().manual_seed(1)
    gradient_penalty(
        networks.critic, smashed.detach(), features.detach(), "sample", generator
    ).backward()


@pytest.fixture
def traffic() -> tuple[Tensor, Tensor]:
    """A private and a public batch in [-1, 1]."""
    generator = torch.Generator().manual_seed(2)
    private, public = torch.rand(2, BATCH, 3, SIZE, SIZE, generator=generator) * 2 - 1
    return private, public


def build_step(networks: PaperNetworks, traffic: tuple[Tensor, Tensor]) -> Callable[[], object]:
    hijack = Hijack(
        networks.pilot,
        networks.decoder,
        networks.critic,
        HijackSettings(),
        torch.Generator().manual_seed(1),
    )
    return lambda: exchange(hijack, networks, *traffic)


def test_flops(traffic: tuple[Tensor, Tensor]) -> None:
    with FlopCount() as apart:
        backward_passes_of_their_own(PaperNetworks(plain=True), *traffic)
    with FlopCount() as shared:
        build_step(PaperNetworks(plain=True), traffic)()
    with FlopCount() as ours:
        build_step(PaperNetworks(), traffic)()
    assert round(apart.gflop) == STEP_GFLOP
    assert round(shared.gflop) == 237
    assert round(ours.gflop) == 208


def test_step(benchmark: Any, traffic: tuple[Tensor, Tensor]) -> None:
    torch.set_num_threads(THREADS)
    port = PlainPort(PaperNetworks(plain=True), HijackSettings(), torch.Generator().manual_seed(1))
    matmul = MatmulRate()
    port_seconds: list[float] = []

    def time_the_others() -> None:
        matmul.measure()
        port_seconds.append(seconds(lambda: port.step(*traffic)))

    port.step(*traffic)
    benchmark.pedantic(
        build_step(PaperNetworks(), traffic),
        setup=time_the_others,
        rounds=ROUNDS,
        warmup_rounds=1,
    )
    step_seconds = benchmark.stats.stats.median
    plain_port_seconds = statistics.median(port_seconds)
    share = STEP_GFLOP / step_seconds / matmul.gflops
    speedup = plain_port_seconds / step_seconds
    report(
        benchmark,
        "fsha-step",
        {
            "step, s": step_seconds,
            "plain port, s": plain_port_seconds,
            "speed-up": speedup,
            "matrix products, GFLOP/s": matmul.gflops,
            f"{STEP_GFLOP} GFLOP / step, GFLOP/s": STEP_GFLOP / step_seconds,
            "share": share,
        },
    )
    assert share >= LEAST_SHARE_OF_MATMUL_RATE
    assert speedup >= LEAST_SPEEDUP
