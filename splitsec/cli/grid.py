"""``splitsec run``: run the grids of a file, or of an official track."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import click

from splitsec.cli.execution import execute, execution_options, take_execution


class _GridCommand(click.Command):
    """A command whose help ends with the keys of its file."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from splitsec.cells.grid import GridFile
        from splitsec.cells.requests import Request

        for heading, model in (
            ("Keys of GRID", GridFile),
            ("Keys of each [[grid]], as the options of splitsec eval", Request),
        ):
            with formatter.section(heading):
                formatter.write_dl(
                    [(name, str(field.description)) for name, field in model.model_fields.items()]
                )


@click.command("run", cls=_GridCommand)
@click.argument("grid", type=click.Path(path_type=Path))
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads of each cell.  [default: the file's]"
)
@execution_options
def command(grid: Path, threads: int | None, **options: Any) -> int:
    """Run every cell of GRID, a TOML file or an official track; repeat the command to resume.

    \b
    profile = "quick"
    seeds = 5
    [[grid]]
    attack = "fsha,adra"
    defense = ["none", "dcor:alpha=0.5", "dcor:alpha=0.9"]
    data = "retinamnist"
    cut = [3, 7]
    settings = ["training.epochs=5"]

    Official tracks are retinamnist, x-rays and phantoms.

    Exits 0 if every cell ran, 1 if some failed or could not be written, 2 if interrupted or told
    to end (SIGTERM, SIGHUP), 4 if the file is wrong.
    """  # noqa: D301 - click's own mark for a block that is not wrapped
    execution = take_execution(options)
    from splitsec.cells.grid import load_grid

    asked = load_grid(official_tracks().get(str(grid), grid))
    if threads is not None:
        asked = asked.with_threads(threads)
    return execute(asked.cells, execution)


def official_tracks() -> dict[str, Path]:
    """Return the official tracks' files, by name."""
    folder = Path(str(resources.files("splitsec.leaderboard").joinpath("tracks", "ranked")))
    return {file.stem: file for file in folder.glob("*.toml")}
