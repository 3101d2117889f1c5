"""The partition depends on content, keeps patients whole, and says what it had to leave."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import ImageHashes, load_data
from splitsec.errors import DataError
from splitsec.plugins.data_spec import DataSpec
from splitsec.progress import Silent
from support.dark_photographs import dark_photographs
from support.scans import load_scans, numbers, owners, write_scans
from support.workers import Telling


def cell_of(data: str) -> Cell:
    counts = {"private": 20, "public": 20, "validation": 8, "held_out": 12, "victims": 4}
    settings = [f"counts.{name}={count}" for name, count in counts.items()]
    (cell,) = resolve(
        Request(
            attack="none",
            defense="none",
            target="resnet:depth=18",
            data=data,
            size=16,
            threads=1,
            settings=["training.epochs=1", *settings],
        )
    )
    return cell


def test_a_path_may_be_written_in_any_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = write_scans(tmp_path / "scans")
    shutil.copytree(scans, tmp_path / "elsewhere" / "other name")
    (tmp_path / "linked").symlink_to(scans)
    shutil.copy(scans / "labels.csv", tmp_path / "table.csv")
    monkeypatch.chdir(tmp_path)
    ways = [
        *("scans", "scans/", "./scans", "scans/../scans", str(scans), "linked"),
        *("elsewhere/other name", "scans,csv=./labels.csv", f"scans,csv={scans / 'labels.csv'}"),
        f"scans,csv={tmp_path / 'table.csv'}",
    ]
    found = set()
    for way in ways:
        cell = cell_of(f"folder:path={way}")
        data = load_data(cell.data_spec(), Silent())
        indices = tuple(tuple(part.indices.tolist()) for part in data.parts().values())
        found.add((cell.cell_id(data.sha256), data.sha256, indices))
    assert len(found) == 1


def test_a_data_set_in_its_usual_place_is_the_one_that_a_path_names(data_root: Path) -> None:
    usual = cell_of("retinamnist")
    named = cell_of(f"retinamnist:path={data_root / 'retinamnist' / 'retinamnist.npz'}")
    hashes = {load_data(cell.data_spec(), Silent()).sha256 for cell in (usual, named)}
    assert len(hashes) == 1
    assert usual.cell_id("0") == named.cell_id("0")


def test_other_content_is_another_partition(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "scans")
    before = load_scans(scans)
    write_scans(scans, label=lambda number: ("disease", "healthy")[number % 2])
    assert load_scans(scans).sha256 != before.sha256


def test_patients_that_do_not_fill_the_counts_exactly(tmp_path: Path) -> None:
    """Three images of each patient; 300 are there for 130."""
    write_scans(tmp_path, 300, patient=lambda number: f"p{number // 3}")
    counts = {"private": 50, "public": 50, "validation": 10, "held_out": 20}
    data = load_scans(tmp_path, group_column="patient", **counts)
    found = numbers(data)
    for name, due in [("private-0", 50), ("public", 50), ("validation", 10), ("held-out", 20)]:
        assert 0 < abs(found[name] - due) < 3
        assert f"{found[name]} instead of {due} in the {name} part" in data.disclosures[-1]
        assert sum(data.balance()[name].values()) == found[name]
    assert all(len(names) == 1 for names in owners(data, lambda key: key // 3).values())


def test_counts_that_can_be_filled_exactly_are(tmp_path: Path) -> None:
    write_scans(tmp_path, 300, patient=lambda number: f"p{number // 3}")
    counts = {"private": 60, "public": 60, "validation": 9, "held_out": 21}
    data = load_scans(tmp_path, group_column="patient", clients=2, **counts)
    assert numbers(data) == {
        **{"private-0": 30, "private-1": 30},
        **{"public": 60, "validation": 9, "held-out": 21},
    }
    assert data.disclosures == ()


def test_patients_of_several_sizes_fill_the_counts(tmp_path: Path) -> None:
    starts = np.cumsum(np.tile([1, 2, 3, 4, 5], 10))
    group = np.searchsorted(starts, np.arange(150), side="right")
    write_scans(tmp_path, 150, patient=lambda number: f"p{group[number]}")
    data = load_scans(tmp_path, group_column="patient")
    assert numbers(data) == {"private-0": 20, "public": 20, "validation": 8, "held-out": 12}
    assert all(len(names) == 1 for names in owners(data, lambda key: group[key]).values())


def test_a_part_smaller_than_every_patient_is_not_empty(tmp_path: Path) -> None:
    write_scans(tmp_path, 198, patient=lambda number: f"p{number // 6}")
    data = load_scans(tmp_path, group_column="patient", validation=2)
    assert numbers(data)["validation"] == 6


def test_a_giant_patient_is_passed_over(tmp_path: Path) -> None:
    write_scans(tmp_path, 300, patient=lambda n: f"p{n}" if n < 70 else "giant")
    for seed in range(5):
        data = load_scans(tmp_path, group_column="patient", partition=seed)
        assert sum(numbers(data).values()) == 60
        assert all(part.indices.max() < 70 for part in data.parts().values())


def test_a_giant_patient_that_leaves_too_few_is_named_with_its_size(tmp_path: Path) -> None:
    write_scans(tmp_path, 300, patient=lambda n: f"p{n}" if n < 50 else "giant")
    with pytest.raises(DataError, match=r"the largest group has 250 images; check .*group_column"):
        load_scans(tmp_path, group_column="patient")


def test_a_single_patient(tmp_path: Path) -> None:
    write_scans(tmp_path, 100, patient=lambda number: "only one")
    with pytest.raises(DataError, match=r"only 0 of|largest group has 100"):
        load_scans(tmp_path, group_column="patient")


def test_too_few_images_once_copies_are_left_out(tmp_path: Path) -> None:
    """Images 0 to 20 are one photograph with both labels, so 40 of 61 are left."""
    write_scans(tmp_path, 61, picture=lambda number: max(number, 20))
    with pytest.raises(DataError, match=r"only \d+ of 20 images are left for the \S+ part, once"):
        load_scans(tmp_path)


def test_conflicting_labels_of_copies_are_left_out_and_said(tmp_path: Path) -> None:
    """Images 0 and 1 are one photograph, and so are 2 and 4; labels alternate."""
    same = {1: 0, 4: 2}
    write_scans(tmp_path, 70, picture=lambda number: same.get(number, number))
    data = load_scans(tmp_path, private=26, public=26, validation=6, held_out=10)
    used = {key for part in data.parts().values() for key in part.indices.tolist()}
    assert used == set(range(70)) - {0, 1}
    assert data.disclosures[-1] == (
        "1 photograph has copies with different labels: all 2 copies are left out"
    )
    (note,) = data.notes
    assert note.endswith("with different labels: 0000.png (healthy), 0001.png (disease)")
    told = Telling()
    hashes = ImageHashes(told)
    assert [hashes.of(data.spec) for _ in range(2)] == [data.sha256] * 2
    assert told.messages == [note], "it is said once, and load_data says nothing"


def test_near_copies_with_conflicting_labels(tmp_path: Path) -> None:
    write_scans(tmp_path, 72)
    pixels = np.asarray(Image.open(tmp_path / "0000.png")).astype(int)
    for number in (1, 3):
        changed = np.clip(pixels + number - 2, 0, 255).astype(np.uint8)
        Image.fromarray(changed).save(tmp_path / f"{number:04d}.png")
    data = load_scans(tmp_path, private=26, public=26, validation=6, held_out=11)
    used = {key for part in data.parts().values() for key in part.indices.tolist()}
    assert used == set(range(72)) - {0, 1, 3}
    assert "all 3 copies are left out" in data.disclosures[-1]


def test_labels_of_one_class_of_a_mapping_do_not_conflict(tmp_path: Path) -> None:
    write_scans(
        tmp_path,
        72,
        label=lambda number: str(number % 3),
        picture=lambda number: 1 if number == 2 else number,
    )
    mapped = load_scans(tmp_path, classes="0:none,1-2:some", public=32)
    assert mapped.classes == ("none", "some")
    assert len(mapped.disclosures) == 1, "patients alone"
    kept = load_scans(tmp_path, private=20, public=30)
    assert "copies with different labels" in kept.disclosures[-1]


def test_a_patient_with_two_labels_is_no_conflict(tmp_path: Path) -> None:
    write_scans(tmp_path, 80, patient=lambda number: f"p{number // 2}")
    data = load_scans(tmp_path, group_column="patient")
    assert data.disclosures == ()
    assert sum(numbers(data).values()) == 60


def test_copies_join_patients(tmp_path: Path) -> None:
    """Copies have the same labels and belong to patients 2n and 2n + 1."""
    write_scans(
        tmp_path,
        96,
        label=lambda number: ("healthy", "disease")[number // 2 % 2],
        patient=lambda number: f"p{number // 4}.{number % 2}",
        picture=lambda number: number - 1 if number % 4 == 1 else number,
    )
    data = load_scans(tmp_path, group_column="patient")
    assert all(len(names) == 1 for names in owners(data, lambda key: key // 4).values())


def test_more_images_are_decoded_if_copies_take_the_spare_ones(tmp_path: Path) -> None:
    """Of 400 images 330 are one photograph with both labels, and 60 of the others are needed."""
    write_scans(tmp_path, 400, picture=lambda number: max(number, 329) if number < 330 else number)
    data = load_scans(tmp_path)
    assert sum(numbers(data).values()) == 60
    assert all(part.indices.min() >= 330 for part in data.parts().values())
    assert "all 330 copies are left out" in data.disclosures[-1]


def test_the_tolerance_is_a_parameter(tmp_path: Path) -> None:
    write_scans(tmp_path, 72)
    pixels = np.asarray(Image.open(tmp_path / "0000.png")).astype(int)
    changed = np.clip(pixels + 1, 0, 255).astype(np.uint8)
    Image.fromarray(changed).save(tmp_path / "0001.png")
    assert "copies with different labels" in load_scans(tmp_path).disclosures[-1]
    assert len(load_scans(tmp_path, duplicates=0.5).disclosures) == 1


def test_dark_photographs_are_divided(tmp_path: Path) -> None:
    write_scans(tmp_path, 150)
    for number, image in enumerate(dark_photographs(150, size=48)):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{number:04d}.png")
    counts = {"private": 60, "public": 50, "validation": 10, "held_out": 20}
    data = load_scans(tmp_path, size=32, **counts)
    assert sum(numbers(data).values()) == 140
    assert len(data.disclosures) == 1


def test_the_same_images_at_other_counts_keep_their_order(tmp_path: Path) -> None:
    write_scans(tmp_path, 200, patient=lambda number: f"p{number // 3}")
    few = load_scans(tmp_path, group_column="patient", private=20)
    many = load_scans(tmp_path, group_column="patient", private=60)
    assert few.held_out.indices.tolist() == many.held_out.indices.tolist()
    assert set(few.private[0].indices.tolist()) <= set(many.private[0].indices.tolist())


def test_another_stream_of_phantoms_is_in_another_order() -> None:
    drawn = [
        load_data(DataSpec(parameters={"stream": stream}, size=16, private=8, public=8), Silent())
        for stream in (0, 1)
    ]
    assert drawn[0].private[0].indices.tolist() != drawn[1].private[0].indices.tolist()
