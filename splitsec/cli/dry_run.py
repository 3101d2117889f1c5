"""What ``--dry-run`` prints: the cells, and how long they may take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from splitsec.cli.saying import say
from splitsec.records.store import Rerun

if TYPE_CHECKING:
    from splitsec.cells.cell import Cell
    from splitsec.devices import Device
    from splitsec.records.record import Record


def _lines(known: Sequence[tuple[Cell, Record | None]]) -> list[str]:
    """Return a line for each cell, and one for all seeds of it that are in the same state."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for cell, record in known:
        state = "to run" if record is None else f"has a record ({record.status})"
        seeds.setdefault((cell.spec.title_of_seeds(), state), []).append(cell.spec.seed)
    return [f"{title}, {_in_words(of)}: {state}" for (title, state), of in seeds.items()]


def _in_words(seeds: Sequence[int]) -> str:
    """Return seeds in words; from the first to the last, if none between is missing."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 2 and [*seeds] == [*range(seeds[0], seeds[-1] + 1)]:
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def say_plan(
    cells: Sequence[Cell], output: Path, rerun: Rerun, device: Device, workers: int | None
) -> None:
    """Print the cells that would run, and an estimate from past records or from timed steps.

    Args:
        cells: all cells of the request.
        output: folder of records.
        rerun: which cells with a record run again.
        device: where they would run; records of other devices tell nothing of their time.
        workers: processes on this machine, or None for a cluster.
    """
    from splitsec.cli.progress_bars import duration, shown
    from splitsec.errors import DataError
    from splitsec.records.store import load_records
    from splitsec.running.estimate import make_plan, untimed
    from splitsec.running.runs import with_records

    with shown(len(cells)) as progress:
        known = with_records(cells, output, progress, rerun)
    for line in _lines(known):
        say(line)
    if any(record is not None for _, record in known):
        say("a dry run reads no images: a cell whose images have changed since will run", err=True)
    try:
        found = load_records([output], left_out=lambda problem: None)
    except DataError:
        found = []
    past = [one for one in found if one.provenance.device == device.description]
    to_run = [cell for cell, record in known if record is None]
    unknown = untimed(to_run, past)
    measured = []
    if unknown:
        from splitsec.running.measured_costs import measure

        say("timing a few steps of each kind of cell", err=True)
        measured = measure(unknown)
    plan = make_plan(to_run, [*past, *measured])
    timed = len(plan.cells) - plan.untimed
    about = duration(plan.seconds / (workers or 1))
    by = f"with --workers {workers}" if workers else "one after the other"
    which = f" for {timed} of them" if plan.untimed else ""
    estimate = f"; about {about} {by}{which}" if timed else ""
    if timed and measured:
        estimate += ", an estimate from a few steps timed here, without scoring"
    if plan.similar:
        estimate += f"; {plan.similar} of them by similar cells"
    if plan.untimed and plan.cells:
        estimate += f"; no timing yet for {plan.untimed} of them"
    say(
        f"{len(cells)} cells: {len(cells) - len(plan.cells)} have a record, {len(plan.cells)} to "
        f"run in {plan.trainings} trainings{estimate}"
    )
