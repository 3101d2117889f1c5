"""``splitsec list``: what there is, found without importing any plug-in."""

from __future__ import annotations

import json

import click

from splitsec.plugins import Kind, Listed, list_plugins

_KINDS: dict[str, Kind] = {"attacks": "attack", "defenses": "defense", "targets": "target"}


@click.command("list")
@click.argument("what", type=click.Choice([*_KINDS, "data"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def command(what: str, as_json: bool) -> None:
    """List attacks, defenses, targets or data sets."""
    if what == "data":
        from splitsec.data.sources import list_sources  # noqa: PLC0415 - slower to import

        rows = [Listed(name, summary, "built in") for name, summary in list_sources()]
    else:
        rows = list_plugins(_KINDS[what])
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        if as_json:
            click.echo(json.dumps(row._asdict()))
        else:
            click.echo(f"{row.name:<{width}}  {row.summary}")
