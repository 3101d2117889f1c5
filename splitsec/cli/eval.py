"""``splitsec eval``: run a grid of cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from splitsec.cli import Exit
from splitsec.data.sources import list_sources
from splitsec.errors import UsageError
from splitsec.plugins import Kind, list_plugins
from splitsec.spec import profiles


def _complete(kind: Kind) -> Any:
    """Return a shell completion of the last name in a comma-separated list."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",")
        return [head + comma + one.name for one in list_plugins(kind) if one.name.startswith(last)]

    return complete


def _complete_data(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name, _ in list_sources() if name.startswith(incomplete)]


@click.command("eval")
@click.option("--attack", required=True, shell_complete=_complete("attack"),
              help="Attacks: names or paths, comma-separated; name:parameter=value sets one.")
@click.option("--defense", default="none", shell_complete=_complete("defense"), show_default=True,
              help="Defenses, likewise.")
@click.option("--target", shell_complete=_complete("target"), help="Targets, likewise.")
@click.option("--data", shell_complete=_complete_data, help="Data sets, likewise.")
@click.option("--cut", help="Cut layers, such as 2,3: the client's last layer.")
@click.option("--size", help="Image sizes, pixels, such as 32,64.")
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", show_default=True,
              help="Colour channels.")
@click.option("--clients", type=click.IntRange(1), default=1, show_default=True,
              help="Number of clients.")
@click.option("--profile", type=click.Choice(sorted(profiles())), default="quick",
              show_default=True, help="Where all other settings come from.")
@click.option("--seed", type=click.IntRange(0), help="One seed (default 0).")
@click.option("--seeds", type=click.IntRange(0), help="Seeds 0 to N-1.")
@click.option("--set", "settings", multiple=True, metavar="KIND.NAME.PARAMETER=VALUE",
              help="Set a parameter, such as attack.fsha.iterations=500 or training.epochs=5.")
@click.option("--public-from", type=click.Choice(["same", "shifted"]), default="same",
              show_default=True, help="Where the attacker's own images come from.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads (default: the profile's).")
@click.option("--output", type=click.Path(path_type=Path), default=Path("results"),
              show_default=True, help="Folder for records and pictures.")
@click.option("--json", "as_json", is_flag=True, help="One JSON record per line on stdout.")
def command(  # noqa: PLR0913 - one argument per option
    seed: int | None, seeds: int | None, channels: str, settings: tuple[str, ...],
    output: Path, as_json: bool, **axes: Any,
) -> int:  # fmt: skip
    """Mount attacks on split models behind defenses, and record what leaks.

    Every list-valued option makes a grid. Results go to stdout, progress to stderr.
    """
    if seed is not None and seeds is not None:
        raise UsageError("give --seed or --seeds, not both")
    chosen = range(seeds) if seeds is not None else [seed or 0]
    if not chosen:
        click.echo("the grid is empty: --seeds 0 asks for no cell", err=True)
        return Exit.EMPTY
    # torch is imported here, once the options are known to be in order.
    from rich.console import Console  # noqa: PLC0415

    from splitsec.evaluate import prepare, resolve, run_cell  # noqa: PLC0415
    from splitsec.progress_bars import shown  # noqa: PLC0415
    from splitsec.storage import check_writable, record_folder  # noqa: PLC0415
    from splitsec.summary import print_summary  # noqa: PLC0415

    check_writable(output)
    cells = resolve(channels=int(channels), seeds=chosen, settings=settings, **axes)
    failed = 0
    with shown(len(cells)) as progress:
        prepare(cells, progress)
        for cell in cells:
            progress.cell(cell.spec.title())
            record = run_cell(cell, output, progress)
            failed += record.status == "failed"
            if as_json:
                click.echo(record.to_json())
            else:
                progress.pause()
                print_summary(record, Console(), record_folder(output, record))
    return Exit.FAILED if failed else Exit.OK
