"""A cell is another one when what it reads has other content, and the same under another name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import load_data
from splitsec.errors import PluginError, UsageError
from splitsec.isolation import Isolation
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import evaluate, run_cells
from support.cells import COUNTS

DEFENSE = '''
"""A defense that reads a file."""
from pathlib import Path
from splitsec import Defense, InputPath, Parameters
from pydantic import Field

class Given(Parameters):
    scale: InputPath = Field("", description="a file with a number")
    other: InputPath | None = Field(None, description="another file")

class Scaled(Defense[Given]):
    Parameters = Given
    def release(self, images, smashed):
        return smashed * float(Path(self.parameters.scale).read_text())
'''
ATTACK = '''
"""An attack that reads a file."""
from pathlib import Path
import torch
from splitsec import Attack, InputPath, Parameters, ThreatModel
from pydantic import Field

class Given(Parameters):
    level: InputPath = Field({default!r}, description="a file with a number")

class Level(Attack[Given]):
    Parameters = Given
    @classmethod
    def threat_model(cls, parameters):
        return ThreatModel()
    def fit(self, progress):
        self.level = float(Path(self.parameters.level).read_text())
    def reconstruct(self, smashed):
        return torch.full((len(smashed), *self.view.image_shape), self.level)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with plug-ins and the files that they read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scaled.py").write_text(DEFENSE)
    (tmp_path / "level.py").write_text(ATTACK.format(default=""))
    (tmp_path / "one.txt").write_text("0.25")
    (tmp_path / "same.txt").write_text("0.25")
    (tmp_path / "two.txt").write_text("0.75")
    return tmp_path


def cell_of(isolation: Isolation | None = None, **asked: Any) -> Cell:
    usual = {"attack": "none", "defense": "none", "target": "fsha-client", "cut": 1, "size": 16}
    (cell,) = resolve(Request(**{**usual, "settings": COUNTS, "threads": 1, **asked}), isolation)
    return cell


def identities(cell: Cell) -> tuple[str, str, str]:
    return cell.cell_id("0"), cell.session_key(), str(cell.client_key())


@pytest.mark.usefixtures("folder")
def test_a_file_counts_by_its_content_and_not_by_its_name(folder: Path) -> None:
    one, same, two = (
        identities(cell_of(defense=f"./scaled.py:scale={name}.txt"))
        for name in ("one", "same", "two")
    )
    assert one == same
    assert one[:2] != two[:2]
    absolute = cell_of(defense=f"./scaled.py:scale={folder / 'one.txt'}")
    assert identities(absolute) == one
    both = [
        cell_of(defense=f"./scaled.py:scale=one.txt,other={name}.txt") for name in ("one", "two")
    ]
    assert len({one, *map(identities, both)}) == 3, "a path that may be missing is one, too"


def test_a_folder_counts_by_its_files(folder: Path) -> None:
    found = []
    for name, files in (("a", ["x", "y"]), ("b", ["x", "y"]), ("c", ["x", "z"])):
        for file in files:
            (folder / name / "deep").mkdir(parents=True, exist_ok=True)
            (folder / name / "deep" / file).write_text("1")
        found.append(identities(cell_of(defense=f"./scaled.py:scale={name}")))
    assert found[0] == found[1] != found[2]


@pytest.mark.usefixtures("folder")
def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"parameter 'scale' of defense 'scaled': cannot read gone\.txt: no such"
    ):
        cell_of(defense="./scaled.py:scale=gone.txt")


def test_a_file_that_changes_while_a_cell_runs_fails_the_cell(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of(defense="./scaled.py:scale=one.txt")
    (folder / "one.txt").write_text("0.75")
    (record,) = run_cells([cell], folder / "out", Silent())
    said = "one.txt, the parameter 'scale' of defense 'scaled', has been changed since"
    assert (record.status, (record.reason or "")[: len(said)]) == ("failed", said)


def evaluated(**options: Any) -> Record:
    cell: dict[str, Any] = {"target": "fsha-client", "cut": 1, "size": 16, "threads": 1}
    parameters = dict(one.split("=") for one in COUNTS)
    return evaluate(**{**cell, **options}, parameters=parameters)


@pytest.mark.usefixtures("folder")
def test_other_weights_behind_a_path_are_not_believed_to_be_the_old_ones(folder: Path) -> None:
    times = (folder / "one.txt").stat()
    first = evaluated(attack="none", defense="./scaled.py:scale=one.txt", isolate=False)
    (folder / "one.txt").write_text("0.75")
    os.utime(folder / "one.txt", ns=(times.st_atime_ns, times.st_mtime_ns))
    second = evaluated(attack="none", defense="./scaled.py:scale=one.txt", isolate=False)
    assert [(one.status, one.reason) for one in (first, second)] == [("ok", None)] * 2
    assert first.cell_id != second.cell_id
    assert first.history != second.history


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_an_isolated_attack_reads_the_file_that_it_is_given() -> None:
    alone = evaluated(attack="./level.py:level=one.txt")
    assert alone.status == "ok", alone.reason
    shared = evaluated(attack="./level.py:level=same.txt", isolate=False)
    assert alone.cell_id == shared.cell_id
    assert alone.victims == shared.victims


@pytest.mark.slow
@pytest.mark.usefixtures("folder", "bubblewrap")
def test_an_attack_in_the_sandbox_reads_the_file_that_it_is_given() -> None:
    record = evaluated(attack="./level.py:level=one.txt", sandbox=True)
    assert record.status == "ok", record.reason


@pytest.mark.slow
def test_an_isolated_attack_names_no_file_itself(folder: Path) -> None:
    (folder / "level.py").write_text(ATTACK.format(default=str(folder / "two.txt")))
    with pytest.raises(PluginError, match="attack 'level' names a file that nobody gave: level="):
        cell_of(Isolation(), attack="./level.py")


def paint(folder: Path, name: str, *, dark: bool = False) -> None:
    """Write 48 images and their labels; even ones are bright on the left."""
    (folder / name).mkdir()
    for number in range(48):
        pixels = np.random.default_rng(number).integers(0, 99, (16, 16, 3), dtype=np.uint8)
        pixels[:, :8] += 120 * (number % 2 == 0)
        Image.fromarray(255 - pixels if dark else pixels).save(folder / name / f"{number}.bmp")
    rows = [f"{number}.bmp,{('left', 'right')[number % 2]}" for number in range(48)]
    (folder / name / "labels.csv").write_text("\n".join(["image,label", *rows]) + "\n")


def swap_labels(scans: Path) -> None:
    csv = scans / "labels.csv"
    told = csv.read_text().replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
    csv.write_text(told)


def change_a_pixel(scans: Path) -> None:
    for file in scans.glob("*.bmp"):
        content = bytearray(file.read_bytes())
        content[-400] ^= 255
        file.write_bytes(content)


def swap_two_files(scans: Path) -> None:
    for number in range(0, 48, 2):
        one, other, kept = scans / f"{number}.bmp", scans / f"{number + 1}.bmp", scans / "kept"
        one.rename(kept)
        other.rename(one)
        kept.rename(other)


@pytest.mark.parametrize("change", [swap_labels, change_a_pixel, swap_two_files])
def test_other_images_or_labels_of_equal_name_size_and_time_are_another_cell(
    change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "cache"))
    paint(tmp_path, "scans")
    times = {file: file.stat() for file in (tmp_path / "scans").iterdir()}

    def cell_id() -> str:
        cell = cell_of(data="folder:path=scans")
        return cell.cell_id(load_data(cell.data_spec(), Silent()).sha256)

    before = cell_id()
    change(tmp_path / "scans")
    for file, status in times.items():
        assert file.stat().st_size == status.st_size
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cell_id() != before


def test_a_table_that_names_other_files_of_equal_name_gets_their_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLITSEC_CACHE", str(tmp_path / "cache"))
    for name in ("raw", "inverted"):
        paint(tmp_path, name, dark=name == "inverted")
    for file in (tmp_path / "raw").iterdir():
        status = file.stat()
        os.utime(tmp_path / "inverted" / file.name, ns=(status.st_atime_ns, status.st_mtime_ns))
    mean = {}
    for name in ("raw", "inverted"):
        rows = [f"{name}/{number}.bmp,{number % 2}" for number in range(48)]
        (tmp_path / "labels.csv").write_text("\n".join(["image,label", *rows]) + "\n")
        cell = cell_of(data=f"folder:path={tmp_path}")
        mean[name] = load_data(cell.data_spec(), Silent()).public.images.mean()
    assert mean["raw"] < 127 < mean["inverted"]
