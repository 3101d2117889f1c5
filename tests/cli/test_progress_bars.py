"""The live view of a grid: what it counts, what it says is left, and what a terminal shows."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from splitsec.cli.progress_bars import Bars, Tally
from splitsec.records.record import Record
from support.records import failed_record, make_record


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_cells_are_counted_by_what_became_of_them() -> None:
    tally = Tally(6, Clock())
    skipped = make_record(seed=3, status="skipped")
    for record in (make_record(seed=1), failed_record(seed=2), skipped, make_record(seed=4)):
        tally.begin(record.spec)
    assert tally.words() == "4 running"
    for record in (make_record(seed=1), failed_record(seed=2), skipped):
        tally.end(record)
    assert (tally.done, tally.words()) == (3, "1 running, 1 ok, 1 failed, 1 skipped")
    tally.begin(make_record(seed=4).spec)  # anew, on another node
    assert tally.words().startswith("1 running")


def test_time_left_is_by_the_cells_that_were_run() -> None:
    clock = Clock()
    tally = Tally(10, clock)
    for seed in range(4):
        tally.end(make_record(seed=seed))
    assert tally.seconds_left() is None, "records that were there tell nothing"
    for seed in (4, 5):
        clock.now += 0 if seed == 4 else 30
        tally.begin(make_record(seed=seed).spec)
        if seed == 5:
            tally.end(make_record(seed=4))
    assert tally.seconds_left() == 30 * 5, "one of six took half a minute"
    tally.end(make_record(seed=9))  # another run's: it was not run here
    assert tally.seconds_left() == 30 * 4


def drawn(width: int, records: list[Record], cells: int) -> list[str]:
    """Return the lines of a terminal while the last record's cell runs and the others are done."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        height=20,
        force_terminal=True,
        force_interactive=True,
        color_system=None,
    )
    bars = Bars(console, cells)
    for record in records:
        bars.begin(record.spec)
    for record in records[:-1]:
        bars.end(record)
    bars.start()
    with bars.stage(f"{records[-1].spec.brief()}: honest training", 50) as stage:
        stage.advance(10, note="loss 0.123")
        bars.stop()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n")
    return [line.rstrip() for line in lines.splitlines() if re.search(r"\d/\d", line)][-2:]


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_the_grid_and_every_stage_on_one_line_each(width: int) -> None:
    records = [make_record(seed=0), failed_record(seed=1), make_record(seed=2)]
    grid, stage = drawn(width, records, 4)
    assert "grid: 1 running, 1 ok, 1 failed" in grid
    assert " 2/4 " in grid
    assert grid.endswith("left")
    assert "fsha against dcor, cut 3, seed 2: hon" in stage
    assert " 10/50 " in stage
    assert stage.endswith("loss 0.123" if width == 120 else "left")
    assert max(len(grid), len(stage)) <= width
