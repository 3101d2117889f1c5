"""How fast ADRA's decoder is trained: against the machine's matrix products, in the same run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from machine import THREADS, FlopCount, MatmulRate
from tables import report

from splitsec.checkpoint import Checkpoints
from splitsec.plugins.toolbox.inversion import InversionParameters, invert
from splitsec.plugins.toolbox.queries import Pairs
from splitsec.progress import Silent

BATCH, STEPS, ROUNDS = 32, 8, 7
SMASHED = {"resnet, cut 3": (64, 8, 8), "resnet, cut 5": (128, 4, 4), "unet, cut 1": (16, 32, 32)}


@pytest.mark.parametrize("where", SMASHED)
def test_decoder_step(where: str, benchmark: Any) -> None:
    torch.set_num_threads(THREADS)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(BATCH * STEPS, 3, 32, 32, generator=generator)
    smashed = torch.rand(BATCH * STEPS, *SMASHED[where], generator=generator)
    given = InversionParameters(epochs=1, kept=0.0, batch_size=BATCH)
    pairs = Pairs(images, smashed, torch.zeros(len(images), dtype=torch.bool))

    def train() -> None:
        invert(given, pairs, generator, Silent(), "decoder", Checkpoints())

    with FlopCount() as counted:
        train()
    matmul = MatmulRate()
    benchmark.pedantic(train, setup=matmul.measure, rounds=ROUNDS, warmup_rounds=1)
    step_seconds, gflop = benchmark.stats.stats.median / STEPS, counted.gflop / STEPS
    report(
        benchmark,
        "decoder-step",
        {
            "smashed data, 32 px": f"{where}: {'x'.join(map(str, SMASHED[where]))}",
            "step, ms": 1e3 * step_seconds,
            "GFLOP": gflop,
            "matrix products, GFLOP/s": matmul.gflops,
            "share": gflop / step_seconds / matmul.gflops,
        },
    )
