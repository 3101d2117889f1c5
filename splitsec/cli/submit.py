"""``splitsec submit``: assemble a submission."""

from __future__ import annotations

from pathlib import Path

import click

from splitsec.cli.exit_codes import Exit
from splitsec.cli.saying import say, say_left_out
from splitsec.cli.verify import plugin_option


@click.command("submit")
@click.argument("records", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    required=True,
    help="New folder of the submission, such as leaderboard/submissions/my-attack.",
)
@plugin_option
def command(records: tuple[Path, ...], output: Path, plugins: tuple[str, ...]) -> int:
    """Assemble a folder to propose from RECORDS: folders, record.json or .jsonl files.

    It contains the records (marked as claims, without paths of this machine), their pictures, the
    source of plug-ins that are not built in, and a checklist, SUBMISSION.md, for you to complete.
    Records that cannot be ranked are refused: only failed ones, several protocols or profiles, or
    a source that has changed since.
    """
    from splitsec.leaderboard.submission import assemble
    from splitsec.records.store import find_records
    from splitsec.running.verification import parse_plugins

    given = parse_plugins(plugins)
    say(assemble(find_records(records, say_left_out), output, given))
    return Exit.OK
