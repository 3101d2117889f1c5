"""``splitsec new``: write a working plug-in for its author to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from splitsec.cli.saying import say, say_lines
from splitsec.plugins.names import KINDS


@click.command("new")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option("--package", is_flag=True, help="Write a package that pip installs, not one file.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder to write into.  [default: the working folder]",
)
def command(kind: Any, name: str, package: bool, output: Path) -> None:
    """Write a new attack, defense, target or data source, and its test.

    The new plug-in runs and passes `splitsec check`: edit it step by step, and check again.
    Existing files are never overwritten.
    """
    from splitsec.plugins.scaffold.writing import plan_scaffold, write_scaffold

    scaffold = plan_scaffold(kind, name, package, output)
    for file in write_scaffold(scaffold):
        say(f"wrote {file}")
    say_lines("\nIt works as it is. Next:\n")
    for step in scaffold.next_steps():
        say(f"  {step}")
