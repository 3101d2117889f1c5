"""Names are data: every form of output shows a hostile one, and obeys none."""

from __future__ import annotations

import ast
import csv
import html
import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
from markdown import markdown
from matplotlib.cbook import is_math_text
from rich.table import Table
from rich.text import Text

from splitsec import escaping
from splitsec.cli.consoles import HonestConsole
from splitsec.escaping import NAME, SENTENCE, one_line
from support.hostile import HOSTILE

ROOT = Path(__file__).parents[2]
NAMES = pytest.mark.parametrize("text", [*HOSTILE.values()], ids=[*HOSTILE])


def check_seen(text: str) -> None:
    """Check that each character of a line is seen, and none changes what is around it."""
    assert text.isprintable()
    assert not re.search("[\u115f\u1160\u3164\ufe00-\ufe0f\u2800]", text)
    marks = "".join("m" if unicodedata.combining(one) else "." for one in text)
    assert "mmm" not in marks


@NAMES
def test_a_name_is_one_line_that_is_seen(text: str) -> None:
    check_seen(one_line(text))
    assert one_line(one_line(text)) == one_line(text)
    assert 0 < len(escaping.short_name(text)) <= NAME
    if text.isprintable() and text.isascii() and len(text) < SENTENCE:
        assert one_line(text) == text, "what is harmless stays as it is"


@NAMES
def test_no_spreadsheet_finds_a_formula(text: str) -> None:
    cell = escaping.for_csv(text)
    check_seen(cell)
    for part in cell.split(";"):
        assert not re.match('[\\s"]*[=+\\-@\uff0b\uff0d\uff1d\uff20\t\r]', part)
    assert escaping.for_csv(cell) == cell


def commands(latex: str) -> set[str]:
    return set(re.findall(r"\\([a-zA-Z]+|.)", latex))


@NAMES
def test_no_command_of_latex_comes_from_a_name(text: str) -> None:
    shown = escaping.for_latex(text)
    check_seen(shown)
    known = {"textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater"}
    assert commands(shown) <= known | {"textbar", *"{}$&#%_"}
    plain = re.sub(r"\\(?:[a-zA-Z]+\{\}|.)", "", shown)
    assert not set("$&#%_^~\\") & set(plain), "no character with a meaning is left alone"
    assert not re.match(r"[\[*]", plain), "nor an argument of the line above"
    assert all(one < "\u0180" for one in shown)


@NAMES
def test_markdown_shows_a_name_as_it_is(text: str) -> None:
    shown = escaping.for_markdown(text)
    assert "\n" not in shown and "|" not in shown
    page = markdown(f"|a|b|\n|---|---|\n| {shown} | 1 |\n\n- {shown}", extensions=["tables"])
    tags = set(re.findall(r"</?(\w+)[^>]*>", page))
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td", "ul", "li", "p"}
    assert page.count("<td>") == 2, "and ends no cell"
    assert not re.search(r"(?<!&#64;)@|://|www\.|(?<!&)#\d", shown), "and mentions nobody"


@NAMES
def test_code_in_markdown_is_not_ended(text: str) -> None:
    shown = escaping.for_markdown_code(text)
    assert shown.count("`") == 2 and "\n" not in shown


@NAMES
def test_html_shows_a_name_as_it_is(text: str) -> None:
    shown = escaping.for_html(text)
    assert not set("<>\"'") & set(shown)
    assert html.unescape(shown) == one_line(text)


@NAMES
def test_json_is_of_the_same_values(text: str) -> None:
    raw = json.dumps({"name": text}, ensure_ascii=False)
    shown = escaping.for_json(raw)
    check_seen(shown)
    assert json.loads(shown) == {"name": text}


@NAMES
def test_a_figure_draws_no_mathematics(text: str) -> None:
    assert not is_math_text(escaping.for_figure(text))


@NAMES
def test_a_file_name_is_one_everywhere(text: str) -> None:
    assert re.fullmatch(r"[\w,=+][\w.,=+-]{0,99}", escaping.file_name(text, 100), re.ASCII)


@NAMES
def test_bibtex_ends_no_field(text: str) -> None:
    shown = re.sub(r"\\[{}]", "", escaping.for_bibtex(text))
    depth = 0
    for one in shown:
        depth += {"{": 1, "}": -1}.get(one, 0)
        assert depth >= 0
    assert depth == 0


@NAMES
def test_a_console_obeys_no_name(text: str) -> None:
    out = io.StringIO()
    console = HonestConsole(file=out, width=60, force_terminal=True, color_system=None)
    table = Table("name", title=one_line(text))
    table.add_row(text)
    table.add_row(Text(text))
    console.print(text)
    console.print(table)
    printed = out.getvalue()
    for line in printed.split("\n"):
        check_seen(line)
    assert len(printed) < 5000, "a long word is cut: rich would wrap one of 100,000 for minutes"
    if text.startswith("[") or text == ":skull:":
        assert text[:9] in printed


@pytest.mark.parametrize("room", ["splitsec/cli", "splitsec/running", "leaderboard"])
def test_all_is_printed_through_the_functions_that_escape(room: str) -> None:
    printing = {"click.echo", "click.secho", "print", "Console"}
    found = [
        f"{file.relative_to(ROOT)}: {ast.unparse(node.func)}"
        for file in (ROOT / room).rglob("*.py")
        if file.name not in ("saying.py", "consoles.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in printing
    ]
    assert not found


def test_rows_of_csv_stay_rows() -> None:
    import pandas as pd

    from splitsec.leaderboard import tables

    table = pd.DataFrame({"name": [*HOSTILE.values()], "leakage": -0.5})
    lines = list(csv.reader(io.StringIO(tables.to_csv(table))))
    assert len(lines) == len(HOSTILE) + 1
    assert {line[1] for line in lines[1:]} == {"-0.5"}, "numbers stay numbers"
