"""MedMNIST: which file is read, what its arrays may be, and one sentence for what they are not."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import load_data
from splitsec.data.sources import get_source
from splitsec.datasets.medmnist import source
from splitsec.datasets.medmnist.sets import SIZES, official_sets, set_of
from splitsec.errors import DataError, UsageError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.source import Availability, Catalogue
from splitsec.progress import Silent
from splitsec.running.runs import run_cells

COUNTS = {"train": 12, "val": 4, "test": 6}
Arrays = dict[str, NDArray[Any]]


def arrays(pixels: int = 28, channels: int = 1, classes: int = 2) -> Arrays:
    """Return what a file holds: random images, and labels of shape (N, 1) as MedMNIST has them."""
    generator = np.random.default_rng(pixels)
    shape = (pixels, pixels, 3)[: 2 if channels == 1 else 3]
    held: Arrays = {}
    for split, count in COUNTS.items():
        held[f"{split}_images"] = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
        held[f"{split}_labels"] = (np.arange(count) % classes)[:, None].astype(np.uint8)
    return held


def write(file: Path, held: Arrays | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, allow_pickle=True, **(arrays() if held is None else held))
    return file


def catalogue(size: int = 28, **parameters: Any) -> Catalogue:
    listed: Catalogue = get_source("medmnist", parameters).catalogue(spec(size))
    return listed


def spec(size: int = 28) -> DataSpec:
    return DataSpec(name="medmnist", size=size)


def read_from(listed: Catalogue) -> str:
    """Return the sentence that says which file images were read from."""
    (sentence,) = [said for said in listed.disclosures if "read from" in said]
    return sentence


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty folders in the place of all that are searched."""
    monkeypatch.setenv("SPLITSEC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(source, "package_is_here", lambda: False)
    return tmp_path


def test_the_table_says_what_the_package_says() -> None:
    info = pytest.importorskip("medmnist").INFO
    assert list(official_sets()) == [name for name in info if not name.endswith("3d")]
    for name, known in official_sets().items():
        stated = info[name]
        assert known.title == stated["python_class"]
        assert known.classes == tuple(
            stated["label"][str(at)] for at in range(len(stated["label"]))
        )
        assert known.channels == stated["n_channels"]
        assert known.findings == stated["task"].startswith("multi-label")
        assert known.md5 == {
            pixels: stated["MD5" if pixels == 28 else f"MD5_{pixels}"] for pixels in SIZES
        }


# Which file is read


@pytest.mark.parametrize(
    "place",
    [
        "data/octmnist/octmnist.npz",
        "data/octmnist.npz",
        "cache/data/octmnist/octmnist.npz",
        "home/.medmnist/octmnist.npz",
    ],
)
def test_where_files_are_found(places: Path, place: str) -> None:
    file = write(places / place, arrays(classes=4))
    availability = get_source("medmnist", {"set": "octmnist"}).availability()
    assert (availability.found, availability.sentence) == (True, f"found at {file}")
    assert catalogue(set="octmnist").classes[2:] == ("drusen", "normal")


def test_the_data_folder_comes_first(places: Path) -> None:
    write(places / "home/.medmnist/octmnist.npz", arrays(classes=2))
    write(places / "data/octmnist/octmnist.npz", arrays(classes=4))
    assert catalogue(set="octmnist").labels.max() == 3


@pytest.mark.parametrize(
    ("size", "pixels", "read"),
    [
        (16, 0, "octmnist.npz, which has them at 28 by 28"),
        (28, 0, "octmnist.npz, which has them at 28 by 28"),
        (32, 0, "octmnist_64.npz, which has them at 64 by 64"),
        (65, 0, "octmnist_128.npz, which has them at 128 by 128"),
        (224, 0, "octmnist_128.npz, which has them at 128 by 128"),
        (224, 28, "octmnist.npz, which has them at 28 by 28"),
        (16, 128, "octmnist_128.npz, which has them at 128 by 128"),
    ],
)
def test_the_size_that_is_read(places: Path, size: int, pixels: int, read: str) -> None:
    for held, name in ((28, "octmnist"), (64, "octmnist_64"), (128, "octmnist_128")):
        write(places / f"data/octmnist/{name}.npz", arrays(held))
    assert read in read_from(catalogue(size, set="octmnist", pixels=pixels))


def test_a_size_that_is_not_here(places: Path) -> None:
    write(places / "data/octmnist/octmnist.npz")
    with pytest.raises(DataError, match=r"octmnist is missing: put octmnist_64\.npz \(medmnist\.c"):
        catalogue(set="octmnist", pixels=64)
    write(places / "data/octmnist/octmnist_64.npz")
    with pytest.raises(DataError, match=r"_64\.npz has images of 28 by 28 px, not of 64; replace"):
        catalogue(set="octmnist", pixels=64)
    with pytest.raises(UsageError, match=r"parameter 'pixels' of data 'medmnist': .* 28, 64, 128"):
        catalogue(set="octmnist", pixels=32)


@pytest.mark.parametrize("name", ["octmnist.npz", "octmnist_64.npz"])
def test_a_path_names_the_set(places: Path, name: str) -> None:
    file = write(places / "elsewhere" / name)
    assert catalogue(path=str(file)).classes[3] == "normal"
    other = file.rename(file.with_name("renamed.npz"))
    assert catalogue(path=str(other)).classes == ("0", "1")
    assert catalogue(path=str(other), set="octmnist").classes[3] == "normal"


def test_what_is_missing(places: Path) -> None:
    source = get_source("medmnist", {"set": "breastmnist"})
    assert source.availability().sentence == (
        f"put breastmnist.npz (medmnist.com) at {places}/data/breastmnist/breastmnist.npz, "
        "or pip install 'splitsec[medmnist]'"
    )
    with pytest.raises(
        DataError, match=r"'brestmnist'; did you mean 'breastmnist'\? \(one of your"
    ):
        catalogue(set="brestmnist")
    with pytest.raises(DataError, match=r"no file .*a\.npz; 'path' must name an \.npz file in Med"):
        catalogue(path=str(places / "a.npz"))
    with pytest.raises(DataError, match=r"no file .*; 'path' must name octmnist\.npz \(medmnist\."):
        catalogue(path=str(places / "octmnist_64.npz"))
    with pytest.raises(UsageError, match="of data 'medmnist': organmnist3d holds volumes; only"):
        catalogue(set="organmnist3d")
    with pytest.raises(UsageError, match="should match pattern"):
        catalogue(set="../octmnist")
    with pytest.raises(
        UsageError, match=r"needs a set: --data medmnist:set=.*pathmnist, chestmnist"
    ):
        catalogue()
    with pytest.raises(UsageError, match="octmnist has no second population"):
        get_source("medmnist", {"set": "octmnist"}).catalogue(
            DataSpec(name="medmnist", public_from="shifted")
        )


@pytest.mark.parametrize(
    ("pixels", "fetched", "name"), [(0, 28, "octmnist.npz"), (64, 64, "octmnist_64.npz")]
)
def test_a_download_is_of_the_size_that_is_asked_for(
    places: Path, monkeypatch: pytest.MonkeyPatch, pixels: int, fetched: int, name: str
) -> None:
    def fetch(known: Any, size: int, file: Path, patience: Any) -> None:
        assert (known.name, size) == ("octmnist", fetched)
        write(file, arrays(size))

    monkeypatch.setattr(source, "package_is_here", lambda: True)
    monkeypatch.setattr(source, "fetch", fetch)
    availability = get_source("medmnist", {"set": "octmnist", "pixels": pixels}).availability()
    assert availability.found
    assert "will be downloaded" in availability.sentence
    assert not (places / "cache").exists(), "to ask is not to download"
    assert name in read_from(catalogue(100, set="octmnist", pixels=pixels))
    assert (places / "cache/data/octmnist" / name).is_file()


def test_nobodys_set_is_not_downloaded(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "package_is_here", lambda: True)
    assert not get_source("medmnist", {"set": "mine"}).availability().found


def test_without_a_set_it_says_which_are_here(places: Path) -> None:
    sentence = "any 2D set: --data medmnist:set=NAME; in the data folder: "
    source = get_source("medmnist", {})
    assert source.availability() == Availability(True, f"{sentence}none")
    write(places / "data/octmnist/octmnist_64.npz")
    write(places / "data/mine.npz")
    write(places / "data/other/thing.npz")
    assert source.availability() == Availability(True, f"{sentence}mine, octmnist")


# What a file may hold


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


# Real files

REAL = {
    "set=pneumoniamnist": (("normal", "pneumonia"), 1),
    "set=retinamnist": (("0", "1", "2", "3", "4"), 0),
    "set=retinamnist,label=0": (("not 0", "0"), 0),
    "set=mnist": (tuple("0123456789"), 1),
    "set=cifar10": (tuple("0123456789"), 1),
    "path={root}/cifar10/cifar10.npz": (tuple("0123456789"), 1),
}
TINY = (
    "training.epochs=1",
    "counts.private=32",
    "counts.public=16",
    "counts.validation=8",
    "counts.held_out=16",
    "counts.victims=4",
)


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "expected"), REAL.items(), ids=REAL)
def test_a_cell_on_real_files(
    asked: str, expected: tuple[tuple[str, ...], int], data_root: Path, tmp_path: Path
) -> None:
    name = asked.partition("=")[2].partition(",")[0]
    if "{" not in asked and not (data_root / name / f"{name}.npz").is_file():
        pytest.skip(f"the data folder has no {name}")
    (cell,) = resolve(
        Request(
            attack="none",
            defense="none",
            target="resnet:depth=18",
            data=f"medmnist:{asked.format(root=data_root)}",
            size=16,
            threads=1,
            settings=TINY,
        )
    )
    (record,) = run_cells([cell], tmp_path, Silent())
    assert record.status == "ok", record.reason
    classes, remarks = expected
    data = load_data(cell.data_spec(), Silent())
    assert data.classes == classes
    assert record.data["sha256"] == data.sha256
    assert len(record.data["disclosures"]) == 2 + remarks
    assert list(record.data["disclosures"]) == list(data.disclosures)
