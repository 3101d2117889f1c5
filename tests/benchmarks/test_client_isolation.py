"""What an honest session costs more if its clients have a process of their own.

ResNet-34 at 32 px, batch 32. Sessions in this process and with clients in another one take turns,
exchange by exchange; the median of their ratios counts.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from machine import overhead
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
    seconds: list[float] = []

    def exchange_here() -> None:
        start = time.perf_counter()
        here.exchange()
        seconds.append(time.perf_counter() - start)

    exchange_here()
    try:
        benchmark.pedantic(apart.exchange, setup=exchange_here, rounds=ROUNDS, warmup_rounds=1)
    finally:
        apart.side.close()
    isolated = benchmark.stats.stats.data
    more = overhead(isolated, seconds[-ROUNDS:])
    report(
        benchmark,
        "client-isolation",
        {
            "in-process, ms per exchange": 1000 * statistics.median(seconds[-ROUNDS:]),
            "isolated, ms per exchange": 1000 * statistics.median(isolated),
            "overhead, %": 100 * more,
        },
    )
    assert more <= MOST_OVERHEAD
