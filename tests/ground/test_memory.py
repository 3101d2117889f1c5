"""A device whose memory runs out: evaluation goes on with smaller batches, or says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.devices import in_batches
from splitsec.errors import MemoryExhaustedError, PluginError, blaming
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from support.cells import COUNTS


class Small:
    """A forward that fits so many rows into memory."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.asked: list[int] = []

    def __call__(self, batch: Tensor) -> Tensor:
        self.asked.append(len(batch))
        if len(batch) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * batch


@pytest.mark.parametrize("fits", [1, 2, 3, 5, 16])
def test_batches_are_halved_until_they_fit(fits: int) -> None:
    values, forward = torch.arange(20.0), Small(fits)
    assert torch.equal(torch.cat(in_batches(forward, values, 16)), 2 * values)
    assert forward.asked[0] == 16
    assert max(forward.asked[-2:]) <= max(fits, 1)


def test_no_rows_are_one_batch_and_the_rest_is_not_tried_again() -> None:
    forward = Small(8)
    assert torch.cat(in_batches(forward, torch.zeros(0, 3), 4)).shape == (0, 3)
    assert forward.asked == [0]


def test_one_row_that_does_not_fit_is_an_error_with_advice() -> None:
    with pytest.raises(MemoryExhaustedError, match=r"smaller images, .*--device cpu"):
        in_batches(Small(0), torch.zeros(4), 4)


def test_a_plugin_that_runs_out_of_memory_is_named_and_its_batch_is_halved() -> None:
    forward = Small(2)

    def blamed(batch: Tensor) -> Tensor:
        with blaming("target 'mine'", "forward()"):
            return forward(batch)

    assert len(torch.cat(in_batches(blamed, torch.zeros(7), 4))) == 7
    with (
        pytest.raises(MemoryExhaustedError, match=r"target 'mine' ran out of .* in forward\(\)"),
        blaming("target 'mine'", "forward()"),
    ):
        Small(0)(torch.zeros(1))
    with pytest.raises(PluginError), blaming("target 'mine'", "forward()"):
        raise ValueError("something else")


TARGET = '''
"""A target that fits few images into memory."""
import torch
from torch import nn
from splitsec import Parameters, Target


class Layer(nn.Conv2d):
    def forward(self, images):
        if len(images) > {fits}:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


class Greedy(Target[Parameters]):
    cuts, default_cut = range(1), 0

    def preprocessing(self, image):
        return nn.Identity()

    def layers(self, image, outputs):
        return [Layer(3, 4, 3, 2, 1), nn.Sequential(nn.Flatten(), nn.Linear(256, outputs))]
'''


def run(folder: Path, fits: int) -> Record:
    file = folder / "greedy.py"
    file.write_text(TARGET.format(fits=fits))
    settings = [*COUNTS, "training.batch_size=8", "counts.held_out=24"]
    asked: dict[str, Any] = {"attack": "none", "defense": "none", "target": str(file)}
    request = Request(**asked, data="phantom-fundus", size=16, threads=1, settings=settings)
    (record,) = run_cells(resolve(request), folder / "out", Silent())
    return record


def test_a_cell_goes_on_where_only_evaluation_is_too_large(tmp_path: Path) -> None:
    record = run(tmp_path, fits=8)
    assert record.status == "ok", record.reason
    assert record.utility is not None
    assert record.utility.n == 24


def test_a_cell_whose_training_does_not_fit_says_what_to_set(tmp_path: Path) -> None:
    record = run(tmp_path, fits=4)
    assert record.status == "failed"
    assert record.reason is not None
    assert "--set training.batch_size" in record.reason
    assert "defect" not in record.reason
