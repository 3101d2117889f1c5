"""``splitsec report``: one page for the person who decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from splitsec.cli.exit_codes import Exit
from splitsec.cli.saying import say, say_left_out
from splitsec.cli.share import Share
from splitsec.errors import UsageError

if TYPE_CHECKING:
    from splitsec.leaderboard.report_rows import Limits
    from splitsec.records.store import StoredRecord

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--max-leakage",
        type=Share(),
        metavar="SHARE",
        help="Largest leakage that you allow, such as 0.3.",
    ),
    click.option(
        "--max-identified",
        type=Share(),
        metavar="SHARE",
        help="Largest share of patients that the server may find, such as 0.05.",
    ),
    click.option(
        "--max-loss",
        type=Share(),
        metavar="LOSS",
        help="Largest loss of AUC or Jaccard that a protection may cost, such as 0.02.",
    ),
    click.option(
        "--names",
        is_flag=True,
        help="Give the file names of the patients whose images are shown.",
    ),
)


def report_options(function: F) -> F:
    """Add the options of what a report holds."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def take_limits(options: dict[str, Any]) -> Limits:
    """Take a person's limits out of a command's options."""
    from splitsec.leaderboard.report_rows import Limits

    return Limits(*(options.pop(f"max_{name}") for name in ("leakage", "identified", "loss")))


@click.command("report")
@click.argument("results", metavar="RECORDS", nargs=-1, required=True)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page: a .html file that loads nothing, or a .pdf.",
)
@report_options
def command(results: tuple[str, ...], output: Path, **options: Any) -> int:
    """Write one page for the person who decides whether a model may be split.

    RECORDS are folders of results, record.json or .jsonl files: those of one model, its cuts and
    its protections. The page says what the server recovered, of whom, who the attacker is, what
    each protection bought and cost, how sure that is, and what was not tested.

    A PDF is made by WeasyPrint (pip install weasyprint) or by Chromium, if one is there.
    """
    from splitsec.records.store import find_records

    limits = take_limits(options)
    write_report(find_records(results, say_left_out), output, limits, names=options["names"])
    return Exit.OK


def write_report(
    found: Sequence[StoredRecord], output: Path, limits: Limits, *, names: bool
) -> None:
    """Write the page and say where it is.

    Raises:
        UsageError: the file's name ends in neither .html nor .pdf, or no program makes PDFs.
    """
    from splitsec.cli.pdf import to_pdf
    from splitsec.files import write_bytes
    from splitsec.leaderboard.report import report

    if output.suffix.lower() not in (".html", ".pdf"):
        raise UsageError(f"--output {output}: a report is a .html or a .pdf file")
    page = report(found, limits, names=names)
    content = page.encode("utf-8") if output.suffix.lower() == ".html" else to_pdf(page)
    write_bytes(output, content)
    say(f"report: {output}", err=True)
