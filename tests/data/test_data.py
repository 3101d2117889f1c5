"""Sources, partition and cache: no image in two parts, and one sentence for what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from splitsec.data import loading
from splitsec.data.duplicates import group_copies
from splitsec.data.loading import load_data
from splitsec.errors import DataError, UsageError
from splitsec.folders import cache_folder
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.loading import list_plugins
from splitsec.plugins.source import decode_checked
from splitsec.progress import Silent
from support.parts import source_parameters
from support.workers import Telling

SMALL = {"private": 12, "public": 10, "validation": 4, "held_out": 6}


def spec_of(name: str, parameters: dict[str, Any] | None = None, **values: Any) -> DataSpec:
    resolved = source_parameters(name, parameters or {})
    return DataSpec(name=name, parameters=resolved, **{"size": 16, **SMALL, **values})


def write_image(path: Path, seed: int, size: int = 20) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty images of twenty patients, with a CSV."""
    rows = []
    for index in range(40):
        write_image(tmp_path / f"{index}.png", index)
        rows.append({"image": str(index), "label": index % 2, "patient": index // 2})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def from_folder(folder: Path, progress: Any = None, **values: Any) -> Any:
    parameters = {"path": str(folder), "group_column": "patient"}
    parameters |= values.pop("parameters", {})
    return load_data(spec_of("folder", parameters, **values), progress or Silent())


def assert_disjoint(data: Any) -> None:
    indices = [part.indices for part in data.parts().values()]
    together = np.concatenate(indices)
    assert len(np.unique(together)) == len(together)
    counts = {name: len(part) for name, part in data.parts().items()}
    assert sum(n for name, n in counts.items() if name.startswith("private")) == data.spec.private
    assert counts["public"] == data.spec.public
    assert counts["held-out"] == data.spec.held_out
    assert counts["validation"] == data.spec.validation


@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("public_from", ["same", "shifted"])
def test_phantom_parts_are_disjoint(clients: int, public_from: str) -> None:
    data = load_data(spec_of("phantom-fundus", clients=clients, public_from=public_from), Silent())
    assert_disjoint(data)
    assert len(data.private) == clients
    for part in data.parts().values():
        assert len(np.unique(part.labels)) == 2
    images = data.public.all()
    assert images.shape == (10, 3, 16, 16)
    assert 0 <= images.min() < images.max() <= 1


def test_the_partition_depends_on_its_seed_and_on_nothing_of_the_cell() -> None:
    first, again, other = (
        load_data(spec_of("phantom-fundus", partition=seed), Silent()) for seed in (0, 0, 1)
    )
    assert first.sha256 == again.sha256 != other.sha256
    np.testing.assert_array_equal(first.private[0].indices, again.private[0].indices)


def test_size_and_channels_keep_the_partition() -> None:
    small = load_data(spec_of("phantom-fundus"), Silent())
    grey = load_data(spec_of("phantom-fundus", channels=1, size=24), Silent())
    np.testing.assert_array_equal(small.held_out.indices, grey.held_out.indices)
    assert grey.held_out.all().shape == (6, 1, 24, 24)


def test_more_images_or_clients_keep_the_images_that_were_there(folder: Path) -> None:
    def indices(**values: Any) -> dict[str, list[int]]:
        data = from_folder(folder, public=0, **values)
        return {part: one.indices.tolist() for part, one in data.parts().items()}

    few = indices(private=6)
    many = indices(private=18, clients=3)
    assert few["held-out"] == many["held-out"]
    assert few["validation"] == many["validation"]
    assert few["private-0"] == many["private-0"]


def test_patients_stay_together(folder: Path) -> None:
    data = from_folder(folder)
    assert_disjoint(data)
    owners: dict[int, set[str]] = {}
    for name, part in data.parts().items():
        for index in part.indices.tolist():
            owners.setdefault(index // 2, set()).add(name)
    assert all(len(names) == 1 for names in owners.values())


def test_near_and_exact_duplicates_stay_together(folder: Path) -> None:
    for index in range(0, 40, 4):
        original = np.asarray(Image.open(folder / f"{index}.png")).astype(int)
        changed = np.clip(original + (index % 8 > 3), 0, 255).astype(np.uint8)
        Image.fromarray(changed).save(folder / f"{index + 2}.png")
    data = from_folder(folder, parameters={"group_column": ""})
    owners: dict[int, set[str]] = {}
    for name, part in data.parts().items():
        for index in part.indices.tolist():
            pair = index - 2 if index % 4 == 2 else index
            owners.setdefault(pair, set()).add(name)
    assert all(len(names) == 1 for names in owners.values())


def test_unlike_images_are_not_merged() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
    assert len(np.unique(group_copies(images, 4.0))) == 30
    images[7] = images[3]
    merged = group_copies(images, 4.0)
    assert merged[7] == merged[3]
    assert len(np.unique(merged)) == 29


def test_retinamnist_uses_the_publishers_test_split_for_victims(data_root: Path) -> None:
    data = load_data(
        DataSpec(name="retinamnist", parameters=source_parameters("retinamnist", {})), Silent()
    )
    assert_disjoint(data)
    assert (data.private[0].indices < 1080).all()
    assert (data.public.indices < 1080).all()
    assert ((data.validation.indices >= 1080) & (data.validation.indices < 1200)).all()
    assert (data.held_out.indices >= 1200).all()
    assert data.classes == ("no retinopathy", "retinopathy")
    assert "patients" in data.disclosures[0]
    everything = np.concatenate([part.images for part in data.parts().values()])
    owner = np.concatenate(
        [np.full(len(part), number) for number, part in enumerate(data.parts().values())]
    )
    groups = group_copies(everything, 4.0)
    for group in np.unique(groups):
        assert len(np.unique(owner[groups == group])) == 1


def test_the_cache_gives_the_same_images_and_is_used(folder: Path) -> None:
    fresh = from_folder(folder)
    files = sorted((cache_folder() / "images").glob("*.npy"))
    written = {file: file.stat().st_mtime_ns for file in files}
    cached = from_folder(folder)
    assert fresh.sha256 == cached.sha256
    assert {file: file.stat().st_mtime_ns for file in files} == written


def test_only_the_files_that_are_needed_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large folder, most files are in no part."""
    for index in range(40, 400):
        write_image(folder / f"{index}.png", index)
    rows = [{"image": str(one), "label": one % 2, "patient": one // 2} for one in range(400)]
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    spec = {"private": 4, "public": 4, "validation": 2, "held_out": 4}
    read: set[Path] = set()

    def sha256_of(file: Path) -> str:
        read.add(file)
        return hashlib.sha256(file.read_bytes()).hexdigest()

    monkeypatch.setattr("splitsec.data.content_hashes.sha256_of", sha256_of)
    data = from_folder(folder, **spec)
    assert {name for part in data.parts().values() for name in part.names} <= {
        file.name for file in read
    }
    assert len(read) < 40
    for file in set(folder.glob("*.png")) - read:
        file.write_bytes(b"damaged")
    assert from_folder(folder, **spec).sha256 == data.sha256


def test_files_are_decoded_in_portions_and_what_has_none_at_once(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path_factory.mktemp("own")))
    monkeypatch.setattr(loading, "PORTION", 15)
    counts: list[int] = []

    def decode(source: Any, keys: Sequence[int], *others: Any) -> Any:
        counts.append(len(keys))
        return decode_checked(source, keys, *others)

    monkeypatch.setattr(loading, "decode_checked", decode)
    assert_disjoint(from_folder(folder))
    assert counts == [15, 15, 10]
    counts.clear()
    load_data(spec_of("phantom-fundus"), Silent())
    assert len(counts) == 1


def test_a_changed_image_is_decoded_again(folder: Path) -> None:
    before = from_folder(folder)
    for index in range(40):
        write_image(folder / f"{index}.png", index + 100)
    assert from_folder(folder).sha256 != before.sha256


def test_a_damaged_cache_is_reported_and_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "own"))
    fresh = from_folder(folder)
    (file,) = (tmp_path / "own" / "images").glob("*.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 0xFF
    file.write_bytes(content)
    told = Telling()
    assert from_folder(folder, told).sha256 == fresh.sha256
    assert any("is damaged" in message for message in told.messages)
    file.write_bytes(content[: len(content) // 2])
    assert from_folder(folder).sha256 == fresh.sha256


def test_a_cache_that_cannot_be_written_is_said_and_done_without(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    monkeypatch.setenv("SPLITSEC_CACHE", str(blocked))
    told = Telling()
    assert_disjoint(from_folder(folder, told))
    assert any("cannot be written" in message for message in told.messages)


def test_a_row_without_a_file(folder: Path) -> None:
    (folder / "7.png").unlink()
    with pytest.raises(DataError, match=r"labels.csv, row 9: there is no image '7'"):
        from_folder(folder)


def test_a_truncated_image(folder: Path) -> None:
    for index in range(40):
        content = (folder / f"{index}.png").read_bytes()
        (folder / f"{index}.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cannot read the image .*\d+\.png"):
        from_folder(folder)


def test_what_is_wrong_with_a_csv(folder: Path) -> None:
    csv = folder / "labels.csv"
    table = pd.read_csv(csv)
    table.rename(columns={"label": "grade"}).to_csv(csv, index=False)
    with pytest.raises(DataError, match="has no column 'label'; its columns are image, grade"):
        from_folder(folder)
    table.assign(label=1).to_csv(csv, index=False)
    with pytest.raises(DataError, match="all images are of one class"):
        from_folder(folder)
    table.head(0).to_csv(csv, index=False)
    with pytest.raises(DataError, match="has no rows"):
        from_folder(folder)
    csv.unlink()
    with pytest.raises(DataError, match="there is no CSV"):
        from_folder(folder)


def test_too_few_images(folder: Path) -> None:
    with pytest.raises(DataError, match="has 40 images, but the partition needs 520"):
        from_folder(folder, private=500)


def test_a_folder_needs_a_path() -> None:
    with pytest.raises(UsageError, match="needs a path"):
        load_data(spec_of("folder"), Silent())


def test_no_second_population(folder: Path) -> None:
    with pytest.raises(UsageError, match="no second population"):
        from_folder(folder, public_from="shifted")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_corrupt_npz(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "retinamnist.npz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"retinamnist\.npz is not RetinaMNIST"):
        load_data(spec_of("retinamnist", {"path": str(file)}), Silent())


def test_an_npz_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "retinamnist.npz"
    np.savez(file, train_images=np.zeros((2, 28, 28)))
    with pytest.raises(DataError, match="is not RetinaMNIST"):
        load_data(spec_of("retinamnist", {"path": str(file)}), Silent())
    with pytest.raises(DataError, match="there is no"):
        load_data(spec_of("retinamnist", {"path": str(tmp_path / "none.npz")}), Silent())


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    """The layout of diabetic-retinopathy-resized: sixty patients, two eyes each."""
    images = tmp_path / "resized_train_cropped" / "resized_train_cropped"
    images.mkdir(parents=True)
    rows = []
    for patient in range(60):
        for eye in ("left", "right"):
            name = f"{patient}_{eye}"
            write_image(images / f"{name}.jpeg", patient * 2 + (eye == "left"))
            rows.append({"image": name, "level": 0 if patient % 3 else 1 + patient % 4})
    pd.DataFrame(rows).to_csv(tmp_path / "trainLabels_cropped.csv")
    return tmp_path


def test_kaggle_patients_stay_together_and_classes_are_equal(kaggle: Path) -> None:
    data = load_data(spec_of("diabetic-retinopathy", {"path": str(kaggle)}), Silent())
    assert_disjoint(data)
    owners: dict[int, set[str]] = {}
    for name, part in data.parts().items():
        for index in part.indices.tolist():
            owners.setdefault(index // 2, set()).add(name)
    assert all(len(names) == 1 for names in owners.values())
    labels = np.concatenate([part.labels for part in data.parts().values()])
    assert abs(labels.mean() - 0.5) < 0.1, "a third of the patients are ill, sampled to a half"


def test_kaggle_layout_errors(kaggle: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="unpack Kaggle's"):
        load_data(spec_of("diabetic-retinopathy", {"path": str(empty)}), Silent())
    csv = kaggle / "trainLabels_cropped.csv"
    table = pd.read_csv(csv)
    table["level"] = table["level"].astype(object)
    table.loc[3, "level"] = "mild"
    table.to_csv(csv, index=False)
    with pytest.raises(DataError, match="row 5: level 'mild' is not a grade"):
        load_data(spec_of("diabetic-retinopathy", {"path": str(kaggle)}), Silent())
    csv.unlink()
    with pytest.raises(DataError, match=r"no trainLabels\*\.csv"):
        load_data(spec_of("diabetic-retinopathy", {"path": str(kaggle)}), Silent())


def test_unknown_source() -> None:
    with pytest.raises(UsageError, match="unknown data 'retinamist'; did you mean 'retinamnist'"):
        source_parameters("retinamist", {})
    assert {one.name for one in list_plugins("data")} == {
        "phantom-fundus",
        "phantom-cxr",
        "medmnist",
        "retinamnist",
        "diabetic-retinopathy",
        "lung-segmentation",
        "folder",
        "recorded",
    }
