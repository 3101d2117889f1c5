"""``splitsec doctor``: report what this machine has, and how to get what is missing."""

from __future__ import annotations

import json
import shutil
import textwrap

import click

from splitsec.cli.exit_codes import Exit
from splitsec.cli.saying import say, say_json, say_lines


@click.command("doctor")
@click.option("--fetch", is_flag=True, help="Fetch the LPIPS weights now if they are missing.")
@click.option("--sandbox", is_flag=True, help="Try what must not open in the sandbox instead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def command(fetch: bool, sandbox: bool, as_json: bool) -> int:
    """Show which packages, devices, data and weights are available, and how to get the others.

    Uses no network unless --fetch is given. Exits 0 if the default command can run, 1 otherwise.
    With --sandbox: starts the sandbox, tries to open what must not open inside, and writes nothing.
    Exits 0 if every door is shut, 1 otherwise.
    """
    if sandbox:
        return _try_doors(as_json)
    from splitsec.cli.examination import examine

    findings = examine(fetch)
    missing = [finding.what for finding in findings if finding.needed and not finding.ok]
    if as_json:
        for finding in findings:
            say_json(json.dumps(finding._asdict()))
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
        say_lines(lead + f"\n{' ' * len(lead)}".join(lines) + "\n")
    if missing:
        say_lines(f"\nThe default command cannot run: see {', '.join(missing)} above.\n")
        return Exit.FAILED
    say_lines("\nThe default command can run: splitsec eval --attack fsha --defense none,dcor\n")
    return Exit.OK


def _try_doors(as_json: bool) -> int:
    """Print one line for each door of the sandbox."""
    from splitsec.isolation.self_test import try_doors

    opened = 0
    for finding in try_doors():
        opened += finding.opened is not None
        if as_json:
            say_json(json.dumps(finding._asdict()))
            continue
        mark = "shut" if finding.opened is None else "OPEN"
        said = f": {finding.opened}" if finding.opened else ""
        say(f"{mark}  {finding.sandbox:<19}  {finding.door}{said}")
    if not as_json:
        say_lines(f"\n{opened} doors are open.\n" if opened else "\nEvery door is shut.\n")
    return Exit.FAILED if opened else Exit.OK
