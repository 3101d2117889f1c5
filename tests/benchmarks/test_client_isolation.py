"""What sessions cost more if their clients, and commands if everything, is isolated.

The session is of ResNet-34 at 32 px, batch 32, and the command is README's. What is isolated and
what is not take turns; the median of their ratios counts.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from machine import overhead, seconds
from tables import report

from splitsec.cells.private_side import PrivateSide
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import load_data
from splitsec.isolation import Isolation
from splitsec.progress import Silent
from splitsec.randomness import globally_seeded
from splitsec.training.honest_server import HonestServer
from splitsec.training.optimizers import make_optimizer
from splitsec.training.wire import Wire

BATCH, ROUNDS = 32, 15
MOST_OVERHEAD = 0.1
COMMANDS = 3
MOST_OVERHEAD_OF_A_COMMAND = 0.15


class Exchanges:
    """An honest session that goes on by one exchange at a time."""

    def __init__(self, isolation: Isolation | None) -> None:
        (cell,) = resolve(
            Request(
                attack="none",
                defense="none",
                target="resnet",
                data="phantom-fundus",
                cut="3",
                size="32",
                settings=["counts.private=64", "counts.public=4", "counts.held_out=4"],
            )
        )
        cell = replace(cell, apart=isolation)
        self.side = PrivateSide(cell, load_data(cell.data_spec(), Silent()))
        trained = self.side._new_session()
        server, training = trained.model.server, cell.spec.training
        honest = HonestServer(server, self.side.target.loss, make_optimizer(training, server))
        self._client, self._wire, self._step = trained.clients[0], Wire(honest), 0
        server.train()
        self._client.begin()

    def exchange(self) -> None:
        with globally_seeded(self._step):
            self._client.step(torch.arange(BATCH), self._wire, self._step)
        self._step += 1


@pytest.mark.usefixtures("both_cores")
def test_overhead(benchmark: Any) -> None:
    here, apart = Exchanges(None), Exchanges(Isolation(attacks="all"))
    alone: list[float] = []

    def exchange_here() -> None:
        start = time.perf_counter()
        here.exchange()
        alone.append(time.perf_counter() - start)

    exchange_here()
    try:
        benchmark.pedantic(apart.exchange, setup=exchange_here, rounds=ROUNDS, warmup_rounds=1)
    finally:
        apart.side.close()
    isolated = benchmark.stats.stats.data
    more = overhead(isolated, alone[-ROUNDS:])
    report(
        benchmark,
        "client-isolation",
        {
            "in-process, ms per exchange": 1000 * statistics.median(alone[-ROUNDS:]),
            "isolated, ms per exchange": 1000 * statistics.median(isolated),
            "overhead, %": 100 * more,
        },
    )
    assert more <= MOST_OVERHEAD


def run_command(store: Path, *options: str) -> None:
    words = ["eval", "--attack", "fsha", "--defense", "dcor", "--output", str(store)]
    command = [sys.executable, "-m", "splitsec", *words, *options]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.usefixtures("both_cores")
def test_a_whole_command(benchmark: Any, tmp_path: Path) -> None:
    stores = (tmp_path / str(number) for number in itertools.count())
    plain: list[float] = []
    benchmark.pedantic(
        lambda: run_command(next(stores), "--isolate", "--sandbox"),
        setup=lambda: plain.append(seconds(lambda: run_command(next(stores)))),
        rounds=COMMANDS,
    )
    sandboxed = benchmark.stats.stats.data
    more = overhead(sandboxed, plain)
    report(
        benchmark,
        "command-isolation",
        {
            "in-process, s": statistics.median(plain),
            "isolated and sandboxed, s": statistics.median(sandboxed),
            "overhead, %": 100 * more,
        },
    )
    assert more <= MOST_OVERHEAD_OF_A_COMMAND
