"""A folder with a CSV: each row is one image that is there, or one sentence says which is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from splitsec.data.files import find_images, read_csv
from splitsec.data.loading import load_data
from splitsec.data.unpacked import UnpackedParameters
from splitsec.datasets.diabetic_retinopathy import DiabeticRetinopathy
from splitsec.datasets.folder import FolderParameters, LabelledFolder
from splitsec.errors import DataError, UsageError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.identifiers import Column
from splitsec.plugins.source import Catalogue
from splitsec.progress import Silent
from support.parts import source_parameters

SPEC = DataSpec(name="folder")


def write_folder(root: Path, count: int = 8, size: int = 12) -> pd.DataFrame:
    """Write images 0.png, 1.png ... and return the table of their labels and patients."""
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
    rows = range(count)
    return pd.DataFrame(
        {
            "image": [str(row) for row in rows],
            "label": [str(row % 2) for row in rows],
            "patient": [f"p{row // 2}" for row in rows],
        }
    )


def catalogue_of(root: Path, table: pd.DataFrame, **parameters: Any) -> Catalogue:
    table.to_csv(root / "labels.csv", index=False)
    given = {"path": str(root), "group_column": "patient", **parameters}
    return LabelledFolder(FolderParameters(**given)).catalogue(SPEC)


@pytest.mark.parametrize("column", ["image", "label", "patient"])
@pytest.mark.parametrize(
    ("value", "said"),
    [("", "is empty"), ("  ", "is empty"), ("nan", "reads 'nan'"), ("NA", "reads 'NA', as if")],
)
def test_a_gap_is_an_error_and_not_a_giant_patient(
    column: str, value: str, said: str, tmp_path: Path
) -> None:
    table = write_folder(tmp_path)
    table.loc[3, column] = value
    with pytest.raises(DataError, match=rf"labels\.csv, row 5: the column '{column}' {said}"):
        catalogue_of(tmp_path, table)


def test_columns_that_are_not_used_may_have_gaps(tmp_path: Path) -> None:
    table = write_folder(tmp_path)
    table.loc[3, "patient"] = ""
    assert len(np.unique(catalogue_of(tmp_path, table, group_column="").groups)) == 8
    table.loc[3, "patient"] = "nobody"
    assert len(np.unique(catalogue_of(tmp_path, table).groups)) == 5


def test_two_files_of_one_stem_need_their_extension(tmp_path: Path) -> None:
    table = write_folder(tmp_path)
    Image.new("RGB", (9, 9)).save(tmp_path / "3.jpeg")
    with pytest.raises(DataError, match=r"row 5: '3' may be 3\.jpeg and 3\.png; add the exten"):
        catalogue_of(tmp_path, table)
    table.loc[3, "image"] = "3.png"
    assert len(catalogue_of(tmp_path, table).keys) == 8


@pytest.mark.parametrize("name", ["2", "2.png"])
def test_an_image_in_two_rows_is_an_error(name: str, tmp_path: Path) -> None:
    table = write_folder(tmp_path)
    table.loc[5, "image"] = name
    with pytest.raises(DataError, match=r"row 7: 2\.png is named in row 4 already"):
        catalogue_of(tmp_path, table)


def test_names_with_and_without_extension_and_in_other_folders(tmp_path: Path) -> None:
    write_folder(tmp_path, 3)
    (tmp_path / "other").mkdir()
    (tmp_path / "1.png").rename(tmp_path / "other" / "1.png")
    (tmp_path / "2.png").rename(tmp_path / "2.PNG")
    names = ["0", "other/1.png", "2"]
    found = find_images(tmp_path, Column("labels.csv", "image", names))
    assert [str(path.relative_to(tmp_path)) for path in found] == ["0.png", "other/1.png", "2.PNG"]


def test_a_folder_or_a_dead_link_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "0.png").mkdir()
    (tmp_path / "1.png").symlink_to(tmp_path / "nowhere")
    for name in ("0", "0.png", "1", "1.png", "..", "a\0b", "x" * 5000):
        with pytest.raises(DataError, match=r"there is no image|File name too long|as if missing"):
            find_images(tmp_path, Column("labels.csv", "image", [name]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot read the CSV .*: No columns to parse"),
        ("image,label\nMüller,1\n".encode("latin-1"), "it is not text in UTF-8"),
        ("image,label\n0,1\n".encode("utf-16"), "it is not text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "it is not text in UTF-8"),
        (b"image,label\n0,1\n1,0,7,7\n", "cannot read the CSV .*: Error tokenizing data"),
        (b"image,label\n0,1,2\n1,0,2\n", "has rows of more fields than its header"),
        (b"image;label\n0;1\n", "has no column 'image'; its columns are image;label"),
        (b"image,label\n", "has no rows"),
    ],
)
def test_a_csv_of_something_else(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=said) as raised:
        read_csv(tmp_path / "labels.csv", ["image", "label"])
    assert "\n" not in str(raised.value)


def test_a_csv_with_a_byte_order_mark(tmp_path: Path) -> None:
    text = write_folder(tmp_path).to_csv(index=False)
    (tmp_path / "marked.csv").write_text(text, encoding="utf-8-sig")
    given = FolderParameters(path=str(tmp_path), csv="marked.csv", group_column="patient")
    assert LabelledFolder(given).catalogue(SPEC).classes == ("0", "1")


@pytest.mark.parametrize("name", ["labels.csv.gz", "labels.csv.zip", "labels.csv.xz"])
def test_a_compressed_csv_that_is_none(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\0 PK garbage")
    with pytest.raises(DataError, match="cannot read the CSV"):
        read_csv(tmp_path / name, ["image"])


def test_paths_that_are_not_what_is_due(tmp_path: Path) -> None:
    table = write_folder(tmp_path)
    (tmp_path / "sub.csv").mkdir()
    with pytest.raises(DataError, match=r"cannot read the CSV .*sub\.csv: Is a directory|Perm"):
        catalogue_of(tmp_path, table, csv="sub.csv")
    with pytest.raises(DataError, match=r"cannot read the CSV .*: Not a directory|no CSV"):
        LabelledFolder(FolderParameters(path=str(tmp_path / "0.png"))).catalogue(SPEC)
    with pytest.raises(DataError, match="there is no CSV at"):
        LabelledFolder(FolderParameters(path=str(tmp_path / "none"))).catalogue(SPEC)
    with pytest.raises(DataError, match=r"cannot read the folder .*: No such file"):
        catalogue_of(tmp_path, table, path=str(tmp_path / "none"), csv=str(tmp_path / "labels.csv"))
    with pytest.raises(UsageError, match="'~nobody-of-this-name' begins with the name of an unkn"):
        LabelledFolder(FolderParameters(path="~nobody-of-this-name")).catalogue(SPEC)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads anything")
@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("labels.csv", 0, r"cannot read the CSV .*labels\.csv: Permission denied"),
        ("", 0o300, "cannot read the folder .*: Permission denied"),
        ("", 0o600, "Permission denied"),
    ],
)
def test_no_permission(name: str, mode: int, said: str, tmp_path: Path) -> None:
    table = write_folder(tmp_path)
    catalogue_of(tmp_path, table)
    (tmp_path / name).chmod(mode)
    try:
        with pytest.raises(DataError, match=said):
            LabelledFolder(FolderParameters(path=str(tmp_path))).catalogue(SPEC)
    finally:
        (tmp_path / name).chmod(0o700)


def test_images_of_one_pixel_can_be_used(tmp_path: Path) -> None:
    rows = []
    for index in range(24):
        Image.new("RGB", (1, 1), (index * 10, 0, 0)).save(tmp_path / f"{index}.png")
        rows.append({"image": f"{index}.png", "label": index % 2})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    counts = {"private": 6, "public": 4, "validation": 2, "held_out": 4, "size": 8}
    given = source_parameters("folder", {"path": str(tmp_path)})
    data = load_data(DataSpec(name="folder", parameters=given, **counts), Silent())
    assert data.private[0].images.shape == (6, 3, 8, 8)


def kaggle(root: Path, table: pd.DataFrame) -> Catalogue:
    """Catalogue the Kaggle layout, with an image for each row."""
    images = root / "resized_train_cropped" / "resized_train_cropped"
    images.mkdir(parents=True, exist_ok=True)
    for name in table["image"]:
        (images / f"{name}.jpeg").touch()
    table.to_csv(root / "trainLabels_cropped.csv", index=False)
    given = UnpackedParameters(path=str(root))
    return DiabeticRetinopathy(given).catalogue(DataSpec(name="diabetic-retinopathy"))


def test_kaggle_images_without_a_patient_are_disclosed(tmp_path: Path) -> None:
    names = ["10_left", "10_right", "11_left", "11_right", "scan", "other"]
    table = pd.DataFrame({"image": names, "level": [0, 1, 2, 3, 4, 0]})
    found = kaggle(tmp_path, table)
    assert found.groups.tolist() == [0, 0, 1, 1, 2, 3]
    assert found.labels.tolist() == [0, 1, 1, 1, 1, 0]
    assert found.disclosures[0].startswith("2 images are not named after a patient and an eye")
    assert kaggle(tmp_path, table.head(4)).disclosures == ()


@pytest.mark.parametrize("level", ["5", "-1", "1.5", "mild", "inf"])
def test_kaggle_levels_that_are_no_grades(level: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"image": ["10_left", "10_right"], "level": ["0", level]})
    with pytest.raises(DataError, match=rf"row 3: level '{level}' is not a grade of 0 to 4"):
        kaggle(tmp_path, table)


def test_kaggle_gaps_twice_named_images_and_one_class(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": ["10_left", "10_right"], "level": ["0", ""]})
    with pytest.raises(DataError, match="row 3: the column 'level' is empty"):
        kaggle(tmp_path, table)
    table = pd.DataFrame({"image": ["10_left", "10_left"], "level": [0, 1]})
    with pytest.raises(DataError, match=r"row 3: 10_left\.jpeg is named in row 2 already"):
        kaggle(tmp_path, table)
    table = pd.DataFrame({"image": ["10_left", "10_right"], "level": [1, 2]})
    with pytest.raises(DataError, match="all images are of one class"):
        kaggle(tmp_path, table)
