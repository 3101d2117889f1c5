"""``splitsec report``: one page for the person who decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from splitsec.cli.exit_codes import Exit
from splitsec.cli.saying import say, say_left_out
from splitsec.cli.share import Share
from splitsec.errors import UsageError

if TYPE_CHECKING:
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
    click.option(
        "--pictures/--no-pictures",
        default=True,
        show_default=True,
        help="Show images of patients and what was recovered of them.",
    ),
)


pages_option = click.option(
    "--report",
    "pages",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="The report, .html or .pdf; once for each.  [default: report.html in OUTPUT]",
)
"""The option of commands that write a report at their end."""


def report_options(function: F) -> F:
    """Add the options of what a report holds."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


class Content(NamedTuple):
    """What a report holds.

    Attributes:
        limits: largest leakage, share of patients found, and loss, or None for each.
        names: whether files of the patients that are shown are named.
        pictures: whether images of patients are shown.
    """

    limits: tuple[float | None, float | None, float | None]
    names: bool
    pictures: bool


def take_content(options: dict[str, Any]) -> Content:
    """Take what a report holds out of a command's options."""
    limits = tuple(options.pop(f"max_{name}") for name in ("leakage", "identified", "loss"))
    return Content(limits, options.pop("names"), options.pop("pictures"))


def check_outputs(outputs: Sequence[Path]) -> None:
    """Raise a UsageError unless each file is a page."""
    for output in outputs:
        if output.suffix.lower() not in (".html", ".pdf"):
            raise UsageError(f"{output}: a report is a .html or a .pdf file")


@click.command("report")
@click.argument("results", metavar="RECORDS", nargs=-1, required=True)
@click.option(
    "--output",
    "-o",
    "outputs",
    type=click.Path(path_type=Path),
    multiple=True,
    default=(Path("report.html"),),
    show_default="report.html",
    help="The page: a .html file that loads nothing, or a .pdf; once for each.",
)
@report_options
def command(results: tuple[str, ...], outputs: tuple[Path, ...], **options: Any) -> int:
    """Write one page for the person who decides whether a model may be split.

    RECORDS are folders of results, record.json or .jsonl files: those of one model, its cuts and
    its protections. The page says what the server recovered, of whom, who the attacker is, what
    each protection bought and cost, how sure that is, and what was not tested.

    A PDF is made by WeasyPrint (pip install weasyprint) or by Chromium, if one is there.
    """
    from splitsec.records.store import find_records

    check_outputs(outputs)
    wanted = take_content(options)
    write_report(find_records(results, say_left_out), outputs, wanted)
    return Exit.OK


def write_report(found: Sequence[StoredRecord], outputs: Sequence[Path], content: Content) -> None:
    """Write the page and say where it is.

    Raises:
        UsageError: there is nothing to report, or no program makes PDFs.
    """
    from splitsec.cli.pdf import to_pdf
    from splitsec.files import write_bytes
    from splitsec.leaderboard.report import report
    from splitsec.leaderboard.report_rows import Limits

    limits = Limits(*content.limits)
    page = report(found, limits, names=content.names, pictures=content.pictures)
    for output in outputs:
        pdf = output.suffix.lower() == ".pdf"
        write_bytes(output, to_pdf(page) if pdf else page.encode("utf-8"))
        say(f"report: {output}", err=True)
