"""MedMNIST: which file is read, where it is found, and what real ones give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import load_data
from splitsec.data.sources import get_source
from splitsec.datasets.medmnist import source
from splitsec.datasets.medmnist.sets import SIZES, official_sets
from splitsec.errors import DataError, UsageError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.source import Availability, Catalogue
from splitsec.progress import Silent
from splitsec.running.runs import run_cells
from support.medmnist import arrays, catalogue, write


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


def test_pooled_splits_draw_held_out_images_from_all(places: Path) -> None:
    write(places / "data/octmnist/octmnist.npz", arrays(classes=4))
    official, pooled = (catalogue(set="octmnist", split=split) for split in ("official", "pooled"))
    assert set(official.pools) == {"train", "validation", "test"}
    assert set(pooled.pools) == {""}
    assert pooled.pools.shape == official.pools.shape
    (said,) = [said for said in pooled.disclosures if "publishers" in said]
    assert said == "held-out images are of any of the splits of OCTMNIST's publishers"
    assert not [said for said in official.disclosures if "publishers" in said]
