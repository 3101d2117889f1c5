"""Images with masks: drawn and real chest X-rays, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import label

from splitsec.data.drawn.chest import draw_cxr, draw_cxr_mask
from splitsec.data.duplicates import group_copies
from splitsec.data.loading import load_data
from splitsec.data.parts import Data
from splitsec.data.sources import get_source
from splitsec.datasets.phantom_cxr import PhantomCxr
from splitsec.errors import DataError
from splitsec.folders import cache_folder
from splitsec.plugins.data_spec import DataSpec
from splitsec.progress import Silent
from support.parts import source_parameters

SMALL = {"private": 12, "public": 10, "validation": 4, "held_out": 6}


def load(name: str, parameters: dict[str, Any] | None = None, **values: Any) -> Data:
    resolved = source_parameters(name, parameters or {})
    spec = DataSpec(name=name, parameters=resolved, **{"size": 16, **SMALL, **values})
    return load_data(spec, Silent())


def everything(data: Data) -> NDArray[np.int64]:
    return np.concatenate([part.indices for part in data.parts().values()])


# The room


def test_classification_has_no_masks() -> None:
    data = load("phantom-fundus")
    assert (data.task, data.outputs) == ("classification", 2)
    assert all(part.masks is None for part in data.parts().values())
    targets = data.public.targets([1, 0, 1])
    assert targets.dtype == torch.int64
    assert targets.tolist() == data.public.labels[[1, 0, 1]].tolist()
    assert set(data.balance()["public"]) == set(data.classes)


@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("public_from", ["same", "shifted"])
def test_parts_have_masks(clients: int, public_from: str) -> None:
    data = load("phantom-cxr", clients=clients, public_from=public_from, size=24)
    assert (data.task, data.outputs, data.classes) == ("segmentation", 1, ())
    assert len(np.unique(everything(data))) == sum(SMALL.values())
    for part in data.parts().values():
        assert part.masks is not None
        assert part.masks.dtype == np.uint8
        assert part.masks.shape == (len(part), 1, 24, 24)
        assert set(np.unique(part.masks)) == {0, 1}
        assert not part.labels.any()
    assert ((data.public.indices & 1) == (public_from == "shifted")).all()
    assert not (data.held_out.indices & 1).any()


def test_targets_are_masks_of_the_rows_asked_for() -> None:
    part = load("phantom-cxr").held_out
    targets = part.targets([4, 1])
    assert targets.dtype == torch.float32
    assert targets.shape == (2, 1, 16, 16)
    assert part.masks is not None
    np.testing.assert_array_equal(targets.numpy(), part.masks[[4, 1]])
    targets.zero_()
    assert part.masks[[4, 1]].any(), "targets are copies"


def test_images_and_masks_belong_together() -> None:
    part = load("phantom-cxr", size=32, channels=1).private[0]
    assert part.masks is not None
    for row, key in enumerate(part.indices.tolist()):
        film, mask = draw_cxr(0, key >> 1, 32)
        np.testing.assert_array_equal(part.images[row], film)
        np.testing.assert_array_equal(part.masks[row], mask)


def test_balance_is_json() -> None:
    data = load("phantom-cxr", public=0)
    balance = json.loads(json.dumps(data.balance()))
    masks = data.held_out.masks
    assert masks is not None
    assert balance["held-out"] == {"images": 6, "foreground": pytest.approx(masks.mean(), abs=1e-4)}
    assert balance["public"] == {"images": 0, "foreground": 0}


def test_size_and_channels_keep_the_partition() -> None:
    colour, grey = load("phantom-cxr"), load("phantom-cxr", channels=1, size=24)
    np.testing.assert_array_equal(colour.held_out.indices, grey.held_out.indices)
    assert colour.held_out.images.shape == (6, 3, 16, 16)
    assert grey.held_out.images.shape == (6, 1, 24, 24)
    assert (colour.held_out.images == colour.held_out.images[:, :1]).all()


def test_the_hash_covers_the_masks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = load("phantom-cxr")
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path))
    assert load("phantom-cxr").sha256 == before.sha256
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "other"))
    decode_masks = PhantomCxr.decode_masks

    def inverted(*given: Any) -> NDArray[np.uint8]:
        return 1 - decode_masks(*given)

    monkeypatch.setattr(PhantomCxr, "decode_masks", inverted)
    after = load("phantom-cxr")
    np.testing.assert_array_equal(after.held_out.images, before.held_out.images)
    assert after.sha256 != before.sha256


def test_the_cache_keeps_images_and_masks_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path))
    fresh = load("phantom-cxr", channels=1)
    files = sorted((cache_folder() / "images").glob("*.npy"))
    written = {file: file.stat().st_mtime_ns for file in files}
    assert len(written) == 2
    assert load("phantom-cxr", channels=1).sha256 == fresh.sha256
    assert {file: file.stat().st_mtime_ns for file in files} == written
    load("phantom-cxr", channels=3)
    assert len(list((cache_folder() / "images").glob("*.npy"))) == 3, "masks have no channels"


# Phantoms


def test_a_film_depends_on_seed_and_index_alone() -> None:
    film, mask = draw_cxr(0, 5, 32)
    draw_cxr(3, 1, 48)
    again = draw_cxr(0, 5, 32)
    np.testing.assert_array_equal(film, again[0])
    np.testing.assert_array_equal(mask, again[1])
    assert film.shape == mask.shape == (1, 32, 32)
    assert film.dtype == mask.dtype == np.uint8
    for other in (draw_cxr(0, 6, 32), draw_cxr(1, 5, 32), draw_cxr(0, 5, 32, "shifted")):
        assert (film != other[0]).any()
        assert (mask != other[1]).any()


def test_films_stay_the_same_for_ever() -> None:
    """A change here needs a new version of the source, since caches and records name it."""
    film, mask = draw_cxr(0, 0, 64)
    coarse = film[0].reshape(4, 16, 4, 16).mean((1, 3))
    pinned = [
        [103.8, 173.0, 181.6, 125.7],
        [154.7, 141.8, 163.6, 161.1],
        [91.0, 153.4, 174.6, 105.2],
        [85.3, 195.6, 204.6, 127.3],
    ]
    np.testing.assert_allclose(coarse, pinned, atol=0.5)
    assert int(mask.sum()) == 1363


@pytest.mark.parametrize("style", ["standard", "shifted"])
@pytest.mark.parametrize("size", [16, 64, 150])
def test_a_mask_alone_is_the_films_mask(size: int, style: Any) -> None:
    for index in range(5):
        expected = draw_cxr(2, index, size, style)[1]
        np.testing.assert_array_equal(draw_cxr_mask(2, index, size, style), expected)


def test_sizes_show_the_same_person() -> None:
    for index in range(5):
        small, large = draw_cxr(0, index, 32), draw_cxr(0, index, 256)
        blocks = [picture[0].reshape(32, 8, 32, 8).mean((1, 3)) for picture in large]
        assert np.corrcoef(small[0].ravel(), blocks[0].ravel())[0, 1] > 0.98
        assert np.abs(small[1][0] - blocks[1]).mean() < 0.04


@pytest.mark.parametrize("style", ["standard", "shifted"])
def test_lungs_are_two_dark_fields(style: Any) -> None:
    for index in range(40):
        film, mask = draw_cxr(0, index, 96, style)
        fields, count = label(mask[0], np.ones((3, 3)))
        assert count == 2, index
        right, left = sorted((fields == field for field in (1, 2)), key=lambda m: m.any(0).argmax())
        assert right.sum() > left.sum() * 0.8, "the heart takes from the left lung"
        assert 0.1 < mask.mean() < 0.5
        lung = film[mask > 0].mean()
        between = film[0][40:60, 44:52][mask[0][40:60, 44:52] == 0]
        assert lung < between.mean() - 30


def test_people_differ_in_more_than_exposure() -> None:
    drawn = [draw_cxr(0, index, 32) for index in range(200)]
    images = np.stack([film for film, _ in drawn])
    assert len(np.unique(group_copies(images, 4.0))) == 200
    flat = images.reshape(200, -1).astype(float)
    flat -= flat.mean(0)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    similarity = flat @ flat.T
    np.fill_diagonal(similarity, 0)
    assert similarity.max() < 0.96
    masks = np.stack([mask for _, mask in drawn]).astype(bool)
    usual = masks.mean(0) > 0.5
    overlap = [(mask & usual).sum() / (mask | usual).sum() for mask in masks]
    assert np.mean(overlap) < 0.8, "one mask for all must not do"


def test_another_hospital_looks_different() -> None:
    standard, shifted = (
        np.stack([draw_cxr(seed, index, 32, style)[0] for index in range(40)])
        for seed, style in ((0, "standard"), (1, "shifted"))
    )
    assert shifted.std((2, 3)).mean() > standard.std((2, 3)).mean() + 10


# The Montgomery and Shenzhen films


def write_film(folder: Path, name: str, seed: int, size: tuple[int, int] = (40, 36)) -> None:
    """Write a film of noise and its mask of two ellipses, as its hospital names it."""
    pixels = np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "CXR_png" / f"{name}.png")
    mask = Image.new("1", size)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((4, 5, 16, 30 - seed % 5), fill=1)
    draw.ellipse((22, 5, 34, 30), fill=1)
    mask.save(mask_of(folder, name))


def mask_of(folder: Path, name: str) -> Path:
    return folder / "masks" / (f"{name}.png" if name.startswith("M") else f"{name}_mask.png")


def names(count: int, prefix: str) -> list[str]:
    return [f"{prefix}_{index:04d}_{index % 2}" for index in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty films of Shenzhen and fifteen of Montgomery."""
    root = tmp_path / "Lung Segmentation"
    (root / "CXR_png").mkdir(parents=True)
    (root / "masks").mkdir()
    for seed, name in enumerate(names(40, "CHNCXR") + names(15, "MCUCXR")):
        write_film(root, name, seed)
    return root


def from_folder(folder: Path, **values: Any) -> Data:
    return load("lung-segmentation", {"path": str(folder.parent)}, **values)


def test_both_hospitals_are_read(folder: Path) -> None:
    data = from_folder(folder, private=30, public=15)
    assert (data.task, data.outputs) == ("segmentation", 1)
    assert len(np.unique(everything(data))) == 55
    assert (everything(data) >= 40).sum() == 15, "sorted by name: Montgomery follows Shenzhen"
    assert "no patients" in data.disclosures[0]
    assert len(data.disclosures) == 1
    for part in data.parts().values():
        assert part.masks is not None
        assert (part.masks[:, 0, 7, [3, 11]] == 1).all()
        assert not part.masks[:, 0, 7, 0].any()


def test_montgomery_is_the_attackers(folder: Path) -> None:
    data = from_folder(folder, public_from="shifted")
    assert (data.public.indices >= 40).all()
    for name, part in data.parts().items():
        assert name == "public" or (part.indices < 40).all()
    with pytest.raises(DataError, match="has 15 images in its shifted pool"):
        from_folder(folder, public_from="shifted", public=16)


def test_films_without_a_mask_are_left_out_and_counted(folder: Path) -> None:
    for name in ("CHNCXR_0003_1", "MCUCXR_0002_0"):
        mask_of(folder, name).unlink()
    (folder / "CXR_png" / ".hidden.png").write_bytes(b"")
    (folder / "CXR_png" / "Thumbs.db").write_bytes(b"")
    data = from_folder(folder, private=30, public=13)
    assert data.disclosures[1] == "2 of 55 X-rays have no mask and are left out"
    with pytest.raises(DataError, match="has 53 images, but the partition needs 54"):
        from_folder(folder, private=30, public=14)


def test_no_masks_at_all(folder: Path) -> None:
    for file in (folder / "masks").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"none of the 55 films in .* has a mask in .*masks"):
        from_folder(folder)
    (folder / "masks").rmdir()
    with pytest.raises(DataError, match=r"cannot read the folder .*masks: No such file"):
        from_folder(folder)


def test_a_missing_folder_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="unpack Kaggle's 'chest-xray-masks-and-labels' so that"):
        load("lung-segmentation", {"path": str(tmp_path)})
    monkeypatch.setenv("SPLITSEC_DATA", str(tmp_path))
    availability = get_source("lung-segmentation", {}).availability()
    assert not availability.found
    wanted = tmp_path / "lung-segmentation" / "Lung Segmentation"
    assert str(wanted) in availability.sentence
    wanted.mkdir(parents=True)
    assert get_source("lung-segmentation", {}).availability().found


def test_a_film_of_neither_hospital(folder: Path) -> None:
    write_film(folder, "JPCLN_0001_0", 0)
    with pytest.raises(DataError, match=r"JPCLN_0001_0\.png is of neither hospital"):
        from_folder(folder)


def bad_mask(folder: Path, pixels: NDArray[Any]) -> None:
    """Replace all masks of Shenzhen, so that one of them is surely decoded."""
    for name in names(40, "CHNCXR"):
        Image.fromarray(pixels).save(mask_of(folder, name))


def test_a_mask_of_another_size(folder: Path) -> None:
    bad_mask(folder, np.eye(36, dtype=np.uint8) * 255)
    expected = r"the mask .*CHNCXR_\d+_\d_mask\.png has 36x36 pixels, but its image .*has 40x36"
    with pytest.raises(DataError, match=expected):
        from_folder(folder)


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_of_one_value(folder: Path, value: int) -> None:
    bad_mask(folder, np.full((36, 40), value, np.uint8))
    with pytest.raises(
        DataError, match=rf"the mask .*_mask\.png has a single value, {value} \(100"
    ):
        from_folder(folder)


def test_a_mask_that_is_not_binary(folder: Path) -> None:
    pixels = np.zeros((36, 40), np.uint8)
    pixels[5:30, 4:16], pixels[5:30, 22:34] = 255, 128
    bad_mask(folder, pixels)
    with pytest.raises(DataError, match=r"the mask .*_mask\.png has 3 values.*128 \(20\.833%\)"):
        from_folder(folder)
    given = {"path": str(folder.parent), "mask_values": "128+255"}
    for part in load("lung-segmentation", given).parts().values():
        assert part.masks is not None
        assert {tuple(row) for row in part.masks[:, 0, 7, [3, 11]]} <= {(1, 1)}


@pytest.mark.parametrize("which", ["CXR_png", "masks"])
def test_an_unreadable_file(folder: Path, which: str) -> None:
    for file in (folder / which).glob("CHN*"):
        file.write_bytes(file.read_bytes()[:60])
    kind = "image" if which == "CXR_png" else "mask"
    with pytest.raises(DataError, match=rf"cannot read the {kind} .*{which}.CHNCXR_"):
        from_folder(folder)


def test_real_films(data_root: Path) -> None:
    if not get_source("lung-segmentation", {}).availability().found:
        pytest.skip("no Montgomery and Shenzhen films here")
    data = load(
        "lung-segmentation",
        size=64,
        channels=1,
        private=320,
        public=138,
        validation=40,
        held_out=140,
        public_from="shifted",
    )
    assert len(np.unique(everything(data))) == 638
    for part in data.parts().values():
        assert part.masks is not None
        covered = part.masks.mean((1, 2, 3))
        assert (covered > 0.05).all()
        assert (covered < 0.5).all()
        lungs = part.masks > 0
        assert part.images[lungs].mean() < part.images[~lungs].mean() + 20
