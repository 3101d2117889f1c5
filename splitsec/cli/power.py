"""``splitsec power``: how many seeds and images a difference needs."""

from __future__ import annotations

from pathlib import Path

import click

from splitsec.cli.exit_codes import Exit
from splitsec.cli.saying import say, say_left_out, say_lines
from splitsec.cli.share import Share
from splitsec.errors import UsageError, unknown_name
from splitsec.escaping import for_markdown


@click.command("power")
@click.argument("results", metavar="TRACK", nargs=-1, required=True)
@click.option(
    "--difference",
    type=Share(positive=True),
    default=0.05,
    show_default=True,
    help="Difference in leakage from the undefended model.",
)
@click.option(
    "--margin",
    type=Share(positive=True),
    metavar="LOSS",
    help="Loss of utility.  [default: the track's, or 0.02 of an AUC, 0.01 of a Jaccard]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "markdown"]),
    default="table",
    show_default=True,
    help="How it is printed.",
)
def command(results: tuple[str, ...], difference: float, margin: float | None, form: str) -> int:
    """Say how many seeds and images TRACK needs to show a difference in leakage and in utility.

    TRACK is an official track, whose published records are taken, or folders, record.json or
    .jsonl files of yours. Variances over seeds and images are those of the paired differences
    between a defense and the undefended model in these records. "seeds needed" show the
    difference in 80 % of experiments, at a level of 5 %, with the images as they are; "images
    needed" the same with the seeds as they are. "no number" means that the other must grow too.

    Exits 5 if no defense can be compared: there must be two seeds or more, also undefended.
    """
    from splitsec.cells.grid import load_grid
    from splitsec.cli.grid import official_tracks
    from splitsec.leaderboard.power import in_words, power_table
    from splitsec.leaderboard.tables import to_csv, to_markdown
    from splitsec.records.store import load_records

    tracks = official_tracks()
    paths = [_records_of(one, tracks) for one in results]
    if margin is None and len(results) == 1 and results[0] in tracks:
        margin = load_grid(tracks[results[0]]).margin
    table = power_table(load_records(paths, say_left_out), difference, margin)
    if not len(table):
        say(
            "nothing to compare: no board has two seeds of a defense and of the undefended model",
            err=True,
        )
        return Exit.EMPTY
    if form == "csv":
        say_lines(to_csv(table))
        return Exit.OK
    for board, rows in table.groupby("board", sort=False):
        if form == "markdown":
            say_lines(f"**{for_markdown(board)}**\n\n{to_markdown(in_words(rows))}\n")
        else:
            _print(str(board), in_words(rows).values.tolist(), list(in_words(rows).columns))
    return Exit.OK


def _records_of(name: str, tracks: dict[str, Path]) -> Path:
    """Return where records are: those of a track, or at a path.

    Raises:
        UsageError: there is no such track or path, or the track's records are not here.
    """
    from splitsec.leaderboard.tracks import published_records

    path = Path(name)
    if path.exists():
        return path
    if name not in tracks:
        raise UsageError(unknown_name("track or folder of records", name, tracks))
    published = published_records(name)
    if published is None:
        raise UsageError(
            f"no records of the track {name!r} are here; run it with splitsec run {name}, and name "
            "the folder of its records"
        )
    return published


def _print(title: str, lines: list[list[str]], columns: list[str]) -> None:
    from rich import box
    from rich.table import Table

    from splitsec.cli.consoles import result_console

    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for column in columns:
        words = column in ("defense", "figure")
        table.add_column(
            column, justify="left" if words else "right", overflow="fold", no_wrap=words
        )
    for line in lines:
        table.add_row(*line)
    result_console().print(table)
