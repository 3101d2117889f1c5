"""What splitting costs: split training against unsplit training of the same network.

The same images in the same order, the same optimizer; both take turns in one run, and each pair of
rounds gives a ratio. What is between them is the wire: copies, checks, two optimizers and the cut
in the graph.
"""

from __future__ import annotations

import statistics
from typing import Any

import pytest
import torch
from machine import overhead, seconds
from tables import report
from torch import nn
from torch.nn import functional as F

from splitsec.plugins.defense import Defense
from splitsec.plugins.parameters import Parameters
from splitsec.progress import Silent
from splitsec.training.honest_server import HonestServer
from splitsec.training.loop import Schedule, run_session, schedule
from splitsec.training.optimizers import make_optimizer
from splitsec.training.settings import Training
from splitsec.training.wire import Wire
from support.halves import IMAGE, client_of, target_of
from support.parts import make_part

IMAGES, ROUNDS, MOST_OVERHEAD = 128, 11, 0.05
TRAINING = Training(epochs=1, batch_size=32, optimizer="adam", learning_rate=1e-3)
EXCHANGES = IMAGES // TRAINING.batch_size


@pytest.mark.parametrize("cut", [3, 7])
def test_split_training(cut: int, benchmark: Any) -> None:
    torch.set_num_threads(1)  # as in the official tracks
    target = target_of("resnet")
    part = make_part(IMAGES)
    client, server_half, _ = target.split(IMAGE, 2, cut)
    wire = Wire(HonestServer(server_half, target.loss, make_optimizer(TRAINING, server_half)))
    side = client_of(part, client, Defense(Parameters()), make_optimizer(TRAINING, client))
    whole = nn.Sequential(target.preprocessing(IMAGE), *target.layers(IMAGE, 2)).train()
    optimizer = make_optimizer(TRAINING, whole)

    def split() -> None:
        turns = Schedule(TRAINING, {"seed": 3}, EXCHANGES)
        run_session("split", [side], wire, turns, Silent())

    def unsplit() -> None:
        turns = schedule([side], TRAINING, TRAINING.batch_size, {"seed": 3})
        for _ in range(EXCHANGES):
            _, _, rows = next(turns)
            images, labels = part.batch(rows.tolist()), part.targets(rows.tolist())
            loss = F.cross_entropy(whole(images), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            loss.item()

    unsplit_seconds: list[float] = []
    benchmark.pedantic(
        split,
        setup=lambda: unsplit_seconds.append(seconds(unsplit)),
        rounds=ROUNDS,
        warmup_rounds=1,
    )
    split_seconds = benchmark.stats.stats.data
    more = overhead(split_seconds, unsplit_seconds[-ROUNDS:])
    report(
        benchmark,
        "split-training",
        {
            "network": f"ResNet-34, 32 px, batch {TRAINING.batch_size}, cut {cut}",
            "split, ms per exchange": 1e3 * statistics.median(split_seconds) / EXCHANGES,
            "unsplit, ms per step": 1e3 * statistics.median(unsplit_seconds) / EXCHANGES,
            "overhead, %": 100 * more,
        },
    )
    assert more <= MOST_OVERHEAD
