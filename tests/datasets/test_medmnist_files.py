"""Files in MedMNIST's layout: what they may hold, and one sentence for what they do not."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitsec.data.sources import get_source
from splitsec.datasets.medmnist.sets import set_of
from splitsec.errors import DataError, UsageError
from splitsec.progress import Silent
from support.medmnist import COUNTS, Arrays, arrays, catalogue, spec, write


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labels", [np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("flat", [True, False])
def test_layouts(tmp_path: Path, channels: int, labels: type[Any], flat: bool) -> None:
    held = arrays(40, channels, classes=3)
    for split in COUNTS:
        given = held[f"{split}_labels"].astype(labels)
        held[f"{split}_labels"] = given[:, 0] if flat else given
    source = get_source("medmnist", {"path": str(write(tmp_path / "mine.npz", held))})
    listed = source.catalogue(spec(40))
    expected = np.concatenate([np.arange(count) % 3 for count in COUNTS.values()])
    assert np.array_equal(listed.labels, expected)
    assert listed.labels.dtype == np.int64
    assert listed.classes == ("0", "1", "2")
    assert listed.pools.tolist() == ["train"] * 12 + ["validation"] * 4 + ["test"] * 6
    decoded = source.decode(listed.keys.tolist(), 40, channels, Silent())
    stored = np.concatenate([held[f"{split}_images"] for split in COUNTS])
    as_maps = stored[:, None] if channels == 1 else stored.transpose(0, 3, 1, 2)
    assert np.array_equal(decoded, as_maps)


def test_images_are_read_by_key(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.npz")
    source = get_source("medmnist", {"path": str(file)})
    whole = source.decode(range(22), 28, 1, Silent())
    keys = [21, 3, 12, 15, 3, 0]
    assert np.array_equal(source.decode(keys, 28, 1, Silent()), whole[keys])
    assert source.decode([], 28, 1, Silent()).shape == (0, 1, 28, 28)


def test_classes_and_findings(tmp_path: Path) -> None:
    derma = write(tmp_path / "dermamnist.npz", arrays(channels=3, classes=7))
    for label in ("melanoma", "4"):
        listed = catalogue(path=str(derma), label=label)
        assert listed.classes == ("not melanoma", "melanoma")
        assert np.flatnonzero(listed.labels).tolist() == [4, 11, 20]
    with pytest.raises(UsageError, match=r"DermaMNIST has no class 'mole'; .* 4 melanoma, 5"):
        catalogue(path=str(derma), label="mole")
    held = arrays()
    for split, count in COUNTS.items():
        held[f"{split}_labels"] = np.eye(14, dtype=np.uint8)[np.arange(count)]
    for name, classes in (("chestmnist", ("not pneumonia", "pneumonia")), ("my", ("not 6", "6"))):
        file = write(tmp_path / f"{name}.npz", held)
        listed = catalogue(path=str(file), label="6")
        assert listed.classes == classes
        assert np.flatnonzero(listed.labels).tolist() == [6]
        with pytest.raises(UsageError, match=r"may name several findings .* choose the one"):
            catalogue(path=str(file))


def test_disclosures(tmp_path: Path) -> None:
    ours = catalogue(path=str(write(tmp_path / "octmnist.npz"))).disclosures
    assert len(ours) == 3
    assert "one patient" in ours[0]
    stated = set_of("octmnist").md5[28]
    assert ours[2].startswith("octmnist.npz is not the file that MedMNIST publishes as OCTMNIST: ")
    assert ours[2].endswith(f", not {stated}")
    odd = catalogue(path=str(write(tmp_path / "octmnist.npz", arrays(30)))).disclosures
    assert odd[2].endswith("and there is no official one of 30 px")
    mine = catalogue(path=str(write(tmp_path / "mine.npz"))).disclosures
    assert mine[2].startswith("mine is no set of MedMNIST: its classes are called by their numbers")


def splits(name: str, of: Any) -> Arrays:
    return {f"{split}_{name}": of(count) for split, count in COUNTS.items()}


LAYOUT = "mnist.npz is not a set in MedMNIST's layout: "
WRONG: dict[str, tuple[Arrays, str]] = {
    "volumes": (
        splits("images", lambda n: np.zeros((n, 28, 28, 28), np.uint8)),
        "train_images is uint8 of shape .12, 28, 28, 28., not uint8 of .*; these look like volumes",
    ),
    "colour volumes": (
        splits("images", lambda n: np.zeros((n, 9, 8, 8, 3), np.uint8)),
        "these look like volumes, and only 2D sets can be used",
    ),
    "transparent": (
        splits("images", lambda n: np.zeros((n, 28, 28, 4), np.uint8)),
        r"not uint8 of \(N, height, width\) or \(N, height, width, 3\)$",
    ),
    "vectors": (splits("images", lambda n: np.zeros((n, 784), np.uint8)), "not uint8 of"),
    "floats": (splits("images", lambda n: np.zeros((n, 28, 28))), "train_images is float64 of"),
    "no height": (splits("images", lambda n: np.zeros((n, 0, 28), np.uint8)), "not uint8 of"),
    "other size": ({"val_images": np.zeros((4, 30, 30), np.uint8)}, "images of different sizes"),
    "colour in one": (
        {"val_images": np.zeros((4, 28, 28, 3), np.uint8)},
        "images of different sizes",
    ),
    "too few labels": ({"val_labels": np.zeros(3)}, "val has 4 images and 3 labels"),
    "one label": ({"val_labels": np.array(1)}, "val has 4 images and 1 labels"),
    "negative": ({"val_labels": np.array([0, -1, 0, 0])}, r"val_labels holds -1 \(row 1\), which"),
    "ages": (splits("labels", lambda n: np.arange(n) * 500), r"holds 1000 \(row 2\), .* 0 to 999"),
    "halves": ({"val_labels": np.array([0, 0, 0.5, 1])}, r"val_labels holds 0\.5 \(row 2\)"),
    "counts of findings": (
        splits("labels", lambda n: np.full((n, 3), 2)),
        r"train_labels holds 2 \(row 0\), which is not one of 0 to 1",
    ),
    "findings in one": ({"val_labels": np.zeros((4, 3))}, "different numbers of labels per image"),
    "text": ({"val_labels": np.array(["a"] * 4)}, "val_labels is <U1, not whole numbers"),
    "one class": (splits("labels", np.zeros), "all images are of one class, '0'; two are needed"),
    "objects": (
        {"val_labels": np.array([None] * 4)},
        f"{LAYOUT}val_labels holds Python objects, which are not read; replace it, or delete it",
    ),
    "records": (
        {"val_labels": np.zeros(4, [("a", "u1")])},
        r"val_labels is \[\('a', 'u1'\)\], not whole numbers",
    ),
}


@pytest.mark.parametrize(("changed", "said"), WRONG.values(), ids=WRONG)
def test_wrong_contents_are_named(changed: Arrays, said: str, tmp_path: Path) -> None:
    file = write(tmp_path / "mnist.npz", arrays() | changed)
    with pytest.raises(DataError, match=said) as raised:
        catalogue(path=str(file))
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


OF_A_SET = {
    "colour for grey": (
        "octmnist",
        arrays(channels=3),
        r"images is .* not uint8 of \(N, height, width\)$",
    ),
    "grey for colour": (
        "pathmnist",
        arrays(),
        r"images is .* not uint8 of \(N, height, width, 3\)$",
    ),
    "a fifth class": (
        "octmnist",
        arrays(classes=5),
        r"labels holds 4 \(row 4\), which is not one of 0 to 3",
    ),
    "one finding": ("chestmnist", arrays(), r"labels is of shape \(12, 1\), not \(N, 14\)"),
}


@pytest.mark.parametrize(("name", "held", "said"), OF_A_SET.values(), ids=OF_A_SET)
def test_a_file_of_another_set_is_named(name: str, held: Arrays, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{name}\.npz: train_{said}"):
        catalogue(path=str(write(tmp_path / f"{name}.npz", held)))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut short", "half", "tail"])
def test_damaged_files(content: bytes | str, tmp_path: Path) -> None:
    file = write(tmp_path / "mnist.npz")
    whole = file.read_bytes()
    cuts = {"half": whole[: len(whole) // 2], "tail": whole[:-30]}
    file.write_bytes(content if isinstance(content, bytes) else cuts[content])
    with pytest.raises(DataError, match=rf"{LAYOUT}.+; replace it, or delete it"):
        catalogue(path=str(file))


def test_a_missing_array(tmp_path: Path) -> None:
    held = arrays()
    del held["val_images"]
    with pytest.raises(DataError, match=f"{LAYOUT}it has no array val_images; replace"):
        catalogue(path=str(write(tmp_path / "mnist.npz", held)))


def test_images_that_are_damaged_behind_the_last_one_that_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mnist.npz"
    np.savez(file, **arrays())  # stored, so that a wrong bit is nothing but a wrong bit
    content = bytearray(file.read_bytes())
    end = content.find(arrays()["train_images"][-1].tobytes())
    content[end + 3] ^= 1
    file.write_bytes(content)
    source = get_source("medmnist", {"path": str(file)})
    keys = source.catalogue(spec()).keys[:2].tolist()
    with pytest.raises(DataError, match=f"{LAYOUT}Bad CRC-32 .*; replace it"):
        source.decode(keys, 28, 1, Silent())


# How it is read


def test_memory_holds_the_images_that_are_wanted_and_no_others(tmp_path: Path) -> None:
    held = splits("images", lambda n: np.zeros((100 * n, 224, 224), np.uint8))
    held |= splits("labels", lambda n: np.arange(100 * n) % 2)
    stored_bytes = sum(array.nbytes for array in held.values())
    source = get_source("medmnist", {"path": str(write(tmp_path / "mine.npz", held))})
    del held
    tracemalloc.start()
    try:
        keys = source.catalogue(spec(224)).keys[::500].tolist()
        source.decode(keys, 224, 1, Silent())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stored_bytes > 100e6
    assert peak_bytes < 6e6
