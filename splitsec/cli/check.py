"""``splitsec check``: check that a plug-in keeps its contract."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, TextIO

import click

from splitsec.cli.execution import refuse_gpu_in_sandbox
from splitsec.cli.exit_codes import Exit
from splitsec.cli.kind_and_spec import kind_and_spec
from splitsec.cli.saying import say_json
from splitsec.escaping import one_line
from splitsec.plugins.names import Kind

if TYPE_CHECKING:
    from splitsec.running.contract.report import Report


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
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="Where the cells of the checks run: cpu, cuda, cuda:1 or mps.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one line of JSON.")
def command(
    words: tuple[str, ...], only: tuple[str, ...], sandbox: bool, device: str, as_json: bool
) -> int:
    """Check that a plug-in keeps its contract: it loads, runs, repeats itself and leaves no trace.

    SPEC is a name, distribution/name, a file or a folder, with parameters after it as in
    fsha:iterations=300. The kind is needed only if plug-ins of several kinds match. The checks
    take a few minutes and keep no files; each is shown when it is done.

    Exits 0 if no check failed (warnings are advice), 1 if one did, 4 if the request is wrong.
    """
    usage = (
        "splitsec check takes one plug-in, and its kind before it if needed: splitsec check attack "
        "./my_attack.py"
    )
    kind, spec = kind_and_spec(words, usage)
    if sandbox:
        refuse_gpu_in_sandbox(device)
        report = _check_in_sandbox(spec, kind, only)
        return _say(report, as_json, shown=False)
    results = sys.stdout
    with redirect_stdout(sys.stderr):  # stdout is for the report only
        report = _check(spec, kind, only, device, None if as_json else results)
    with redirect_stdout(results):
        return _say(report, as_json, shown=True)


def _say(report: Report, as_json: bool, shown: bool) -> int:
    """Print the report, or its last line if its rows have been shown."""
    if as_json:
        say_json(report.to_json())
    else:
        from splitsec.cli.check_rows import header, row
        from splitsec.cli.consoles import result_console

        console = result_console()
        if not shown:
            header(console)
            for one in report.findings:
                row(one, console)
        console.print(f"\n{report.summary()}", style="green" if report.ok else "bold red")
    return Exit.OK if report.ok else Exit.FAILED


def _check_in_sandbox(spec: str, kind: Kind | None, only: tuple[str, ...]) -> Report:
    from rich.text import Text

    from splitsec.cli.check_in_sandbox import check_in_sandbox
    from splitsec.cli.consoles import note_console

    console = note_console()
    with console.status(Text(one_line(f"checking {spec} in the sandbox"))):
        return check_in_sandbox(
            spec, kind, only, told=lambda line: console.print(line, soft_wrap=True)
        )


def _check(
    spec: str, kind: Kind | None, only: tuple[str, ...], device: str, results: TextIO | None
) -> Report:
    """Run the checks, and show each on ``results`` when it is done; briefly on stderr if None."""
    from splitsec.cli.check_rows import Rows
    from splitsec.cli.consoles import note_console, result_console
    from splitsec.running.contract.runner import check_plugin

    rows = None if results is None else result_console(results)
    with Rows(rows, note_console(), spec) as listener:
        return check_plugin(spec, kind, only=only, device=device, listener=listener)
