r"""Text of strangers as data: one function for each form of output.

Anybody may have written the names, reasons and notes of records, plug-ins and submissions. Each
function here returns text that its output shows as it is and never obeys. Characters that a reader
cannot see are written as their escapes, such as ``\n`` for the end of a line, so none begins a
line, turns the direction of a text or moves the cursor.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any

NAME, SENTENCE = 80, 2000
"""Characters of the longest name and of the longest sentence that are shown whole."""

_ENDING = 30  # characters that say how long a text was

_UNSEEN_LETTERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Letters and marks that show nothing, although ``str.isprintable`` knows them as printable."""

_MARKS = 2  # on one letter; more would be drawn over the lines above and below
_FORMULA = r"=+\-@\uff0b\uff0d\uff1d\uff20"  # and these as wide as a Chinese letter


def one_line(text: object, longest: int = SENTENCE) -> str:
    r"""Return text as one line of characters that can be seen.

    Args:
        text: anything; its ``str`` counts.
        longest: characters; a longer one is cut, and says how long it is.

    Examples:
        >>> one_line("mine\nverified: identical")
        'mine\\nverified: identical'
    """
    given = str(text)
    if given.isascii() and given.isprintable() and len(given) <= longest:
        return given
    shown = "".join(_visible(given[:longest]))
    if len(given) <= longest and len(shown) <= longest:
        return shown
    return f"{shown[: longest - _ENDING]}... ({len(given):,} characters)"


def _visible(text: str) -> list[str]:
    """Return the characters of a text, with escapes for those that cannot be seen."""
    shown: list[str] = []
    marks = 0
    for one in text:
        marks = marks + 1 if unicodedata.combining(one) else 0
        hidden = _is_unseen(one) or marks > _MARKS
        shown.append(one.encode("unicode_escape").decode("ascii") if hidden else one)
    return shown


def _is_unseen(one: str) -> bool:
    return not one.isprintable() or _UNSEEN_LETTERS.match(one) is not None


def short_name(text: object) -> str:
    """Return a name as one line that fits into a table; see :func:`one_line`."""
    return one_line(text, NAME)


def for_terminal(text: object) -> str:
    """Return text of one or more lines for a terminal, without anything that a terminal obeys.

    Ends of lines are kept and no line is cut, so this is for text whose lines are ours; names in it
    must have passed :func:`one_line`.
    """
    return "\n".join(
        line if line.isascii() and line.isprintable() else "".join(_visible(line))
        for line in str(text).split("\n")
    )


def for_json(text: str) -> str:
    r"""Return JSON of the same values whose unseen characters are escapes, such as ``\u009b``."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        one if one in "\n\t" or not (_is_unseen(one) or unicodedata.combining(one)) else _code(one)
        for one in text
    )


def _code(one: str) -> str:
    """Return a character as JSON escapes it: one or two units of UTF-16."""
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def for_csv(text: object) -> str:
    """Return a cell that no spreadsheet takes as a formula: an apostrophe goes before one.

    A program that divides lines at semicolons sees a cell begin behind each, so formulas there get
    one as well.
    """
    line = one_line(text)
    return re.sub(rf"((?:^|;)[\s\"']*)(?=[{_FORMULA}])", _with_apostrophe, line)


def _with_apostrophe(found: re.Match[str]) -> str:
    before = found[1]
    return before if before.endswith("'") else f"{before}'"


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # behind the end of a row it would be an optional argument
    "]": "{]}",
    "*": "{*}",
    "`": "`{}",
}


def for_latex(text: object) -> str:
    """Return text for LaTeX in which no character is a command.

    Letters that pdfLaTeX may not know are written as their code, such as ``U+4E2D``.
    """
    return "".join(_LATEX.get(one, _known_letter(one)) for one in one_line(text))


def _known_letter(one: str) -> str:
    return one if one < "\u0180" or one in "\u2013\u2014\u2019" else f"U+{ord(one):04X}"


def for_markdown(text: object) -> str:
    """Return text for Markdown, also in a table: no markup, no HTML, no link, nobody mentioned."""
    line = re.sub(r"[<>|~$&@]|#(?=\d)|:(?=//)|(?<=www)\.", _entity, one_line(text), flags=re.I)
    line = re.sub(r"[\\`*_{}\[\]]", r"\\\g<0>", line)
    return re.sub(r"^(\s*)(\d+(?=[.)]\s)|(?=#|[+-]\s))", r"\1\2\\", line)


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


def for_markdown_code(text: object) -> str:
    """Return text between backticks, also in a table, which nothing in it can end."""
    return "`" + one_line(text).replace("`", "'").replace("|", "\\|") + "`"


def for_html(text: object) -> str:
    """Return text for HTML, in an element or in a quoted attribute."""
    return html.escape(one_line(text))


def for_figure(text: object) -> str:
    """Return text for a figure, in which matplotlib would draw mathematics between dollars."""
    return for_terminal(text).replace("\\$", "$").replace("$", r"\$")


def for_bibtex(text: object) -> str:
    """Return text for a field of BibTeX between braces."""
    return for_latex(text)


def file_name(text: object, longest: int) -> str:
    """Return a name of a file or folder that every system takes, and no command takes as an option.

    Args:
        text: any text; what does not fit is an underscore.
        longest: characters.
    """
    fitting = re.sub(r"[^\w.,=+-]+", "_", str(text), flags=re.ASCII)[:longest]
    return re.sub(r"^[.-]", "_", fitting)


def all_text(value: Any) -> Any:
    """Return JSON values in which every text, keys included, is one line that can be seen."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {all_text(key): all_text(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [all_text(one) for one in value]
    return value
