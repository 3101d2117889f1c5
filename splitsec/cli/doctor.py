"""``splitsec doctor``: what is here, and how to get what is missing."""

from __future__ import annotations

import json

import click

from splitsec.cli import Exit


@click.command("doctor")
@click.option("--fetch", is_flag=True, help="Fetch the LPIPS weights now if they are missing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def command(fetch: bool, as_json: bool) -> int:
    """Say which packages, devices, data and weights are here, and how to get the others.

    Exits 0 if the default command can run.
    """
    from splitsec.doctor import examine  # noqa: PLC0415 - imports torch

    findings = examine(fetch)
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        if as_json:
            click.echo(json.dumps(finding._asdict()))
        else:
            mark = "ok     " if finding.ok else "MISSING" if finding.needed else "absent "
            click.echo(f"{mark}  {finding.what:<{width}}  {finding.sentence}")
    return Exit.FAILED if any(f.needed and not f.ok for f in findings) else Exit.OK
