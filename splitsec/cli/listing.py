"""``splitsec list``: list plug-ins without importing any of them."""

from __future__ import annotations

import json

import click

from splitsec.cli.saying import say, say_json
from splitsec.plugins.loading import list_plugins
from splitsec.plugins.names import PLURALS

_KINDS = {plural: kind for kind, plural in PLURALS.items()}


@click.command("list")
@click.argument("what", type=click.Choice([*_KINDS]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def command(what: str, as_json: bool) -> None:
    """List attacks, defenses, targets or data sets, built in and installed.

    The first line of their docstrings is shown; nothing is imported. splitsec show attack fsha
    describes one with its parameters.
    """
    rows = list_plugins(_KINDS[what])
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        if as_json:
            say_json(json.dumps(row._asdict()))
        else:
            say(f"{row.name:<{width}}  {row.summary}")
