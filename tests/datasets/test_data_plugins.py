"""Sources of images are plug-ins: by path and by entry point, wherever a cell is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cells.transport import build_again
from splitsec.data.loading import load_data
from splitsec.errors import PluginError, UsageError
from splitsec.plugins.loading import list_plugins, load_plugin
from splitsec.plugins.names import KINDS
from splitsec.plugins.packing import pack_plugin
from splitsec.progress import Silent
from splitsec.running.executors.workers import Workers
from splitsec.running.runs import run_cells

SOURCE = '''"""Dots for a test."""
import numpy as np
from pydantic import Field
from splitsec import Parameters
from splitsec.plugins.source import ANY, Availability, Catalogue, Source

class DotsParameters(Parameters):
    ground: int = Field(20, description="brightness of the background")

class Dots(Source[DotsParameters]):
    Parameters = DotsParameters

    def availability(self):
        return Availability(True, "drawn")

    def catalogue(self, spec):
        keys = np.arange(spec.total + 10)
        return Catalogue(keys, keys % 2, keys, ("a", "b"), np.full(len(keys), ANY), "1")

    def decode(self, keys, size, channels, progress):
        images = np.full((len(keys), channels, size, size), self.parameters.ground, np.uint8)
        for image, key in zip(images, keys):
            generator = np.random.default_rng(key)
            image[:] += generator.integers(0, 100 + 100 * (key % 2), image.shape, np.uint8)
        return images
'''
TINY = [
    "training.epochs=1",
    "counts.private=8",
    "counts.public=4",
    "counts.validation=2",
    "counts.held_out=4",
    "counts.victims=4",
]


def cell_of(data: str, settings: tuple[str, ...] = (), target: str = "resnet:depth=18") -> Cell:
    (cell,) = resolve(
        Request(
            attack="none",
            defense="none",
            target=target,
            data=data,
            size=16,
            threads=1,
            settings=[*TINY, *settings],
        )
    )
    return cell


@pytest.fixture
def dots(tmp_path: Path) -> Path:
    file = tmp_path / "my_dots.py"
    file.write_text(SOURCE)
    return file


def test_a_source_in_a_file(dots: Path) -> None:
    cell = cell_of(f"{dots}:ground=30")
    assert (cell.spec.data, cell.spec.parameters["data"]) == ("my-dots", {"ground": 30})
    assert cell.data_spec().name == "my-dots"
    data = load_data(cell.data_spec(), Silent())
    assert data.held_out.images.min() >= 30
    by_setting = cell_of(str(dots), ("data.my-dots.ground=30",))
    assert by_setting.cell_id(data.sha256) == cell.cell_id(data.sha256)
    with pytest.raises(UsageError, match="did you mean 'ground'"):
        cell_of(f"{dots}:grund=30")
    with pytest.raises(UsageError, match="data 'my-dots' are labelled for classification"):
        cell_of(str(dots), target="unet")


def test_an_edited_source_is_not_served_from_the_cache(dots: Path) -> None:
    before = load_data(cell_of(str(dots)).data_spec(), Silent())
    dots.write_text(SOURCE.replace("100 + 100 *", "50 + 100 *"))
    after = load_data(cell_of(str(dots)).data_spec(), Silent())
    assert before.sha256 != after.sha256


def test_the_images_count_and_not_the_code_that_made_them(dots: Path) -> None:
    cell = cell_of(str(dots))
    sha256 = load_data(cell.data_spec(), Silent()).sha256
    dots.write_text(SOURCE + "\n# a comment\n")
    again = cell_of(str(dots))
    assert load_data(again.data_spec(), Silent()).sha256 == sha256
    assert again.cell_id(sha256) == cell.cell_id(sha256)


def test_a_source_travels(dots: Path, tmp_path: Path) -> None:
    cell = cell_of(str(dots))
    sent = {one.plugin.kind: pack_plugin(one.plugin) for one in cell.plugins}
    assert set(sent) == set(KINDS)
    there = build_again(
        cell.spec, {kind: one.unpack(tmp_path / "there" / kind) for kind, one in sent.items()}
    )
    dots.unlink()
    here = load_data(there.data_spec(), Silent())
    assert there.cell_id(here.sha256) == cell.cell_id(here.sha256)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "return images",
            "return images[:, 0]",
            r"decode\(\) gave uint8 of shape .*expected uint8",
        ),
        ("keys % 2, keys, (", "keys % 3, keys, (", "they index 2 classes"),
        ("keys % 2, keys, (", "keys[:3], keys, (", "expected one value per key"),
        ("np.full(len(keys), ANY)", "np.full(len(keys), 'x')", r"unknown pools \['x'\]"),
        ("images = np.full(", "images = 1 / 0 or np.full(", "data 'my-dots' raised ZeroDivision"),
        ("keys = np.arange(spec", "keys = 0 * np.arange(spec", "has a key twice"),
        (', ANY), "1")', ", ANY))", r"fingerprint is empty, so files\(\) must name .* 0 and 0"),
    ],
)
def test_a_source_that_breaks_its_contract_is_named(
    dots: Path, old: str, new: str, says: str
) -> None:
    assert old in SOURCE
    dots.write_text(SOURCE.replace(old, new))
    with pytest.raises(PluginError, match=says):
        load_data(cell_of(str(dots)).data_spec(), Silent())


def test_an_entry_point(dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / "spots-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: spots\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[splitsec.data]\ndots = my_dots:Dots\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "spots/dots" in {listed.name for listed in list_plugins("data")}
    cell = cell_of("spots/dots")
    assert (cell.spec.data, cell.data_spec().source) == ("spots/dots", "spots/dots")
    assert len(np.unique(load_data(cell.data_spec(), Silent()).held_out.labels)) == 2


def test_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean 'retinamnist'.*splitsec list data"):
        load_plugin("data", "retinamist")
    file = tmp_path / "folder.py"
    file.write_text(SOURCE)
    with pytest.raises(UsageError, match="would be recorded as 'folder', which is built in"):
        load_plugin("data", str(file))


@pytest.mark.slow
def test_a_worker_uses_the_source(dots: Path, tmp_path: Path) -> None:
    cell, store = cell_of(str(dots)), tmp_path / "store"
    (record,) = run_cells([cell], store, Silent(), executor=Workers(1))
    assert record.status == "ok", record.reason
    assert record.provenance.plugins["data"]["spec"] == str(dots)
    dots.write_text(SOURCE + "\nCHANGED = True\n")
    assert load_plugin("data", str(dots)).code != cell.data.plugin.code
