"""Tables as spreadsheets and people write them, and what plug-ins state of their classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from splitsec.data.sources import get_source
from splitsec.datasets.folder import FolderParameters, LabelledFolder
from splitsec.errors import DataError, PluginError, UsageError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.parameters import Parameters
from splitsec.plugins.source import ANY, Availability, Catalogue, Source, list_checked
from splitsec.progress import Progress
from support.medmnist import arrays, write
from support.scans import load_scans, numbers, owners, write_scans

SPEC = DataSpec(name="folder")


def edited(folder: Path, old: str, new: str, count: int = -1) -> None:
    file = folder / "labels.csv"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, count), encoding="utf-8")


def listed(folder: Path, **parameters: str) -> Catalogue:
    return LabelledFolder(FolderParameters(path=str(folder), **parameters)).catalogue(SPEC)


def test_patients_with_blanks_are_in_one_part(tmp_path: Path) -> None:
    blanks = ["", " ", "\t", "\xa0"]
    write_scans(tmp_path, 160, patient=lambda n: f"{n // 4}{blanks[n % 4]}")
    data = load_scans(tmp_path, group_column="patient", private=50, public=50)
    assert all(len(names) == 1 for names in owners(data, lambda key: key // 4).values())


def test_patients_written_as_other_numbers_are_in_one_part(tmp_path: Path) -> None:
    ways = ["{}", "{}.0", "0{}", "{}e0"]
    write_scans(tmp_path, 160, patient=lambda n: ways[n % 4].format(10 + n // 4))
    data = load_scans(tmp_path, group_column="patient")
    assert sum(numbers(data).values()) == 60
    assert all(len(names) == 1 for names in owners(data, lambda key: key // 4).values())


def test_labels_with_blanks_and_variants(tmp_path: Path) -> None:
    names = ["healthy", "disease", "healthy ", "Disease"]
    write_scans(tmp_path, label=lambda n: names[n % 4])
    with pytest.raises(DataError, match=r"'disease' \(row 3\), 'Disease' \(row 5\)"):
        listed(tmp_path)
    write_scans(tmp_path, label=lambda n: ["healthy", " disease", "healthy ", "\tdisease"][n % 4])
    assert listed(tmp_path).classes == ("disease", "healthy")


def test_labels_as_numbers_are_two_classes(tmp_path: Path) -> None:
    write_scans(tmp_path, label=lambda n: ["0", "1", "0.0", " 1"][n % 4])
    assert listed(tmp_path).classes == ("0", "1")
    assert listed(tmp_path).labels.tolist() == [0, 1] * 40


def test_a_missing_label_is_named_with_its_row(tmp_path: Path) -> None:
    write_scans(tmp_path, label=lambda n: "#N/A" if n == 17 else ["healthy", "disease"][n % 2])
    with pytest.raises(DataError, match=r"labels\.csv, row 19: .* '#N/A', .*\(row 18 without the"):
        listed(tmp_path)
    assert listed(tmp_path, classes="#N/A:none,healthy:none,disease:some").classes == (
        *("none", "some"),
    )


def test_a_patient_that_is_missing_in_some_rows(tmp_path: Path) -> None:
    write_scans(tmp_path, patient=lambda n: "-" if n in (5, 7) else f"p{n // 2}")
    with pytest.raises(DataError, match=r"row 7: the column 'patient' .*and so in row 9"):
        listed(tmp_path, group_column="patient")
    assert len(listed(tmp_path).keys) == 80, "the column is not used"


def test_a_column_that_is_no_label(tmp_path: Path) -> None:
    write_scans(tmp_path, 150)
    with pytest.raises(DataError, match=r"150 classes, .*is 'patient' the column of labels"):
        listed(tmp_path, label_column="patient")


def test_rows_without_text_are_left_out_and_rows_are_counted_as_a_spreadsheet_does(
    tmp_path: Path,
) -> None:
    write_scans(tmp_path, 8)
    edited(tmp_path, "0003.png", "\n,,\n0003.png")
    (tmp_path / "labels.csv").open("a", encoding="utf-8").write("\n,,\n\n")
    assert len(listed(tmp_path).keys) == 8
    edited(tmp_path, "0005.png,disease", "0005.png,?")
    with pytest.raises(DataError, match=r"row 9: the column 'label' reads '\?'"):
        listed(tmp_path)
    edited(tmp_path, "0005.png,?,p5", "0005.png")
    with pytest.raises(DataError, match=r"row 9: the column 'label' is empty"):
        listed(tmp_path)


def test_names_of_columns_with_blanks(tmp_path: Path) -> None:
    write_scans(tmp_path, 8)
    edited(tmp_path, "image,label,patient", "image, label ,patient\xa0")
    assert len(np.unique(listed(tmp_path, group_column="patient").groups)) == 8
    edited(tmp_path, "patient\xa0", "label\t")
    with pytest.raises(DataError, match=r"column 'label' may be ' label ' and 'label\\t'"):
        listed(tmp_path)


def test_names_of_images_with_blanks_or_decomposed_letters(tmp_path: Path) -> None:
    write_scans(tmp_path, 8)
    (tmp_path / "0001.png").rename(tmp_path / unicodedata.normalize("NFD", "é1.png"))
    (tmp_path / "0002.png").rename(tmp_path / unicodedata.normalize("NFD", "ü2.png"))
    edited(tmp_path, "0001.png", unicodedata.normalize("NFC", "é1.png"))
    edited(tmp_path, "0002.png", unicodedata.normalize("NFC", "ü2"))
    edited(tmp_path, "0003.png", " 0003.png ")
    edited(tmp_path, "0004.png", "0004\t")
    assert len(listed(tmp_path).keys) == 8


@pytest.mark.parametrize(
    ("classes", "said"),
    [("healthy", "is not LABEL:CLASS"), ("healthy:a,healthy:b", "healthy is in two classes")],
)
def test_a_malformed_mapping_is_a_usage_error(classes: str, said: str) -> None:
    with pytest.raises(UsageError, match=rf"parameter 'classes' of data 'folder': .*{said}"):
        get_source("folder", {"path": "x", "classes": classes})


def test_classes_of_an_archive(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.npz", arrays(classes=5))
    spec = DataSpec(name="medmnist", size=28)
    found = get_source("medmnist", {"path": str(file), "classes": "0:none,1-4:some"}).catalogue(
        spec
    )
    assert found.classes == ("none", "some")
    assert found.labels.tolist()[:6] == [0, 1, 1, 1, 1, 0]
    with pytest.raises(UsageError, match="'label' and 'classes' both choose the classes"):
        get_source("medmnist", {"path": str(file), "classes": "0:0,1-4:1", "label": "1"})
    with pytest.raises(DataError, match="the label '4' is in no class"):
        get_source("medmnist", {"path": str(file), "classes": "0:0,1-3:1"}).catalogue(spec)


class Stated(Source[Parameters]):
    """A plug-in whose catalogue a test states."""

    stated: Catalogue

    def availability(self) -> Availability:
        return Availability(True, "stated")

    def catalogue(self, spec: DataSpec) -> Catalogue:
        return self.stated

    def decode(
        self, keys: Sequence[int], size: int, channels: int, progress: Progress
    ) -> NDArray[np.uint8]:
        return np.zeros((len(keys), channels, size, size), np.uint8)


def stated(classes: tuple[str, ...], groups: list[object] | None = None) -> Catalogue:
    source = Stated(Parameters())
    count = 10 * len(classes)
    keys = np.arange(count)
    named = keys if groups is None else np.array([groups[key % len(groups)] for key in keys])
    source.stated = Catalogue(
        keys, keys % len(classes), named, classes, np.full(count, ANY), "1", ("a fault",)
    )
    return list_checked(source, SPEC)


def test_a_plugin_may_name_its_patients() -> None:
    assert stated(("a", "b"), ["p", " p", "10", "10.0"]).groups.tolist()[:4] == [0, 0, 1, 1]
    with pytest.raises(DataError, match=r"'p' .*, 'P' "):
        stated(("a", "b"), ["p", "P"])
    with pytest.raises(DataError, match="row 2: the column 'groups' reads 'nan'"):
        stated(("a", "b"), ["p", float("nan")])
    with pytest.raises(PluginError, match="groups of the catalogue is float64"):
        stated(("a", "b"), [0.5, 1.5])


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("disease", "Disease"), "differ only in how they are written"),
        (("a", "a "), "the classes 'a' and 'a ' have the same name"),
        (("0", "0.0"), "the classes '0' and '0.0' have the same name"),
        (("a", "nan"), "the class 'nan' is named as if its label were missing"),
        (tuple(f"c{number}" for number in range(51)), "51 classes, such as 'c0'"),
    ],
)
def test_classes_that_a_plugin_states_are_checked(classes: tuple[str, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        stated(classes)
    assert stated(("none", "mild", "unknown")).classes == ("none", "mild", "unknown")
