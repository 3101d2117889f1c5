"""Turns a column of labels or patients, as people write them, into numbers.

Sources pass labels to :func:`classes_of` and patients to :func:`groups_of`, so that the same rules
hold for every data set; :mod:`.spelling` has them. What a source states itself is checked by
:func:`check_classes`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitsec.errors import DataError, UsageError
from splitsec.plugins.spelling import (
    fold,
    is_a_slip,
    is_gap,
    is_missing,
    normalise,
    number_of,
    shown,
)

MOST_CLASSES = 50
"""Classes beyond which a column is taken for something other than labels."""

_SHOWN = 3  # rows, names or pairs that an error lists
_SLIP_SHARE = 0.1  # share of a class's images up to which a class of nearly its name is a slip
_RANGE = re.compile(r"(-?\d+)\s*-\s*(-?\d+)")


class Column(NamedTuple):
    """The values of one column of a table.

    Attributes:
        place: path of the table, or name of the data set, for errors.
        name: name of the column.
        values: N texts.
        rows: the number of each value's row, as a spreadsheet counts them; None if they have none.
    """

    place: str
    name: str
    values: Sequence[str]
    rows: Sequence[int] | None = None

    def row(self, position: int) -> int:
        """Return the number of a value's row."""
        return position + 1 if self.rows is None else self.rows[position]

    def where(self, position: int) -> str:
        """Return where a value is, such as ``labels.csv, row 18``."""
        return f"{self.place}, row {self.row(position)}"


class Labels(NamedTuple):
    """Labels as numbers.

    Attributes:
        labels: shape (N,), positions in ``classes``.
        classes: names of the classes: numbers by value, then texts in order.
    """

    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def classes_of(column: Column, mapping: str = "") -> Labels:
    """Return classes and labels of a column.

    Args:
        column: the labels.
        mapping: from labels to classes, such as ``0:healthy,1-4:ill``; empty: each label
            is a class.

    Raises:
        DataError: a label is missing, in no class of the mapping, or a variant of another one;
            all are equal; or there are so many that they are no classes.
        UsageError: the mapping is malformed.
    """
    given = [normalise(value) for value in column.values]
    if mapping:
        given = _mapped(column, given, mapping)
    else:
        refuse_missing(
            column,
            "; leave such rows out, or say what class the text means: classes=LABEL:CLASS,...",
        )
        _refuse_variants(
            column, given, "labels", "or say which class each is: classes=LABEL:CLASS,..."
        )
    counts = Counter(given)
    check_classes(column.place, counts, f"is {column.name!r} the column of labels?")
    if not mapping:
        _refuse_slips(column, given, counts)
    if len(counts) < 2:
        only = next(iter(counts), "")
        raise DataError(
            f"{column.place}: all images are of one class, {only!r}; expected two or more"
        )
    classes = sorted(counts, key=_order)
    position = {name: number for number, name in enumerate(classes)}
    return Labels(np.array([position[name] for name in given], np.int64), tuple(classes))


def groups_of(column: Column) -> NDArray[np.int64]:
    """Return a number per patient, in the order in which they appear, shape (N,).

    Raises:
        DataError: a patient is missing, or a variant of another one.
    """
    refuse_missing(column, "; give each such image a name of its own, if its patient is not known")
    given = [normalise(value) for value in column.values]
    _refuse_variants(column, given, "patients", "or rename one of them if they are two")
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in given], np.int64)


def check_classes(place: str, counts: Mapping[str, int], ask: str) -> None:
    """Check that classes can be classes.

    Args:
        place: what has them, for errors.
        counts: from the name of each class to its number of images.
        ask: the question that a person should answer.

    Raises:
        DataError: there are more than 50, or most of three or more have a single image.
    """
    if len(counts) > MOST_CLASSES:
        once = sum(count == 1 for count in counts.values())
        said = f", {once} of which occur once" if once else ""
        raise DataError(
            f"{place}: {len(counts)} classes{said}, such as {_listed(counts)}; at most "
            f"{MOST_CLASSES} are classified: {ask}"
        )
    single = [name for name, count in counts.items() if count == 1]
    present = sum(count > 0 for count in counts.values())
    if present > 2 and 2 * len(single) > present:
        raise DataError(
            f"{place}: {len(single)} of {present} classes occur once, such as {_listed(single)}: "
            f"{ask}"
        )


def check_names(place: str, names: Sequence[str]) -> None:
    """Check the names that a source gives to its classes.

    Raises:
        DataError: one stands for a missing value, or two are variants of one.
    """
    for name in names:
        if is_gap(name):
            raise DataError(f"{place}: the class {name!r} is named as if its label were missing")
    column = Column(place, "class", names)
    given = [normalise(name) for name in names]
    if len(set(given)) < len(given):
        double = next(name for name, count in Counter(given).items() if count > 1)
        both = " and ".join(repr(name) for name in names if normalise(name) == double)
        raise DataError(f"{place}: the classes {both} have the same name")
    _refuse_variants(column, given, "classes", "or name them so that nobody takes them for one")


def refuse_missing(column: Column, hint: str = "") -> None:
    """Raise a DataError that names the rows in which a value is missing."""
    _refuse(column, [n for n, value in enumerate(column.values) if is_missing(value)], hint)


def refuse_gaps(column: Column) -> None:
    """Raise a DataError that names the rows in which a program wrote a missing value."""
    _refuse(column, [n for n, value in enumerate(column.values) if is_gap(value)], "")


def _refuse(column: Column, gaps: Sequence[int], hint: str) -> None:
    if not gaps:
        return
    value = normalise(column.values[gaps[0]])
    says = f"reads {value!r}, as if missing" if value else "is empty"
    if len(gaps) > 1:
        rest = [column.row(position) for position in gaps[1 : 1 + _SHOWN]]
        more = f" and {len(gaps) - 1 - len(rest)} others" if len(gaps) - 1 > len(rest) else ""
        says += f" (and so in row{'s' * (len(gaps) > 2)} {', '.join(map(str, rest))}{more})"
    if column.rows is not None:
        says += f" (row {column.rows[gaps[0]] - 1} without the header)"
    raise DataError(f"{column.where(gaps[0])}: the column {column.name!r} {says}{hint}")


def _refuse_variants(column: Column, given: Sequence[str], what: str, remedy: str) -> None:
    """Raise a DataError if names differ that look like one."""
    first: dict[str, int] = {}
    for position, name in enumerate(given):
        first.setdefault(name, position)
    alike: dict[str, list[str]] = {}
    for name in first:
        alike.setdefault(fold(name), []).append(name)
    variants = [names for names in alike.values() if len(names) > 1]
    if not variants:
        return
    said = [
        ", ".join(f"{shown(name)} (row {column.row(first[name])})" for name in names[: _SHOWN + 1])
        for names in variants[:_SHOWN]
    ]
    more = f"; and {len(variants) - _SHOWN} more" if len(variants) > _SHOWN else ""
    raise DataError(
        f"{column.place}: some {what} differ only in how they are written: {'; '.join(said)}{more}"
        f"; write them alike in the column {column.name!r}, {remedy}"
    )


def _refuse_slips(column: Column, given: Sequence[str], counts: Mapping[str, int]) -> None:
    """Raise a DataError if a rare label looks like a slip of the pen for a common one."""
    for rare, count in counts.items():
        for common, many in counts.items():
            if count <= _SLIP_SHARE * many and is_a_slip(rare, common):
                where = column.where(given.index(rare))
                raise DataError(
                    f"{where}: the label {shown(rare)} ({count} images) looks "
                    f"like {shown(common)} ({many} images); correct it, or say that it is a class: "
                    "classes=LABEL:CLASS,..."
                )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(shown(name) for name in list(names)[:_SHOWN])


def _order(name: str) -> tuple[bool, Decimal, str]:
    """Return the key by which classes are sorted: numbers by value, then texts."""
    number = number_of(name)
    return number is None, number or Decimal(0), name


def _mapped(column: Column, given: Sequence[str], mapping: str) -> list[str]:
    """Return the class of each label."""
    singles, ranges = _read(mapping)
    found: dict[str, str] = {}
    for position, name in enumerate(given):
        if name not in found:
            within = [one for one in ranges if one.holds(name)]
            if name in singles:
                found[name] = singles[name]
            elif within:
                found[name] = within[0].name
            elif not name:
                raise DataError(f"{column.where(position)}: the column {column.name!r} is empty")
            else:
                raise DataError(
                    f"{column.where(position)}: the label {shown(name)} is in no class of "
                    f"classes={mapping}; add {name}:CLASS"
                )
    return [found[name] for name in given]


class _Span(NamedTuple):
    """A range of whole numbers and the class that it is mapped to."""

    lowest: int
    highest: int
    name: str

    def holds(self, label: str) -> bool:
        if label == f"{self.lowest}-{self.highest}":  # as of ages
            return True
        number = number_of(label)
        if number is None or number != number.to_integral_value():
            return False
        return self.lowest <= number <= self.highest


def check_mapping(mapping: str) -> str:
    """Return a mapping from labels to classes unchanged; an empty one maps nothing.

    Raises:
        ValueError: it is malformed.
    """
    if mapping:
        try:
            _read(mapping)
        except UsageError as error:
            raise ValueError(str(error)) from None
    return mapping


def _read(mapping: str) -> tuple[dict[str, str], list[_Span]]:
    """Return the labels and the ranges of a mapping with their classes.

    Raises:
        UsageError: a piece is malformed, or a label is in two classes.
    """
    singles: dict[str, str] = {}
    ranges: list[_Span] = []
    for piece in mapping.split(","):
        label, colon, name = piece.rpartition(":")
        label, name = normalise(label), normalise(name)
        if not (colon and label and name):
            raise UsageError(
                f"classes={mapping}: {piece.strip()!r} is not LABEL:CLASS or FROM-TO:CLASS, "
                "such as classes=0:healthy,1-4:ill"
            )
        span = _RANGE.fullmatch(label)
        if span and int(span[1]) > int(span[2]):
            raise UsageError(
                f"classes={mapping}: the range {label} is empty; write the lower first"
            )
        if span:
            ranges.append(_Span(int(span[1]), int(span[2]), name))
        elif singles.setdefault(label, name) != name:
            raise UsageError(f"classes={mapping}: {label} is in two classes; name it once")
    for one in ranges:
        other = [span for span in ranges if span.name != one.name and _overlap(one, span)]
        double = [label for label, name in singles.items() if name != one.name and one.holds(label)]
        if other or double:
            what = double[0] if double else f"{other[0].lowest}-{other[0].highest}"
            raise UsageError(
                f"classes={mapping}: {what} and {one.lowest}-{one.highest} are in two classes; "
                "name each label once"
            )
    return singles, ranges


def _overlap(one: _Span, other: _Span) -> bool:
    return one.lowest <= other.highest and other.lowest <= one.highest
