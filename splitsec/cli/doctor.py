"""``splitsec doctor``: report what this machine has, and how to get what is missing."""

from __future__ import annotations

import json
import shutil
import textwrap

import click

from splitsec.cli.exit_codes import Exit


@click.command("doctor")
@click.option("--fetch", is_flag=True, help="Fetch the LPIPS weights now if they are missing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def command(fetch: bool, as_json: bool) -> int:
    """Show which packages, devices, data and weights are available, and how to get the others.

    Uses no network unless --fetch is given. Exits 0 if the default command can run, 1 otherwise.
    """
    from splitsec.cli.examination import examine

    findings = examine(fetch)
    missing = [finding.what for finding in findings if finding.needed and not finding.ok]
    if as_json:
        for finding in findings:
            click.echo(json.dumps(finding._asdict()))
        return Exit.FAILED if missing else Exit.OK
    width = max(len(finding.what) for finding in findings)
    columns = shutil.get_terminal_size().columns
    for finding in findings:
        mark = "ok" if finding.ok else "MISSING" if finding.needed else "absent"
        lead = f"{mark:<7}  {finding.what:<{width}}  "
        # Wrapped only at spaces, so that paths and commands stay whole.
        lines = textwrap.wrap(
            finding.sentence,
            max(30, columns - len(lead)),
            break_long_words=False,
            break_on_hyphens=False,
        )
        click.echo(lead + f"\n{' ' * len(lead)}".join(lines))
    if missing:
        click.echo(f"\nThe default command cannot run: see {', '.join(missing)} above.")
        return Exit.FAILED
    click.echo("\nThe default command can run: splitsec eval --attack fsha --defense dcor")
    return Exit.OK
