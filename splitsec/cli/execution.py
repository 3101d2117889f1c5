"""Running cells from the command line: what ``eval`` and ``run`` share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from splitsec.cli import Exit
from splitsec.storage import Rerun

F = TypeVar("F", bound=Callable[..., Any])


class Execution(NamedTuple):
    """How cells are run.

    Attributes:
        workers: processes.
        timeout: seconds that a cell may take, or None.
        rerun: which cells are run again that have a record.
        output: folder for records.
        as_json: whether records are printed as JSON.
        dry_run: whether nothing is run.
    """

    workers: int
    timeout: float | None
    rerun: Rerun
    output: Path
    as_json: bool
    dry_run: bool

    def executor(self) -> Any:
        """Return what runs sessions."""
        from splitsec.executors import InProcess  # noqa: PLC0415 - slow to import
        from splitsec.executors.workers import Workers  # noqa: PLC0415

        if self.workers > 1 or self.timeout is not None:
            return Workers(self.workers, self.timeout)
        return InProcess()


_OPTIONS = (
    click.option(
        "--workers",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Processes, each with its own threads; cells that share a session stay together.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help="End a cell's process, and all that it started, after so long.  [default: never]",
    ),
    click.option(
        "--rerun",
        type=click.Choice(["failed", "all", "never"]),
        default="failed",
        show_default=True,
        help="Which cells are run again that have a record in OUTPUT; so the same command resumes.",
    ),
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        default=Path("results"),
        show_default=True,
        help="Folder for records and pictures.",
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON record per line on stdout."),
    click.option(
        "--dry-run", is_flag=True, help="Print the cells and how long they may take; run nothing."
    ),
)


def execution_options(function: F) -> F:
    """Add the options that say how cells are run; the last ones in the help."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def take_execution(options: dict[str, Any]) -> Execution:
    """Take these options out of all those given."""
    return Execution(**{name: options.pop(name) for name in Execution._fields})


def execute(request: Mapping[str, Any], cells: Callable[[], Sequence[Any]], how: Execution) -> int:
    """Resolve cells, run them, and print their records.

    Args:
        request: JSON values that decide the cells.
        cells: resolves them; a library may print while it does.
        how: how they are run.

    Returns:
        The exit code.
    """
    results = sys.stdout
    # Whatever a library or a plug-in prints is not a result.
    with redirect_stdout(sys.stderr):
        from splitsec.recall import recall, remember  # noqa: PLC0415 - slow to import

        known = recall(how.output, request) if how.rerun != "all" and not how.dry_run else None
        if known is not None:
            click.echo(f"all {len(known)} cells have a record, which is used", err=True)
            with redirect_stdout(results):
                for record in known:
                    _report(record, how)
            return Exit.OK
        from splitsec.progress_bars import shown  # noqa: PLC0415 - slow to import
        from splitsec.runs import run_cells  # noqa: PLC0415
        from splitsec.storage import check_writable  # noqa: PLC0415

        resolved = cells()
        if not resolved:
            click.echo("the grid is empty: this request makes no cell", err=True)
            return Exit.EMPTY
        if how.dry_run:
            with redirect_stdout(results):
                _say_plan(resolved, how)
            return Exit.OK
        check_writable(how.output)
        records = []
        with shown(len(resolved)) as progress:
            for record in run_cells(
                resolved, how.output, progress, rerun=how.rerun, executor=how.executor(),
            ):  # fmt: skip
                records.append(record)
                with progress.paused(), redirect_stdout(results):
                    _report(record, how)
        remember(how.output, request, resolved, records)
    failed = sum(record.status not in ("ok", "skipped") for record in records)
    if len(resolved) > 1:
        done = f"{len(resolved) - failed} of {len(resolved)} cells done, {failed} failed"
        click.echo(f"{done}; see {how.output}", err=True)
    return Exit.FAILED if failed else Exit.OK


def _report(record: Any, how: Execution) -> None:
    """Print a finished cell's record on stdout."""
    if how.as_json:
        click.echo(record.to_json())
        return
    from rich.console import Console  # noqa: PLC0415 - not needed for JSON

    from splitsec.storage import record_folder  # noqa: PLC0415
    from splitsec.summary import print_summary  # noqa: PLC0415

    print_summary(record, Console(), record_folder(how.output, record))


def _say_plan(cells: Sequence[Any], how: Execution) -> None:
    """Print what would be run, and an estimate from the timings of past records."""
    from splitsec.errors import DataError  # noqa: PLC0415
    from splitsec.plan import make_plan  # noqa: PLC0415
    from splitsec.progress_bars import duration, shown  # noqa: PLC0415
    from splitsec.runs import with_records  # noqa: PLC0415
    from splitsec.storage import load_records  # noqa: PLC0415

    with shown(len(cells)) as progress:
        known = with_records(cells, how.output, progress, how.rerun)
    for cell, record in known:
        state = "to run" if record is None else f"has a record ({record.status})"
        click.echo(f"{cell.spec.title()}: {state}")
    try:
        past = load_records([how.output])
    except DataError:
        past = []
    plan = make_plan([cell for cell, record in known if record is None], past)
    timed = len(plan.cells) - plan.untimed
    about = duration(plan.seconds / how.workers)
    estimate = f"; about {about} with --workers {how.workers}" if timed else ""
    if plan.untimed and plan.cells:
        estimate += f"; {plan.untimed} are of a kind that no record here has timed"
    click.echo(
        f"{len(cells)} cells: {len(cells) - len(plan.cells)} have a record, {len(plan.cells)} to "
        f"run in {plan.trainings} trainings{estimate}"
    )
