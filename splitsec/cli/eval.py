"""``splitsec eval``: run a grid of cells."""

from __future__ import annotations

from typing import Any

import click

from splitsec.cli.execution import execute, execution_options, take_execution
from splitsec.cli.exit_codes import Exit
from splitsec.errors import UsageError
from splitsec.isolation import Isolation
from splitsec.plugins.loading import list_plugins
from splitsec.plugins.names import Kind


def _complete(kind: Kind) -> Any:
    """Return a shell completion of the last name in a comma-separated list."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return _continued(incomplete, [one.name for one in list_plugins(kind)])

    return complete


def _complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from splitsec.cells.requests import profiles

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
    "--data",
    shell_complete=_complete("data"),
    help="Data sets, likewise.  [default: the profile's]",
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
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="KIND.NAME.PARAMETER=VALUE,VALUE",
    help="One cell per value, such as defense.dcor.alpha=0.1,0.5,0.9.",
)
@click.option(
    "--public-from",
    type=click.Choice(["same", "shifted"]),
    default="same",
    show_default=True,
    help="Whether the attacker's own images are from the private images' population.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: the profile's]")
@execution_options
def command(*, seed: int | None, seeds: int | None, **request: Any) -> int:
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
    execution = take_execution(request)
    request["channels"] = int(request["channels"])

    def cells(isolation: Isolation | None) -> list[Any]:
        # Torch takes seconds to import: not before the options are known to be in order.
        from splitsec.cells.resolve import resolve

        return resolve(seeds=chosen, isolation=isolation, **request)

    return execute(cells, execution)
