"""Labels and patients as people write them: one name is one, a gap is an error, a variant too."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from splitsec.errors import DataError, UsageError
from splitsec.plugins.identifiers import Column, check_mapping, classes_of, groups_of
from splitsec.plugins.spelling import is_missing, normalise


def column(*values: str) -> Column:
    return Column("labels.csv", "label", values, range(2, 2 + len(values)))


def many(*values: str) -> Column:
    """Return a column that has each value ten times."""
    return column(*(value for value in values for _ in range(10)))


SAME = {
    "blanks": ["p1", "p1 ", "  p1", "\tp1\t", "p1\xa0", "\u3000p1\u2003", "p1\r"],
    "invisible": ["p1", "\ufeffp1", "p1\u200b", "p\u200b1", "\u2060p1", "p\u00ad1", "\u200ep1"],
    "inner blanks": ["site a", "site  a", "site\ta", "site\xa0a"],
    "composition": [unicodedata.normalize(form, "Zoë Müller") for form in ("NFC", "NFD")],
    "whole numbers": ["10", "10.0", "010", "1e1", "+10", "10.", "1E+1", "10.000", "100e-1"],
    "digits": ["10", "１０", "1０", "١٠", "１０．０"],  # noqa: RUF001 - digits of other scripts
    "negative": ["-1", "-1.0", "-01", "−1", "-10e-1"],  # noqa: RUF001 - a minus sign
    "zero": ["0", "0.0", "-0", "00", "0e5", ".0", "+0"],
    "decimals": ["0.5", ".5", "0.50", "5e-1", "00.5"],
    "large": ["123456789012345678901234567890123", "0123456789012345678901234567890123.0"],
}
DIFFERENT = [
    ("10", "1"),
    ("10", "-10"),
    ("12345678901234567890123", "12345678901234567890124"),
    ("0.1", "0.10000000000000000000000000001"),
    ("1.2.840.1", "1.2.840.10"),
    ("12-3", "1-23"),
    ("HER2+", "HER2-"),
    ("<5", ">5"),
    ("p10", "p1"),
    ("ข้าว", "ขาว"),
    ("1e999", "1e998"),
]
GAPS = [
    *("", " ", "\t", "\xa0", "\u200b", "\ufeff", "NA", "na", "N/A", "n/a", "#N/A", "#n/a ", "NaN"),
    *(
        "nan",
        "-nan",
        "NULL",
        "null",
        "(null)",
        "None",
        "none",
        "?",
        "??",
        "-",
        "--",
        "—",
        ".",
        "...",
    ),
    *("<NA>", "NaT", "#VALUE!", "#REF!", "#DIV/0!", "n.a.", "missing", "Unknown", "not available"),
    *("1.#IND", "*", "\uff2e\uff21", "\uff1f", "\u2013"),
]


@pytest.mark.parametrize("kind", SAME)
def test_spellings_of_one_patient(kind: str) -> None:
    assert len({normalise(text) for text in SAME[kind]}) == 1
    assert len(np.unique(groups_of(column(*SAME[kind])))) == 1


@pytest.mark.parametrize("pair", DIFFERENT)
def test_different_names_stay_different(pair: tuple[str, str]) -> None:
    assert len(np.unique(groups_of(column(*pair)))) == 2


def test_patients_keep_their_order() -> None:
    assert groups_of(column("b", "a", "b ", "10", "10.0", "a")).tolist() == [0, 1, 0, 2, 2, 1]


@pytest.mark.parametrize("gap", GAPS)
def test_a_missing_value_is_refused_with_its_row(gap: str) -> None:
    assert is_missing(gap)
    said = r"labels\.csv, row 4: the column 'label' (is empty|reads '.*', as if missing) \(row 3 w"
    with pytest.raises(DataError, match=said):
        classes_of(column("healthy", "ill", gap, "healthy", "ill"))
    with pytest.raises(DataError, match=said):
        groups_of(column("a", "a", gap))


def test_several_missing_values_are_counted() -> None:
    with pytest.raises(DataError, match=r"row 3: .* \(and so in rows 4, 5, 6 and 2 others\)"):
        groups_of(column("a", *["-"] * 6))
    with pytest.raises(DataError, match=r"row 3: .* \(and so in row 5\)"):
        groups_of(column("a", "?", "b", "None"))


@pytest.mark.parametrize(
    "name", ["p-1", "-1", "nano", "N/A/B", "naive", "nonesuch", "0", "a?", "#1"]
)
def test_names_that_are_not_missing(name: str) -> None:
    assert not is_missing(name)


VARIANTS = [
    ("disease", "Disease"),
    ("disease", "DISEASE", "Disease"),
    ("no disease", "no-disease", "No_Disease"),
    ("no disease", "nodisease"),
    ("grade 1", "Grade1"),
    ("Läsion", "Lasion"),
    ("straße", "STRASSE"),
    ("ill", "ｉｌｌ"),  # noqa: RUF001 - wide letters
    ("disease", "disеase"),  # noqa: RUF001 - a Cyrillic letter
    ("p1", "p01"),
    ("P1", "p1"),
    ("0,5", "0.5"),
    ("site.a", "site/a"),
]


@pytest.mark.parametrize("names", VARIANTS)
def test_variants_are_an_error_that_names_them(names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="differ only in how they are written") as raised:
        classes_of(many("other", *names))
    for number, name in enumerate(names):
        shown = {repr(name), ascii(name)}
        assert any(f"{one} (row {12 + 10 * number})" in str(raised.value) for one in shown)
    with pytest.raises(DataError, match="differ only in how they are written"):
        groups_of(column("other", *names))


def test_letters_of_another_alphabet_are_shown_as_such() -> None:
    with pytest.raises(DataError, match=r"'disease' .*, 'dis\\u0435ase'"):
        groups_of(column("disease", "dis\u0435ase"))


@pytest.mark.parametrize("slip", ["healty", "heallthy", "haelthy", "heelthy"])
def test_a_rare_label_that_is_nearly_a_common_one(slip: str) -> None:
    with pytest.raises(
        DataError, match=rf"row 52: the label '{slip}' \(1 images\) looks like 'healthy'"
    ):
        classes_of(column(*["healthy", "disease"] * 25, slip))
    assert len(classes_of(column(*["healthy", "disease"] * 25, "cancer")).classes) == 3
    assert len(classes_of(many("stage a", "stage b", "type i", "type ii")).classes) == 4


def test_labels_as_numbers() -> None:
    read = classes_of(many("0", "1", "0.0", " 1", "00", "1e0"))
    assert read.classes == ("0", "1")
    assert read.labels[::10].tolist() == [0, 1, 0, 1, 0, 1]


def test_classes_are_in_order_of_value() -> None:
    assert classes_of(many("10", "9", "-1", "b", "2.50", "a")).classes == (
        *("-1", "2.5", "9", "10"),
        *("a", "b"),
    )


def test_labels_of_which_most_occur_once() -> None:
    with pytest.raises(DataError, match=r"150 classes, 150 of which occur once, such as 'id0'"):
        classes_of(column(*(f"id{number}" for number in range(150))))
    with pytest.raises(DataError, match=r"7 of 8 classes occur once.*is 'label' the column of lab"):
        classes_of(column(*["a"] * 9, "b", "c", "d", "e", "f", "g", "h"))
    with pytest.raises(DataError, match=r"51 classes, such as .*at most 50"):
        classes_of(many(*(f"{number}" for number in range(51))))
    assert len(classes_of(many(*map(str, range(50)))).classes) == 50


@pytest.mark.parametrize("values", [("a",), ("a", "a "), ("0", "0.0", "-0")])
def test_a_single_class(values: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="all images are of one class"):
        classes_of(many(*values))


def mapped(values: str, mapping: str) -> list[str]:
    read = classes_of(column(*values.split("|")), mapping)
    return [read.classes[label] for label in read.labels.tolist()]


def test_a_mapping() -> None:
    assert mapped("0|1|2.0|4| 0|03", "0:0,1-4:1") == ["0", "1", "1", "1", "0", "1"]
    assert mapped("none|mild|Mild|x y", "none:no, mild:ill,Mild:ill,x y:ill") == [
        *("no", "ill", "ill", "ill")
    ]
    assert mapped("-2|-1|0", "-2--1:low,0:high") == ["low", "low", "high"]
    assert mapped("1-4|5+", "1-4:young,5+:old") == ["young", "old"]
    assert mapped("a:b|c", "a:b:one,c:two") == ["one", "two"]


@pytest.mark.parametrize("label", ["5", "1.5", "mild", "Mild", "#N/A", "1e40"])
def test_a_label_in_no_class_of_a_mapping(label: str) -> None:
    with pytest.raises(DataError, match=r"row 4: the label '.*' is in no class.*add .*:CLASS"):
        classes_of(column("0", "1", label), "0:0,1-4:1")


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("0", "'0' is not LABEL:CLASS"),
        ("0:", "is not LABEL:CLASS"),
        (":1", "is not LABEL:CLASS"),
        ("0:0,,1:1", "'' is not LABEL:CLASS"),
        ("4-1:0,5:1", "the range 4-1 is empty"),
        ("0:0,0.0:1", "0 is in two classes"),
        ("0-2:a,2-4:b", "are in two classes"),
        ("0-2:a,1:b", "1 and 0-2 are in two classes"),
    ],
)
def test_a_malformed_mapping(mapping: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        classes_of(column("0", "1"), mapping)
    with pytest.raises(ValueError, match=said):
        check_mapping(mapping)
