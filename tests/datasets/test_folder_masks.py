"""A folder of images with masks: in a column or of the same names, with or without patients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from splitsec.cells.requests import make_request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import load_data
from splitsec.data.parts import Data
from splitsec.datasets.folder import FolderParameters, LabelledFolder
from splitsec.errors import DataError, UsageError
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.parameters import build_parameters
from splitsec.plugins.source import Catalogue
from splitsec.progress import Silent
from support.parts import source_parameters
from support.pictures import noise

COUNT, WIDTH, HEIGHT = 40, 40, 32
COUNTS = {"private": 14, "public": 10, "validation": 4, "held_out": 8, "size": 16}


def write(root: Path, count: int = COUNT, value: int = 255, suffix: str = "png") -> pd.DataFrame:
    """Write images, and masks whose ellipse is where the image is green; return their table."""
    (root / "masks").mkdir()
    rows = []
    for number in range(count):
        picture = noise(WIDTH, HEIGHT, seed=number)
        mask = Image.new("L", (WIDTH, HEIGHT))
        place = (2 + number % 10, 4, 20 + number % 15, 28)
        ImageDraw.Draw(mask).ellipse(place, fill=value)
        picture.paste((0, 255, 0), mask=mask.point(lambda level: 255 * (level > 0)))
        picture.save(root / f"{number:02d}.png")
        mask.save(root / "masks" / f"{number:02d}.{suffix}", lossless=True)  # if WebP
        rows.append(
            {
                "image": f"{number:02d}",
                "mask": f"{number:02d}.{suffix}",
                "patient": f"p{number // 4}",
            }
        )
    return pd.DataFrame(rows)


def parameters(root: Path, **given: Any) -> dict[str, Any]:
    return source_parameters("folder", {"path": str(root), **given})


def load(root: Path, **given: Any) -> Data:
    return load_data(
        DataSpec(name="folder", parameters=parameters(root, **given), **COUNTS), Silent()
    )


def catalogue(root: Path, **given: Any) -> Catalogue:
    made = build_parameters("data 'folder'", FolderParameters, {"path": str(root), **given})
    return LabelledFolder(made).catalogue(DataSpec(name="folder"))


def check_aligned(data: Data) -> None:
    assert (data.task, data.outputs, data.classes) == ("segmentation", 1, ())
    for part in data.parts().values():
        assert part.masks is not None
        assert 0.2 < part.masks.mean() < 0.6
        green = (part.images[:, 1] > 200) & (part.images[:, 0] < 60)
        assert (green == (part.masks[:, 0] > 0)).mean() > 0.93


@pytest.mark.parametrize("suffix", ["png", "gif", "tif", "bmp", "webp"])
def test_a_folder_of_masks_of_equal_names(suffix: str, tmp_path: Path) -> None:
    table = write(tmp_path, suffix=suffix)
    table.drop(columns="mask").to_csv(tmp_path / "labels.csv", index=False)
    check_aligned(load(tmp_path, masks="masks", group_column="patient"))


def test_a_column_of_masks(tmp_path: Path) -> None:
    table = write(tmp_path)
    table.to_csv(tmp_path / "labels.csv", index=False)
    check_aligned(load(tmp_path, masks="masks", mask_column="mask"))
    table["mask"] = "masks/" + table["mask"]
    table.to_csv(tmp_path / "labels.csv", index=False)
    check_aligned(load(tmp_path, mask_column="mask"))


def test_masks_without_a_csv(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    data = load(tmp_path, masks=str(tmp_path / "masks"), csv="")
    check_aligned(data)
    assert "no patients are named" in data.disclosures[0]


def test_a_missing_csv_is_not_taken_for_none(tmp_path: Path) -> None:
    write(tmp_path, 8)
    with pytest.raises(DataError, match=r"no CSV at .*; write csv= to use every image of "):
        catalogue(tmp_path, masks="masks")


def test_patients_with_masks_stay_together(tmp_path: Path) -> None:
    write(tmp_path).to_csv(tmp_path / "labels.csv", index=False)
    data = load(tmp_path, masks="masks", group_column="patient")
    patients = [set((part.indices // 4).tolist()) for part in data.parts().values()]
    assert len(set.union(*patients)) == sum(map(len, patients))


def test_masks_change_what_is_read(tmp_path: Path) -> None:
    write(tmp_path).to_csv(tmp_path / "labels.csv", index=False)
    before = load(tmp_path, masks="masks").images_sha256
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "masks" / "07.png")
    with pytest.raises(DataError, match="07"):  # an empty mask has one value
        load(tmp_path, masks="masks")
    halved = Image.new("L", (WIDTH, HEIGHT))
    halved.paste(255, (0, 0, WIDTH // 2, HEIGHT))
    halved.save(tmp_path / "masks" / "07.png")
    assert load(tmp_path, masks="masks").images_sha256 != before


def test_masks_of_images_in_subfolders(tmp_path: Path) -> None:
    table = write(tmp_path, 8)
    for number in range(8):
        site = f"site{number % 2}"
        for folder in (tmp_path / site, tmp_path / "masks" / site):
            folder.mkdir(exist_ok=True)
        (tmp_path / f"{number:02d}.png").rename(tmp_path / site / f"{number // 2}.png")
        old = tmp_path / "masks" / f"{number:02d}.png"
        old.rename(tmp_path / "masks" / site / f"{number // 2}.png")
        table.loc[number, "image"] = f"{site}/{number // 2}.png"
    table.to_csv(tmp_path / "labels.csv", index=False)
    assert len(catalogue(tmp_path, masks="masks").keys) == 8


def test_missing_and_doubtful_masks(tmp_path: Path) -> None:
    table = write(tmp_path, 8)
    table.to_csv(tmp_path / "labels.csv", index=False)
    masks = tmp_path / "masks"
    Image.new("L", (9, 9)).save(masks / "03.tif")
    with pytest.raises(DataError, match=r"mask of .*03\.png may be 03\.png and 03\.tif in .*; rem"):
        catalogue(tmp_path, masks="masks")
    (masks / "03.tif").unlink()
    (masks / "05.png").rename(masks / "05_mask.png")
    for csv in ("labels.csv", ""):
        with pytest.raises(DataError, match=r"1 of 8 images have no mask in .*, such as 05\.png"):
            catalogue(tmp_path, masks="masks", csv=csv)
    with pytest.raises(DataError, match=r"labels\.csv, row 7: there is no mask '05\.png' in .*mas"):
        catalogue(tmp_path, masks="masks", mask_column="mask")
    table.loc[5, "mask"] = "05_mask"
    table.to_csv(tmp_path / "labels.csv", index=False)
    assert len(catalogue(tmp_path, masks="masks", mask_column="mask").keys) == 8
    table.loc[5, "mask"] = ""
    table.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(DataError, match="row 7: the column 'mask' is empty"):
        catalogue(tmp_path, masks="masks", mask_column="mask")
    table.loc[5, "mask"] = "04.png"
    table.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(DataError, match=r"row 7: 04\.png is named in row 6 already"):
        catalogue(tmp_path, masks="masks", mask_column="mask")
    with pytest.raises(DataError, match=r"cannot read the folder .*nowhere"):
        catalogue(tmp_path, masks="nowhere")


def test_an_image_is_not_its_own_mask(tmp_path: Path) -> None:
    write(tmp_path, 8).to_csv(tmp_path / "labels.csv", index=False)
    for given in ({"masks": "."}, {"masks": "masks/.."}, {"mask_column": "image"}):
        with pytest.raises(DataError, match=r"00\.png would be an image and a mask"):
            catalogue(tmp_path, **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mask_values": "1"}, "mask_values needs masks: give masks=FOLDER or mask_column=COLUMN"),
        ({"masks": "m", "classes": "0:a,1:b"}, "classes is for labels, and images with masks have"),
        ({"csv": ""}, "without a csv, images have masks=FOLDER and no columns"),
        ({"csv": "", "masks": "m", "group_column": "p"}, "without a csv"),
        ({"masks": "m", "mask_values": "lung"}, "'lung' is no value of a mask; write 1, several"),
        ({"bits": 4}, "bits is 8 to 16, or 0"),
    ],
)
def test_parameters_that_do_not_fit_together(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_parameters("data 'folder'", FolderParameters, {"path": "x", **given})


def test_a_mask_of_several_values_asks_for_them(tmp_path: Path) -> None:
    write(tmp_path, value=1)
    for file in (tmp_path / "masks").iterdir():
        with Image.open(file) as mask:
            pixels = np.array(mask)
        pixels[:3] = 255
        Image.fromarray(pixels).save(file)
    with pytest.raises(DataError, match=r"has 3 values.*255 \(9\.375%\); say which count"):
        load(tmp_path, masks="masks", csv="")
    check_aligned(load(tmp_path, masks="masks", csv="", mask_values="1"))


def test_values_that_mark_nothing_anywhere(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=r"the masks of the .* part mark none of the pixels of its"):
        load(tmp_path, masks="masks", csv="", mask_values="77")


def test_some_empty_masks_are_fine_when_values_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    for number in range(0, COUNT, 5):
        Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "masks" / f"{number:02d}.png")
    with pytest.raises(DataError, match="has a single value, 0"):
        load(tmp_path, masks="masks", csv="")
    data = load(tmp_path, masks="masks", csv="", mask_values="255")
    assert any(not mask.any() for part in data.parts().values() for mask in part.masks)


@pytest.mark.parametrize("bits", [12, 16])
def test_bits_hold_for_every_image(bits: int, tmp_path: Path) -> None:
    rows = []
    for number in range(COUNT):
        values = np.random.default_rng(number).integers(0, 4096, (16, 16)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"{number}.png")
        rows.append({"image": str(number), "label": "ab"[number % 2]})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(DataError, match=r"say how many bits are used: .*bits=12 if white is 4,095"):
        load(tmp_path)
    brightest = load(tmp_path, bits=bits).public.images.max()
    assert brightest > 250 if bits == 12 else brightest < 17


def test_which_targets_take_masks(tmp_path: Path) -> None:
    asked = {"attack": "none", "defense": "none", "size": 16}
    (cell,) = resolve(make_request({**asked, "target": "unet", "data": "folder:path=x,masks=m"}))
    assert cell.spec.parameters["data"]["masks"] == "m"
    expected = r"labelled for classification; use --data with one of folder:path=FOLDER,masks="
    with pytest.raises(UsageError, match=expected):
        resolve(make_request({**asked, "target": "unet", "data": "folder:path=x"}))
    with pytest.raises(UsageError, match="labelled for segmentation"):
        resolve(make_request({**asked, "target": "resnet", "data": "folder:path=x,masks=m"}))
