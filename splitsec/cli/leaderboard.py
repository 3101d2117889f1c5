"""``splitsec leaderboard``: rank defenses, attacks or targets by their records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import pandas as pd

from splitsec.cli.exit_codes import Exit
from splitsec.cli.keys import sign_option, signed_in_place, signer_for, trusted_keys
from splitsec.cli.saying import say, say_left_out, say_lines
from splitsec.cli.share import Share
from splitsec.errors import UsageError
from splitsec.escaping import one_line
from splitsec.leaderboard import family_words
from splitsec.leaderboard.boards import FORMS, Printed, printed
from splitsec.leaderboard.families import family_boards
from splitsec.leaderboard.ranking import rank
from splitsec.leaderboard.settings import By
from splitsec.leaderboard.worth import UTILITY_FLOOR, Rules
from splitsec.records.index import load_brief_records
from splitsec.records.official import is_official
from splitsec.records.record import Record
from splitsec.records.store import StoredRecord, find_records
from splitsec.records.wording import MARGINS

if TYPE_CHECKING:
    from splitsec.records.signatures import Signer

_SHORT = 9  # characters of a name that fits below an interval, after "by"
_WIDE = 120  # columns of a terminal in which measures and their intervals share a line


@click.command("leaderboard")
@click.argument("records", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--by",
    type=click.Choice(["defenses", "families", "attacks", "targets"]),
    default="defenses",
    show_default=True,
    help="What is ranked; a family is a defense at several strengths.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "markdown", "latex", "json", "html", "records"]),
    default="table",
    show_default=True,
    help="How it is printed; html is a folder with a page of all three rankings, records one of "
    "records as they may be published.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the page or the records; an earlier page in it is replaced.",
)
@click.option(
    "--floor",
    type=Share(),
    default=UTILITY_FLOOR,
    show_default=True,
    help="Share of the undefended model's worth that a ranked defense retains.",
)
@click.option(
    "--margin",
    type=Share(positive=True),
    metavar="LOSS",
    help="Largest loss of utility that counts as none.  [default: "
    f"{MARGINS['auc']:g} of an AUC, {MARGINS['jaccard']:g} of a Jaccard]",
)
@click.option(
    "--trust",
    "trusted",
    multiple=True,
    metavar="KEY",
    help="A public key, or a file of them: what none of them signed is shown as a claim.",
)
@sign_option
@click.option(
    "--only-verified",
    is_flag=True,
    help="Leave out the tables of claims, which nobody has re-run here.",
)
def command(
    records: tuple[Path, ...],
    by: str,
    form: str,
    output: Path | None,
    floor: float,
    margin: float | None,
    only_verified: bool,
    **options: Any,
) -> int:
    """Rank the defenses, attacks or targets of RECORDS: folders, record.json or .jsonl files.

    A defense is as good as its worst case over the attacks that work undefended or behind any
    defense. Intervals and ranks are over seeds and images. Rows that cannot be told apart share a
    rank; rows that are incomplete, invalid or below the floor of utility are shown without one. A
    defense's cost is within the margin only if its whole interval is.

    A family is judged by what it leaks at 95 % of the undefended model's utility, read off a
    falling curve through all of its strengths, and is compared with the undefended model and with
    Gaussian noise.

    A claimed number is the submitter's own: nobody here has run its cell again. Claims have tables
    of their own, without ranks, and change no other number. A name with a hash is of another source
    than the method of that name here. Of several records of one cell, that of the first folder
    counts. Exits 5 if no record is of an attack.
    """
    folders = ("html", "records")
    if output is None and form in folders:
        raise UsageError(f"--format {form} is a folder; name it with --output FOLDER")
    if output is not None and form not in folders:
        raise UsageError(f"--output is for --format {' and '.join(folders)}; {form} is printed")
    keys, key = trusted_keys(options["trusted"]), options["key"]
    if key is not None and form != "records":
        raise UsageError("--sign is for --format records")
    if output is not None:
        found = [
            one
            for one in find_records(records, say_left_out, keys)
            if _counts(one.record, only_verified)
        ]
        if form == "records":
            return _publish(found, output, signer_for(key, output))
        if by == "families":
            raise UsageError("--by families is printed; --format html shows the other rankings")
        return _write_page(found, cast(By, by), output, Rules(floor, margin))
    brief = load_brief_records(records, _announce, keys)
    known = [one for one in brief if _counts(one, only_verified)]
    ranked = rank(known, "defenses" if by == "families" else cast(By, by), floor, margin)
    if by == "families":
        boards = [family_words.printed(board) for board in family_boards(ranked)]
    else:
        boards = [printed(board) for board in ranked]
    if not boards and ranked:
        say(
            "no family to compare: it takes the undefended model and a defense on one board, each "
            "with a result for every attack and seed",
            err=True,
        )
        return Exit.EMPTY
    if not boards:
        return _empty()
    if form == "table":
        _print(boards)
    else:
        say_lines(FORMS[form](boards))
    return Exit.OK


def _counts(record: Record, only_verified: bool) -> bool:
    """Return whether a record counts."""
    return not only_verified or is_official(record)


def _announce(sentence: str) -> None:
    say(f"note: {sentence}", err=True)


def _empty() -> int:
    say("nothing to rank: no record is of an attack", err=True)
    return Exit.EMPTY


def _write_page(found: Sequence[StoredRecord], by: By, output: Path, rules: Rules) -> int:
    from splitsec.leaderboard.web.folder import check_folder, write_page

    check_folder(output)
    if all(one.record.spec.attack == "none" for one in found):
        return _empty()
    say(write_page(found, output, by, rules, say_left_out))
    return Exit.OK


def _publish(found: Sequence[StoredRecord], output: Path, signer: Signer | None) -> int:
    """Write records as they may be published; those that the key had signed are signed again."""
    from splitsec.leaderboard.web.publication import publish

    for one in found:
        made = publish(one, output)
        if signer is not None and signer.has_signed(one.record):
            signed_in_place(made, signer)
    say(output)
    return Exit.OK


def _print(boards: Sequence[Printed]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from splitsec.cli.consoles import result_console

    console = result_console()
    for board in boards:
        words = board.words
        measured = [name for name in board.measures if name in words]
        if not len(words):
            console.print(Text(board.title, style="bold"))
            console.print("  nothing to rank")
        wide = console.width >= _WIDE
        if not wide:
            words = _narrow(words, measured)
        table = Table(
            title=board.title,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            padding=(0, 1),
            collapse_padding=True,
            pad_edge=False,
        )
        for column in words.columns:
            table.add_column(
                column,
                justify="right" if column == "rank" else "left",
                overflow="fold",
                # A name in parts would be no name: that of the row, and of the attack in it.
                # One that takes the place of the others is in parts all the same.
                no_wrap=(column in ("", "leakage") and _widest(words[column]) <= console.width // 3)
                or (wide and column in measured)
                or column in ("identified", "strength"),
            )
        for values in words.values.tolist():
            table.add_row(*values)
        if len(words):
            console.print(table)
        for note in board.notes:
            console.print(f"  {one_line(note)}", highlight=False)
        console.print()


def _widest(cells: pd.Series[str]) -> int:
    """Return the number of characters in the longest line of some cells."""
    return max(len(line) for cell in cells for line in cell.split("\n"))


def _narrow(words: pd.DataFrame, measured: Sequence[str]) -> pd.DataFrame:
    """Return text for a narrow terminal: intervals, attacks and costs go below the measures.

    What only a wide one has room for is in the other formats, too.
    """
    words = words.drop(columns=["area", "time", "worst victim"], errors="ignore")
    rules = {name: {r" \((.*)\)$": r"\n\1"} for name in measured if name in words}
    words = words.replace(rules, regex=True)
    for name in {"", "worst attack"} & set(words):
        # Parameters go below a long name; a line is a name or a parameter, whole.
        long = words[name].str.len() > _SHORT
        words[name] = words[name].mask(
            long, words[name].str.replace(r"([:,])", r"\1\n", regex=True)
        )
    if "worst attack" in words:
        attack = words.pop("worst attack")
        by = "by " if attack.str.len().max() <= _SHORT else "by\n"
        words["leakage"] += (f"\n{by}" + attack).where(attack != "-", "")
    names = {
        "Pareto front": "on\nfront",
        "found of 100": "found\nof 100",
        "against none": "against\nnone",
        "against noise": "against\nnoise",
    }
    if "cost" in words:
        cost = words.pop("cost")
        words["retained"] += ("\n" + cost).where(cost != "-", "")
        names["retained"] = "retained\nand cost"
    return words.rename(columns=names)
