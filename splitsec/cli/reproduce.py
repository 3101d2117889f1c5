"""``splitsec reproduce``: make the tables and figures of tracks from new or existing records."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from splitsec.cells.cell import Cell
from splitsec.cli.exit_codes import Exit
from splitsec.cli.saying import say
from splitsec.errors import UsageError, unknown_name
from splitsec.files import write_text
from splitsec.leaderboard import figures, page, tables
from splitsec.leaderboard.tracks import Track, get_track, list_tracks
from splitsec.records.artifacts import artifact
from splitsec.records.record import Record
from splitsec.records.store import check_writable, find_folder


@click.command("reproduce")
@click.argument("name")
@click.option(
    "--profile",
    default="quick",
    show_default=True,
    metavar="quick|paper",
    help="Size of the track; paper has the original report's settings.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("reproduction"),
    show_default=True,
    help="Folder for records, tables and figures; finished records in it are used again.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes.  [default: as many as leave each of a cell's threads a core]",
)
def command(name: str, profile: str, output: Path, workers: int | None) -> int:
    """Reproduce a table or figure of the original report: NAME is table1, figure8 ... or all.

    With all, a page that compares them with the report's is written as OUTPUT.md. Exits 0 if
    every cell ran, 1 if some failed.
    """
    if name != "all" and name not in list_tracks():
        raise UsageError(unknown_name("track", name, ["all", *list_tracks()]))
    tracks = [get_track(one) for one in (list_tracks() if name == "all" else [name])]
    folder = output / profile  # sizes are never mixed
    check_writable(folder)
    by_track = _run(tracks, profile, folder, workers)
    for track, records in zip(tracks, by_track, strict=True):
        for file in draw(track, records, folder):
            say(str(file))
    if name == "all":
        file = output.with_name(f"{output.name}.md")
        write_text(file, page.page(list(zip(tracks, by_track, strict=True)), folder, file.parent))
        say(str(file))
    bad = [one for records in by_track for one in records if one.status not in ("ok", "skipped")]
    return Exit.FAILED if bad else Exit.OK


def _run(
    tracks: Sequence[Track], profile: str, folder: Path, workers: int | None
) -> list[list[Record]]:
    """Return each track's records; run the cells that have none.

    A cell of several tracks runs once, and cells of different tracks share sessions.
    """
    from splitsec.cli.progress_bars import shown
    from splitsec.running.executors.workers import Workers
    from splitsec.running.runs import run_cells

    by_track = [track.cells(profile) for track in tracks]
    cells = {_key(cell): cell for one in by_track for cell in one}
    names = ", ".join(track.name for track in tracks)
    say(f"{names}: {len(cells)} cells, profile {profile}", err=True)
    with shown(len(cells)) as progress:
        threads = max(cell.spec.threads for cell in cells.values())
        run = run_cells(
            list(cells.values()),
            folder / "records",
            progress,
            rerun="failed",
            executor=Workers(workers or max(1, (os.cpu_count() or 1) // threads)),
        )
        records = {record.spec.model_dump_json(): record for record in run}
    return [[records[_key(cell)] for cell in one] for one in by_track]


def _key(cell: Cell) -> str:
    return cell.spec.model_dump_json()


def draw(track: Track, records: Sequence[Record], output: Path) -> list[Path]:
    """Write a track's table (CSV, Markdown, LaTeX) or figure (PNG, SVG) from its records.

    A figure of attacks also gets a table of its numbers.

    Args:
        track: the track.
        records: records of its cells; failed ones are counted but not drawn.
        output: folder of the table or figure, with the records in ``records``.

    Returns:
        The files; empty if no cell is ok.
    """
    done = [record for record in records if record.status == "ok"]
    if not done:
        return []
    files = _write_table(track, records, output) if track.rows else []
    first = [one for one in done if one.spec.seed == done[0].spec.seed]
    if track.kind == "curves":
        figure = figures.curves(track.title, done, track.lines, track.curves)
    elif track.kind == "images":
        shown = [(one, pictures(one, output)) for one in first]
        figure = figures.attacked(track.title, shown, track.lines)
    elif track.kind == "masks":
        figure = figures.masks(track.title, pictures(done[0], output))
    elif track.kind == "activations":
        figure = figures.activations(track.title, pictures(done[0], output))
    else:
        return files
    return [*files, *figures.save(figure, output / track.name)]


def pictures(record: Record, output: Path) -> figures.Pictures:
    """Return the pictures that a record keeps."""
    folder = find_folder(output / "records", record.spec, record.cell_id)
    file = artifact(folder, record, "pictures")
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _write_table(track: Track, records: Sequence[Record], output: Path) -> list[Path]:
    numbers, words = page.table(track, records)
    texts = {
        ".csv": tables.to_csv(numbers),
        ".md": f"**{track.title}**\n\n{page.settings(records)}\n\n{tables.to_markdown(words)}",
        ".tex": tables.to_latex(words),
    }
    for suffix, text in texts.items():
        write_text(output / f"{track.name}{suffix}", text)
    return [output / f"{track.name}{suffix}" for suffix in texts]
