"""What is found in a data set before any run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitsec.cli import run
from splitsec.cli.inspection_page import page_of
from splitsec.data.inspection import Inspection, inspect_data
from splitsec.plugins.data_spec import DataSpec
from splitsec.progress import Silent
from support.hostile import HOSTILE
from support.parts import source_parameters
from support.scans import alternate, write_scans


def inspected(folder: Path, **given: str) -> Inspection:
    parameters = source_parameters("folder", {"path": str(folder), **given})
    return inspect_data(DataSpec(name="folder", parameters=parameters, size=16), Silent())


def draw(file: Path, pixels: object, mode: str = "RGB") -> None:
    Image.fromarray(np.asarray(pixels, np.uint8)).convert(mode).save(file)


def test_classes_patients_and_sizes_are_counted(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "scans", 40, patient=lambda number: f"p{number // 2}")
    found = inspected(folder, group_column="patient")
    assert (found.images, found.patients) == (40, 20)
    assert found.classes == {"disease": 20, "healthy": 20}
    assert found.images_per_patient == (2, 2.0, 2)
    assert found.sizes == {"16 x 16": 40}
    assert found.modes == {"RGB": 40}
    assert found.warnings == ()


def test_copies_and_their_conflicts_are_named_with_pictures(tmp_path: Path) -> None:
    def picture(number: int) -> int:
        return {7: 3, 9: 3, 11: 4}.get(number, number)

    found = inspected(write_scans(tmp_path / "scans", 40, picture=picture))
    first, second = found.copies
    assert first.conflicting, "conflicts come first"
    assert set(first.names) == {"0004.png", "0011.png"}
    assert set(first.labels) == {"healthy", "disease"}
    assert set(second.names) == {"0003.png", "0007.png", "0009.png"}
    assert not second.conflicting
    assert {*first.rows, *second.rows} <= found.pictures.keys()
    assert any("1 photographs have copies with different labels" in one for one in found.warnings)
    assert any("3 images are copies of others" in one for one in found.warnings)
    page = page_of(found)
    assert page.count("data:image/png;base64,") == 5
    assert not re.search(r"src='(?!data:)", page)


def test_images_that_show_nothing_are_named(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "scans", 30)
    draw(folder / "0001.png", np.full((16, 16, 3), 90))
    dark = np.zeros((16, 16, 3))
    dark[4:6, 4:6] = 200
    draw(folder / "0002.png", dark)
    draw(folder / "0003.png", 255 - dark)
    found = inspected(folder)
    assert found.flat == ("0001.png",)
    assert found.dark == ("0002.png",)
    assert found.light == ("0003.png",)
    assert any("1 images show a single grey level: 0001.png" in one for one in found.warnings)


def test_files_of_several_kinds_are_said(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "scans", 30)
    generator = np.random.default_rng(0)
    draw(folder / "0005.png", generator.integers(0, 256, (16, 40, 3)), "L")
    found = inspected(folder)
    assert found.sizes == {"16 x 16": 29, "40 x 16": 1}
    assert found.modes == {"RGB": 29, "L": 1}
    assert found.grey == 1
    said = " ".join(found.warnings)
    assert "width / height is 1.00 to 2.50" in said
    assert "stored in several modes (29 RGB, 1 L)" in said


def test_rare_classes_and_grey_sets_are_said(tmp_path: Path) -> None:
    folder = write_scans(
        tmp_path / "scans", 40, label=lambda number: "rare" if number < 3 else alternate(number)
    )
    generator = np.random.default_rng(1)
    for file in folder.glob("*.png"):
        draw(file, generator.integers(0, 256, (16, 16)))
    said = " ".join(inspected(folder).warnings)
    assert "few images of a class: 3 of 'rare'" in said
    assert "all images are grey" in said


def test_masks_are_measured(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    generator = np.random.default_rng(2)
    for number in range(6):
        draw(images / f"{number}.png", generator.integers(0, 256, (16, 16, 3)))
        mask = np.zeros((16, 16))
        mask[: 2 * number, :] = 255
        draw(masks / f"{number}.png", mask, "L")
    found = inspected(images, csv="", masks=str(masks), mask_values="255")
    assert found.mask_share == pytest.approx((0.0, 5 / 16, 10 / 16))
    assert found.empty_masks == ("0.png",)
    assert found.classes == {}
    assert "They cover 0.0% to 62.5% of an image, 31.2% in the median" in page_of(found)


def test_the_command_writes_a_page_or_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scans(tmp_path / "scans", 30)
    monkeypatch.chdir(tmp_path)
    assert run(["inspect", "folder:path=scans", "--size", "16"]) == 0
    assert "name the column of patients" in capsys.readouterr().out
    assert "30 images" in (tmp_path / "inspection.html").read_text()
    assert run(["inspect", "folder:path=scans", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 30


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["folder"], "needs a path"),
        (["folder:path=nowhere"], "nowhere"),
        (["retinamnis"], "did you mean 'retinamnist'"),
        (["folder:path=scans,retinamnist"], "inspect one at a time"),
        (["folder:path=scans", "-o", "page.txt"], "the page is a .html file"),
        (["folder:path=scans,label_column=x"], "'x'"),
    ],
)
def test_what_is_wrong_is_a_sentence(
    words: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_scans(tmp_path / "scans", 30)
    monkeypatch.chdir(tmp_path)
    assert run(["inspect", *words]) == 4
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_text_is_data(name: str, tmp_path: Path) -> None:
    found = inspected(write_scans(tmp_path / "scans", 12))
    hostile = Inspection(**{**vars(found), "name": name, "warnings": (name,)})
    page = page_of(hostile)
    assert "<script" not in page
    assert "<img src=x" not in page
