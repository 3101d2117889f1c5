"""Decides which spellings are one name, which look like one, and which stand for a missing value.

:func:`normalise` is applied to every name of a class or patient. It changes only what carries no
meaning:

- blanks and invisible characters around a name, and runs of blanks in it, count as one blank
- composed and decomposed letters (Unicode NFC) are the same
- numbers count by their value, so ``10``, ``10.0``, ``010``, ``+10`` and ``1e1`` are ``10``

A number has digits of any script with at most one decimal point, a sign and an exponent: ``1,5``,
``1_000``, ``0x1F``, ``1.2.840`` and ``p10`` are texts.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_PLAIN_DIGITS = 30  # more zeros are written as an exponent
_JOINERS = "\u200c\u200d"  # which shape letters of some scripts
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x2212: "-"}

# As pandas, numpy, R, SQL, SAS, spreadsheets and C write a missing value.
_GAP = re.compile(
    r"[?*.\-\u2013\u2014]+|[+-]?nan|n\.?a\.?|n[/\\]a|nat|<na>|\(?null\)?|-?1\.#(ind|qnan)"
    r"|#(n/?a( n/a)?|value|ref|div/0|name|null|num)[!?]?"
)
_WORDS = frozenset(
    ("none", "nil", "missing", "unknown", "undefined", "not available", "not applicable", "no data")
)

_LOOKALIKES = str.maketrans("асеорхуіјѕαορν", "aceopxyijsaopv")  # noqa: RUF001 - lookalikes
_MARKS = re.compile("[\u0300-\u036f]")
_SEPARATORS = re.compile(r"(?<=\w)[\s_\-./]+(?=\w)|_+")
_BEFORE_DIGITS = re.compile(r"(?<=[^\W\d]) (?=\d)")
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_LEAST_SLIP = 5  # letters of the shortest word in which one wrong letter is taken for a slip


@lru_cache(maxsize=2**16)
def normalise(text: str) -> str:
    """Return the one spelling of a name of a class or patient; see the module's own text.

    Examples:
        >>> [normalise(text) for text in (" healthy ", "10.0", "1e1", "-0", "1,5", "p10")]
        ['healthy', '10', '10', '0', '1,5', 'p10']
    """
    composed = unicodedata.normalize("NFC", text)
    seen = "".join(
        one
        for one in composed
        if one in _JOINERS or one.isspace() or unicodedata.category(one) not in ("Cf", "Cc")
    )
    plain = " ".join(seen.split()).strip(_JOINERS + " ")
    number = number_of(plain)
    return plain if number is None else _written(number)


def number_of(text: str) -> Decimal | None:
    """Return the value of a text that is a number, else None."""
    plain = text.translate(_WIDE)
    return Decimal(plain) if _NUMBER.fullmatch(plain) else None


def _written(number: Decimal) -> str:
    """Return a number without leading or trailing zeros; rounds nothing."""
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int), "the pattern has no infinity"
    text = "".join(map(str, digits)).lstrip("0")
    if not text:
        return "0"
    short = text.rstrip("0")
    exponent += len(text) - len(short)
    minus = "-" if sign else ""
    if exponent >= 0:
        whole = short + "0" * exponent if exponent <= _PLAIN_DIGITS else f"{short}e{exponent}"
        return minus + whole
    if -exponent < len(short):
        return f"{minus}{short[:exponent]}.{short[exponent:]}"
    if -exponent - len(short) <= _PLAIN_DIGITS:
        return f"{minus}0.{'0' * (-exponent - len(short))}{short}"
    return f"{minus}{short}e{exponent}"


def is_gap(text: str) -> bool:
    """Return whether a text is empty or what a program writes for a missing value."""
    return _is_gap(normalise(text))


def is_missing(text: str) -> bool:
    """Return whether a text is a gap, or a word by which people say that a value is missing."""
    plain = normalise(text)
    return _is_gap(plain) or plain.casefold() in _WORDS


def _is_gap(plain: str) -> bool:
    plain = plain.translate(_WIDE).casefold()
    return not plain or _GAP.fullmatch(plain) is not None


def fold(name: str) -> str:
    """Return what a normalised name has in common with its variants.

    Case, accents, the width of letters, separators, leading zeros and letters of another alphabet
    that look alike make no difference. Signs such as the last one of ``HER2+`` do.
    """
    if number_of(name) is not None:
        return name
    if _COMMA.fullmatch(name):
        return normalise(name.replace(",", "."))
    text = _MARKS.sub("", unicodedata.normalize("NFKD", name)).casefold().translate(_LOOKALIKES)
    text = _SEPARATORS.sub(" ", text.replace("\u200c", "").replace("\u200d", "")).strip()
    if not any(one.isdigit() for one in text):
        text = re.sub(r"(?<=\w) (?=\w)", "", text)
    text = _BEFORE_DIGITS.sub("", text)
    if len(re.findall(r"\d+", text)) == 1:
        text = _LEADING_ZEROS.sub("", text)
    return text or name


def is_a_slip(one: str, other: str) -> bool:
    """Return whether two words differ by one letter added, left out, changed or swapped."""
    shorter, longer = sorted((one.casefold(), other.casefold()), key=len)
    if len(shorter) < _LEAST_SLIP or not (shorter.isalpha() and longer.isalpha()):
        return False
    if len(longer) - len(shorter) > 1 or shorter == longer:
        return False
    start = next((n for n, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), None)
    if start is None:
        return True
    if len(longer) > len(shorter):
        return shorter[start:] == longer[start + 1 :]
    if shorter[start + 1 :] == longer[start + 1 :]:
        return True
    swapped = longer[start : start + 2][::-1]
    return shorter[start : start + 2] == swapped and shorter[start + 2 :] == longer[start + 2 :]


def shown(text: str) -> str:
    """Return a name in quotes, with letters escaped that look like those of another alphabet."""
    mixed = text.isascii() is False and re.search("[a-zA-Z]", text)
    return ascii(text) if mixed and text.casefold().translate(_LOOKALIKES).isascii() else repr(text)
