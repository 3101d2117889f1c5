"""``splitsec show``: print a record again."""

from __future__ import annotations

from pathlib import Path

import click

from splitsec.records.record import load_record


@click.command("show")
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The record as one line of JSON.")
def command(record: Path, as_json: bool) -> None:
    """Print the summary of RECORD, a record.json or the folder that holds it."""
    loaded = load_record(record)
    if as_json:
        click.echo(loaded.to_json())
        return
    from rich.console import Console

    from splitsec.cli.summary import print_summary

    folder = record if record.is_dir() else record.parent
    print_summary(loaded, Console(), folder)
