"""What isolation adds to FSHA with the paper's networks: level 4, 32x32x3, batch 64, float32.

Run by ``pytest tests/benchmarks/test_isolation.py``, with two cores free. The attack answers the
same messages in this process and in one of its own, by turns, and medians are compared. The
client's share of a step, which isolation does not touch, is left out: the true share is smaller.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from splitsec.attack import Attack
from splitsec.cell import build_model, resolve
from splitsec.isolation import Isolation
from splitsec.isolation.attack import IsolatedAttack
from splitsec.target import smashed_shape
from splitsec.threat import View
from splitsec.wire import Message

BATCH, THREADS, ROUNDS = 64, 2, 9
MOST_OVERHEAD = 0.1


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def built(isolation: Isolation | None) -> Attack[Any]:
    """Return the attack, with a view such as its session would give it."""
    (cell,) = resolve(
        attack="fsha:networks=paper", defense="none", target="fsha-client", cut="4", size=32,
        isolation=isolation,
    )  # fmt: skip
    target = cell.target.plugin.cls(cell.target.parameters)
    model = build_model(cell, target, outputs=2)
    public = torch.rand(256, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    view = View(
        attack="fsha", threat=cell.attack.plugin.cls.threat_model(cell.attack.parameters),
        image_shape=cell.image, smashed_shape=smashed_shape(model.client, cell.image), outputs=2,
        clients=1, task="classification", loss=target.loss, u_shaped=False,
        server_architecture=model.server, grants={"public_images": lambda: public},
    )  # fmt: skip
    if isolation is not None:
        return IsolatedAttack(cell, view, seed=7)
    attack: Attack[Any] = cell.attack.plugin.cls(
        cell.attack.parameters, view, torch.Generator().manual_seed(7)
    )
    return attack


def test_overhead(benchmark: Any, capsys: Any) -> None:
    smashed = torch.randn(BATCH, 256, 4, 4, generator=torch.Generator().manual_seed(2))
    message = Message(smashed, None, client=0, step=0)
    here, apart = built(None), built(Isolation(attacks="all"))
    here_seconds: list[float] = []

    def answer_here() -> None:
        start = time.perf_counter()
        here.answer(message)
        here_seconds.append(time.perf_counter() - start)

    answer_here()
    here_seconds.clear()
    try:
        given = benchmark.pedantic(
            lambda: apart.answer(message), setup=answer_here, rounds=ROUNDS, warmup_rounds=1
        )
    finally:
        apart.close()
    ratio = benchmark.stats.stats.median / statistics.median(here_seconds)
    benchmark.extra_info.update(ratio=ratio, threads=THREADS)
    with capsys.disabled():
        print(  # noqa: T201 - the benchmark's result
            f"\nFSHA's answer {statistics.median(here_seconds):.3f} s in-process, "
            f"{benchmark.stats.stats.median:.3f} s isolated: {ratio:.3f} times as long"
        )
    assert given.shape == smashed.shape
    assert ratio <= 1 + MOST_OVERHEAD
