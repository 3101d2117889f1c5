"""``splitsec check``: check that a plug-in keeps its contract."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from splitsec.cli.exit_codes import Exit
from splitsec.errors import UsageError, unknown_name
from splitsec.plugins.names import KINDS, Kind

if TYPE_CHECKING:
    from rich.console import Console

    from splitsec.running.contract.report import Report

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}


@click.command("check")
@click.argument("words", nargs=-1, metavar="[attack|defense|target|data] SPEC")
@click.option(
    "--only",
    multiple=True,
    metavar="CHECK",
    help="Run this check, as the table calls it; may be given again.  [default: all]",
)
@click.option(
    "--sandbox",
    is_flag=True,
    help="Run the checks in bubblewrap, for code that you have not read: no network, data, home "
    "or other processes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one line of JSON.")
def command(words: tuple[str, ...], only: tuple[str, ...], sandbox: bool, as_json: bool) -> int:
    """Check that a plug-in keeps its contract: it loads, runs, repeats itself and leaves no trace.

    SPEC is a name, distribution/name, a file or a folder, with parameters after it as in
    fsha:iterations=300. The kind is needed only if plug-ins of several kinds match. The checks
    take a few minutes and keep no files.

    Exits 0 if no check failed (warnings are advice), 1 if one did, 4 if the request is wrong.
    """
    kind, spec = _read(words)
    if sandbox:
        return _say(_check_in_sandbox(spec, kind, only), as_json)
    results = sys.stdout
    with redirect_stdout(sys.stderr):  # stdout is for the report only
        report = _check(spec, kind, only)
    with redirect_stdout(results):
        return _say(report, as_json)


def _say(report: Report, as_json: bool) -> int:
    if as_json:
        click.echo(report.to_json())
    else:
        _show(report)
    return Exit.OK if report.ok else Exit.FAILED


def _read(words: tuple[str, ...]) -> tuple[Kind | None, str]:
    """Return kind and SPEC from the arguments."""
    if len(words) == 1:
        return None, words[0]
    if len(words) != 2:
        raise UsageError(
            "splitsec check takes one plug-in, and its kind before it if needed: splitsec check "
            f"attack ./my_attack.py ({len(words)} words were given)"
        )
    for kind in KINDS:
        if words[0] == kind:
            return kind, words[1]
    raise UsageError(unknown_name("kind", words[0], KINDS))


def _check_in_sandbox(spec: str, kind: Kind | None, only: tuple[str, ...]) -> Report:
    from rich.console import Console
    from rich.markup import escape

    from splitsec.cli.check_in_sandbox import check_in_sandbox

    with Console(stderr=True).status(f"checking {escape(spec)} in the sandbox"):
        return check_in_sandbox(spec, kind, only)


def _check(spec: str, kind: Kind | None, only: tuple[str, ...]) -> Report:
    from rich.console import Console
    from rich.markup import escape

    from splitsec.running.contract.runner import check_plugin

    doing = f"checking {escape(spec)}"
    with Console(stderr=True).status(doing) as status:
        return check_plugin(
            spec, kind, only=only, begun=lambda check: status.update(f"{doing}: {check}")
        )


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    _table(report, console)
    console.print(escape(report.summary()), style="green" if report.ok else "bold red")


def _table(report: Report, console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, pad_edge=False)
    columns: dict[str, dict[str, Any]] = {
        "check": {"no_wrap": True},
        "": {},
        "what was seen, and what to do": {"ratio": 1},
        "seconds": {"justify": "right"},
    }
    for name, options in columns.items():
        table.add_column(name, **options)
    for one in report.findings:
        verdict = Text(one.verdict, style=_COLOURS[one.verdict])
        table.add_row(Text(one.check), verdict, Text(one.sentence), f"{one.seconds:.1f}")
    console.print(table)
