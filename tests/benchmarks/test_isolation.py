"""What isolation adds to FSHA with the paper's networks: level 4, 32x32x3, batch 64, float32.

The attack answers the same messages in this process and in one of its own, by turns, with two cores
free; the median of their ratios counts. The client's share of a step, which isolation does not
touch, is left out: the true share is smaller.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
import torch
from machine import overhead
from tables import report

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.isolation import Isolation
from splitsec.plugins.attack import Attack
from splitsec.plugins.messages import Message
from support.isolated import build_attack

BATCH, ROUNDS = 64, 9
MOST_OVERHEAD = 0.1


def built(isolation: Isolation | None) -> Attack[Any]:
    (cell,) = resolve(
        Request(
            attack="fsha:networks=paper", defense="none", target="fsha-client", cut="4", size=32
        ),
        isolation,
    )
    return build_attack(cell, public=256)[0]


@pytest.mark.usefixtures("both_cores")
def test_overhead(benchmark: Any) -> None:
    smashed = torch.randn(BATCH, 256, 4, 4, generator=torch.Generator().manual_seed(2))
    message = Message(smashed, None, client=0, step=0)
    here, apart = built(None), built(Isolation(attacks="all"))
    here_seconds: list[float] = []

    def answer_here() -> None:
        start = time.perf_counter()
        here.answer(message)
        here_seconds.append(time.perf_counter() - start)

    answer_here()
    try:
        given = benchmark.pedantic(
            lambda: apart.answer(message), setup=answer_here, rounds=ROUNDS, warmup_rounds=1
        )
    finally:
        apart.close()  # type: ignore[attr-defined]
    apart_seconds = benchmark.stats.stats.data
    more = overhead(apart_seconds, here_seconds[-ROUNDS:])
    report(
        benchmark,
        "isolation",
        {
            "in-process, s": statistics.median(here_seconds),
            "isolated, s": statistics.median(apart_seconds),
            "overhead, %": 100 * more,
        },
    )
    assert given.shape == smashed.shape
    assert more <= MOST_OVERHEAD
