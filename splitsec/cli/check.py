"""``splitsec check``: does a plug-in keep its contract?"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from splitsec.cli import Exit
from splitsec.errors import PluginError, UsageError, unknown_name
from splitsec.plugins import KINDS, Kind, path_of

if TYPE_CHECKING:
    from rich.console import Console

    from splitsec.contract.report import Report

_MOST_BYTES = 1 << 20  # of a report, and of what is said beside it
_MOST_FILE_BYTES = 64 << 20
_MOST_TOLD = 600  # characters
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
    help="Do all of it inside of bubblewrap, for code that you have not read: without network, "
    "data, home and other processes.",
)
@click.option("--json", "as_json", is_flag=True, help="The report as one line of JSON.")
def command(words: tuple[str, ...], only: tuple[str, ...], sandbox: bool, as_json: bool) -> int:
    """Check that a plug-in keeps its contract: it loads, runs, repeats itself and leaves no trace.

    SPEC is a name, distribution/name, a file or a folder, with parameters after it as in
    fsha:iterations=300. The kind may be left out where the SPEC is of one kind only. Takes a
    minute or a few; nothing is kept.

    Exits 0 if no check failed (warnings are advice), 1 if one did, 4 if the request is wrong.
    """
    kind, spec = _read(words)
    if sandbox:
        return _in_sandbox(kind, spec, only, as_json)
    results = sys.stdout
    with redirect_stdout(sys.stderr):  # whatever a plug-in prints is not a result
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
    """Take kind and SPEC from what was typed."""
    if len(words) == 1:
        return None, words[0]
    if len(words) != 2:
        raise UsageError(
            "splitsec check takes one plug-in, and its kind before it if need be: splitsec check "
            f"attack ./my_attack.py ({len(words)} words were given)"
        )
    for kind in KINDS:
        if words[0] == kind:
            return kind, words[1]
    raise UsageError(unknown_name("kind", words[0], KINDS))


def _in_sandbox(kind: Kind | None, spec: str, only: tuple[str, ...], as_json: bool) -> int:
    """Run the same command in the sandbox; the plug-in is imported there and nowhere else."""
    import resource  # noqa: PLC0415 - not on Windows, where there is no sandbox

    from pydantic import ValidationError  # noqa: PLC0415 - slow
    from rich.console import Console  # noqa: PLC0415 - not needed to complain

    from splitsec.contract.report import Report  # noqa: PLC0415 - pydantic is slow
    from splitsec.isolation.processes import printable  # noqa: PLC0415
    from splitsec.isolation.sandbox import environment, sandboxed  # noqa: PLC0415 - slow
    from splitsec.metrics.weights import FILE_VARIABLE, cached_file  # noqa: PLC0415 - slow
    from splitsec.spec import parse_requests  # noqa: PLC0415 - slow

    asked = parse_requests(spec)[0].spec
    path = path_of(asked)
    shown = []
    if path is not None:
        if not path.path.exists():
            raise UsageError(f"plug-in {asked!r}: there is no {path.path}")
        shown.append(path.path)
        spec = path.below(Path.cwd()) + spec.strip().removeprefix(asked)
    variables = {}
    weights = Path(os.environ.get(FILE_VARIABLE) or cached_file("alex")).absolute()
    if weights.is_file():
        shown.append(weights)
        variables[FILE_VARIABLE] = str(weights)
    words = [*([kind] if kind else []), spec, *(f"--only={name}" for name in only), "--json"]
    inside = [sys.executable, "-P", "-m", "splitsec", "check", *words]
    waiting = Console(stderr=True).status(f"checking {asked} in the sandbox")
    with waiting, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            sandboxed(inside, shown, hidden=()), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=said, env=environment("/tmp") | variables,
        )  # fmt: skip
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_MOST_FILE_BYTES, _MOST_FILE_BYTES))
        with process:
            assert process.stdout is not None, "it is a pipe"
            answer = process.stdout.read(_MOST_BYTES)
            process.stdout.close()
        said.seek(0)
        heard = printable(said.read(_MOST_BYTES).decode(errors="replace"), keep="\n")
    if process.returncode == Exit.USAGE:
        click.echo(heard.strip(), err=True)
        return Exit.USAGE
    try:
        report = Report.model_validate_json(answer)
    except ValidationError:
        raise PluginError(
            f"the check of {spec} gave no report in the sandbox, and ended with exit code "
            f"{process.returncode}: {heard.strip()[-_MOST_TOLD:]}"
        ) from None
    return _say(report, as_json)


def _check(spec: str, kind: Kind | None, only: tuple[str, ...]) -> Report:
    from rich.console import Console  # noqa: PLC0415 - not needed to complain

    from splitsec.contract.runner import check_plugin  # noqa: PLC0415 - imports torch

    console = Console(stderr=True)
    with console.status(f"checking {spec}") as status:
        return check_plugin(
            spec, kind, only=only, begun=lambda check: status.update(f"checking {spec}: {check}")
        )


def _show(report: Report) -> None:
    from rich.console import Console  # noqa: PLC0415 - not needed for JSON
    from rich.markup import escape  # noqa: PLC0415

    console = Console()
    _table(report, console)
    console.print(escape(report.summary()), style="green" if report.ok else "bold red")


def _table(report: Report, console: Console) -> None:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE, pad_edge=False)
    columns: dict[str, dict[str, Any]] = {
        "check": {"no_wrap": True}, "": {}, "what was seen, and what to do": {"ratio": 1},
        "seconds": {"justify": "right"},
    }  # fmt: skip
    for name, options in columns.items():
        table.add_column(name, **options)
    for one in report.findings:
        verdict = Text(one.verdict, style=_COLOURS[one.verdict])
        table.add_row(Text(one.check), verdict, Text(one.sentence), f"{one.seconds:.1f}")
    console.print(table)
