"""``splitsec eval``: run a grid of cells."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from splitsec.cli import Exit
from splitsec.errors import UsageError
from splitsec.plugins import Kind, list_plugins
from splitsec.storage import Rerun


def _complete(kind: Kind) -> Any:
    """Return a shell completion of the last name in a comma-separated list."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return _continued(incomplete, [one.name for one in list_plugins(kind)])

    return complete


def _complete_data(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from splitsec.data.sources import list_sources  # noqa: PLC0415 - only when completing

    return _continued(incomplete, [name for name, _ in list_sources()])


def _complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from splitsec.spec import profiles  # noqa: PLC0415 - only when completing

    return [name for name in profiles() if name.startswith(incomplete)]


def _continued(incomplete: str, names: list[str]) -> list[str]:
    head, comma, last = incomplete.rpartition(",")
    return [head + comma + name for name in names if name.startswith(last)]


@click.command("eval")
@click.option(
    "--attack",
    required=True,
    shell_complete=_complete("attack"),
    help="Attacks: names or paths, comma-separated; name:parameter=value sets a parameter.",
)
@click.option(
    "--defense",
    default="none",
    show_default=True,
    shell_complete=_complete("defense"),
    help="Defenses, likewise.",
)
@click.option(
    "--target",
    shell_complete=_complete("target"),
    help="Targets, likewise.  [default: the profile's]",
)
@click.option(
    "--data", shell_complete=_complete_data, help="Data sets, likewise.  [default: the profile's]"
)
@click.option(
    "--cut", help="Cut layers, such as 2,3: the client's last layer.  [default: the target's]"
)
@click.option("--size", help="Image sizes, pixels, such as 32,64.  [default: the profile's]")
@click.option(
    "--channels",
    type=click.Choice(["1", "3"]),
    default="3",
    show_default=True,
    help="Grey or colour images.",
)
@click.option(
    "--clients",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of clients that share the private images.",
)
@click.option(
    "--profile",
    default="quick",
    show_default=True,
    metavar="quick|standard|paper",
    shell_complete=_complete_profile,
    help="Where all other settings come from.",
)
@click.option("--seed", type=click.IntRange(0), help="One seed.  [default: 0]")
@click.option("--seeds", type=click.IntRange(0), help="Seeds 0 to N-1.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KIND.NAME.PARAMETER=VALUE",
    help="Set a parameter, such as attack.fsha.iterations=500 or training.epochs=5.",
)
@click.option(
    "--public-from",
    type=click.Choice(["same", "shifted"]),
    default="same",
    show_default=True,
    help="Whether the attacker's own images are from the private images' population.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: the profile's]")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes, each with its own threads; cells that share a session stay together.",
)
@click.option(
    "--rerun",
    type=click.Choice(["failed", "all", "never"]),
    default="failed",
    show_default=True,
    help="Which cells are run again that have a record in OUTPUT; so the same command resumes.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder for records and pictures.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON record per line on stdout.")
def command(
    *,
    seed: int | None,
    seeds: int | None,
    workers: int,
    rerun: Rerun,
    output: Path,
    as_json: bool,
    **request: Any,
) -> int:
    """Mount attacks on split models behind defenses, and record what leaks.

    Every list-valued option makes a grid: --attack fsha --defense none,dcor --seeds 3 is six
    cells. Results go to stdout, progress to stderr.

    Exits 0 if every cell ran, 1 if some failed, 2 if interrupted, 4 if the request is wrong.
    """
    if seed is not None and seeds is not None:
        raise UsageError("give --seed or --seeds, not both")
    chosen = range(seeds) if seeds is not None else [seed or 0]
    if not chosen:
        click.echo("the grid is empty: --seeds 0 asks for no cell", err=True)
        return Exit.EMPTY
    request["channels"] = int(request["channels"])
    results = sys.stdout
    # Whatever a library or a plug-in prints is not a result.
    with redirect_stdout(sys.stderr):
        # Torch takes seconds to import: not before the options are known to be in order.
        from splitsec.evaluate import prepare, resolve, run_cells  # noqa: PLC0415
        from splitsec.progress_bars import shown  # noqa: PLC0415
        from splitsec.storage import check_writable  # noqa: PLC0415

        cells = resolve(seeds=chosen, **request)
        if not cells:
            click.echo("the grid is empty: this request makes no cell", err=True)
            return Exit.EMPTY
        check_writable(output)
        failed = 0
        with shown(len(cells)) as progress:
            prepare(cells, progress)
            for record in run_cells(cells, output, progress, rerun=rerun, workers=workers):
                failed += record.status not in ("ok", "skipped")
                with progress.paused(), redirect_stdout(results):
                    _report(record, output, as_json)
    if len(cells) > 1:
        done = f"{len(cells) - failed} of {len(cells)} cells done, {failed} failed; see {output}"
        click.echo(done, err=True)
    return Exit.FAILED if failed else Exit.OK


def _report(record: Any, output: Path, as_json: bool) -> None:
    """Print a finished cell's record on stdout."""
    if as_json:
        click.echo(record.to_json())
        return
    from rich.console import Console  # noqa: PLC0415 - not needed for JSON

    from splitsec.storage import record_folder  # noqa: PLC0415
    from splitsec.summary import print_summary  # noqa: PLC0415

    print_summary(record, Console(), record_folder(output, record))
