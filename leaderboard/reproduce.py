"""``splitsec reproduce``: run a track, or take its records, and draw its table or figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from splitsec.cli import Exit
from splitsec.errors import UsageError, unknown_name
from splitsec.leaderboard import figures, tables
from splitsec.leaderboard.tracks import Track, get_track, list_tracks
from splitsec.record import INVALIDATING, Record
from splitsec.storage import check_writable, record_folder, write_atomically


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
def command(name: str, profile: str, output: Path) -> int:
    """Make a table or figure of the original report again: NAME is table1, figure8 ... or all.

    Exits 0 if every cell ran, 1 if some failed.
    """
    if name != "all" and name not in list_tracks():
        raise UsageError(unknown_name("track", name, ["all", *list_tracks()]))
    tracks = [get_track(one) for one in (list_tracks() if name == "all" else [name])]
    output = output / profile  # sizes are never mixed
    check_writable(output)
    failed = 0
    for track in tracks:
        records = _records(track, profile, output)
        failed += sum(record.status not in ("ok", "skipped") for record in records)
        for file in draw(track, records, output):
            click.echo(str(file))
    return Exit.FAILED if failed else Exit.OK


def _records(track: Track, profile: str, output: Path) -> list[Record]:
    """Return a track's records, running what is not there yet."""
    from splitsec.evaluate import prepare, run_cells  # noqa: PLC0415 - torch is slow to import
    from splitsec.progress_bars import shown  # noqa: PLC0415

    cells = track.cells(profile)
    click.echo(f"{track.name}: {track.title}, {len(cells)} cells, profile {profile}", err=True)
    with shown(len(cells)) as progress:
        prepare(cells, progress)
        return list(run_cells(cells, output / "records", progress, reuse=True))


def draw(track: Track, records: Sequence[Record], output: Path) -> list[Path]:
    """Write a track's table (CSV, Markdown, LaTeX) or figure (PNG, SVG) from its records.

    Args:
        track: the track.
        records: of its cells; those that failed are counted, and not drawn.
        output: folder of the table or figure, with the records in ``records``.

    Returns:
        The files; none where no cell is ok.
    """
    done = [record for record in records if record.status == "ok"]
    if not done:
        return []
    if track.kind == "table":
        return _write_table(track, records, output)
    if track.kind == "curves":
        figure = figures.curves(track.title, done, track.lines, track.curves)
    elif track.kind == "images":
        figure = figures.attacked(track.title, [(one, pictures(one, output)) for one in done])
    elif track.kind == "masks":
        figure = figures.masks(track.title, pictures(done[0], output))
    else:
        figure = figures.activations(track.title, pictures(done[0], output))
    return figures.save(figure, output / track.name)


def pictures(record: Record, output: Path) -> figures.Pictures:
    """Return the pictures that a record keeps."""
    file = record_folder(output / "records", record) / record.artifacts["pictures"]
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _settings(records: Sequence[Record]) -> str:
    """Return in a sentence what the numbers are of; the report's columns are of its own runs."""
    said = sorted(
        {
            f"{one.spec.data} at {one.spec.size} px, {one.spec.private} private images of "
            f"{one.spec.clients} client{'s' if one.spec.clients > 1 else ''}, "
            f"{one.spec.held_out} held out, {one.spec.training.epochs} epochs"
            for one in records
        }
    )
    invalid = sum(bool(INVALIDATING & set(one.flags)) for one in records)
    flagged = f" {invalid} of {len(records)} cells carry an invalidating flag." if invalid else ""
    return (
        f"Profile {records[0].spec.profile}; {'; '.join(said)}. Means over seeds with 95 % "
        f"t-intervals; the report's own figures are of one run each.{flagged}"
    )


def _write_table(track: Track, records: Sequence[Record], output: Path) -> list[Path]:
    frame = tables.load(records)
    table = tables.summarise(frame, track.rows, track.columns)
    words = tables.in_words(table, track.rows, track.columns, track.reported, track.report_columns)
    files = {
        ".csv": table.to_csv(index=False),
        ".md": f"**{track.title}**\n\n{_settings(records)}\n\n{tables.to_markdown(words)}",
        ".tex": tables.to_latex(words),
    }
    for suffix, text in files.items():
        write_atomically(
            output / f"{track.name}{suffix}",
            lambda path, text=text: path.write_text(text, encoding="utf-8"),  # type: ignore[misc]
        )
    return [output / f"{track.name}{suffix}" for suffix in files]
