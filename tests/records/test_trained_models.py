"""Trained models: kept only when asked for, and worth the same when they are loaded back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from splitsec import load_hijacked_client, load_model
from splitsec.cells.cell import Cell
from splitsec.cells.private_side import PrivateSide
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cli import run
from splitsec.data.loading import load_data
from splitsec.errors import DataError
from splitsec.metrics.utility import overlap, roc_auc
from splitsec.plugins.target import encode
from splitsec.progress import Silent
from splitsec.records.artifacts import artifact, check_artifact
from splitsec.records.reading import load_record
from splitsec.records.record import Record
from splitsec.records.store import record_folder
from splitsec.running.executors import InProcess
from splitsec.running.executors.workers import Workers
from splitsec.running.runs import run_cells

TINY = [
    "training.epochs=1",
    "counts.private=16",
    "counts.public=16",
    "counts.validation=4",
    "counts.held_out=12",
    "counts.victims=4",
]
RESNET = "resnet:depth=18,labels=private"
CLIENT = "fsha-client"
TINY_FSHA = "fsha:iterations=2,image_steps=5,pretraining=1"


def cells(attack: str = "none", target: str = CLIENT, defense: str = "none") -> list[Cell]:
    cut = 1 if target == CLIENT else None
    asked: dict[str, Any] = {"attack": attack, "defense": defense, "target": target, "cut": cut}
    return resolve(Request(size=16, settings=TINY, threads=1, **asked))


def kept(store: Path, grid: list[Cell]) -> list[tuple[Record, Path]]:
    records = list(run_cells(grid, store, Silent(), executor=InProcess(keep_models=True)))
    assert {record.status for record in records} == {"ok"}, [record.reason for record in records]
    return [(record, record_folder(store, record)) for record in records]


@torch.no_grad()
def held_out(cell: Cell, folder: Path) -> tuple[Tensor, Tensor]:
    """Return the outputs of a record's model on its held-out images, and what is due."""
    part = load_data(cell.data_spec(), Silent()).held_out
    model = load_model(folder)
    smashed, skips = encode(model.client, part.all())
    outputs = model.server(smashed)
    if model.head is not None:
        outputs = model.head(outputs, *skips)
    return outputs, part.targets(range(len(part)))


@pytest.mark.parametrize("target", [CLIENT, RESNET])
def test_a_classifier_is_worth_what_its_record_says(target: str, tmp_path: Path) -> None:
    (cell,) = cells(target=target, defense="dcor")
    ((record, folder),) = kept(tmp_path, [cell])
    outputs, labels = held_out(cell, folder)
    assert record.utility is not None
    assert roc_auc(outputs.numpy(), labels.numpy()) == record.utility.auc


def test_a_segmenter_is_worth_what_its_record_says(tmp_path: Path) -> None:
    (cell,) = cells(target="unet:width=4")
    ((record, folder),) = kept(tmp_path, [cell])
    outputs, masks = held_out(cell, folder)
    assert record.utility is not None
    jaccard = overlap(outputs.numpy() > 0, masks.numpy() > 0).jaccard.mean()
    assert float(jaccard) == record.utility.jaccard


@pytest.mark.parametrize("workers", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_cells_of_a_session_share_one_file_and_workers_write_the_same(
    workers: bool, tmp_path: Path
) -> None:
    grid = cells("none,adra:epochs=1,queries=20", "fsha-client")
    both = kept(tmp_path / "here", grid)
    models = {artifact(folder, record, "model") for record, folder in both}
    assert len(models) == 1
    if not workers:
        return
    elsewhere = Workers(1, keep_models=True)
    there = list(run_cells(grid, tmp_path / "there", Silent(), executor=elsewhere))
    assert [one.artifacts["model"] for one in there] == [one.artifacts["model"] for one, _ in both]
    assert [one.numbers() for one in there] == [one.numbers() for one, _ in both]


def test_the_hijacked_client_is_that_of_its_attack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    hijacked = PrivateSide.hijacked

    def watched(self: PrivateSide, *arguments: Any) -> Any:
        seen.append(hijacked(self, *arguments))
        return seen[-1]

    monkeypatch.setattr(PrivateSide, "hijacked", watched)
    (cell,) = cells(TINY_FSHA)
    ((record, folder),) = kept(tmp_path, [cell])
    images = load_data(cell.data_spec(), Silent()).held_out.all()
    with torch.no_grad():
        given = load_hijacked_client(folder)(images)
        assert torch.equal(given, seen[0].release(images, "held-out"))
        assert not torch.equal(given, load_model(folder).client(images))
    assert set(record.artifacts) >= {"model", "hijacked_client"}


def test_nothing_is_kept_unless_asked_for(tmp_path: Path) -> None:
    (record,) = run_cells(cells(), tmp_path, Silent())
    assert not list(tmp_path.rglob("*.safetensors"))
    with pytest.raises(DataError, match="holds no model; run the cell again with --keep-models"):
        load_model(record_folder(tmp_path, record))


def test_a_passive_attack_hijacks_nothing(tmp_path: Path) -> None:
    ((_, folder),) = kept(tmp_path, cells())
    with pytest.raises(DataError, match="holds no hijacked client"):
        load_hijacked_client(folder)


def test_a_damaged_model_is_not_loaded(tmp_path: Path) -> None:
    ((record, folder),) = kept(tmp_path, cells())
    file = artifact(folder, record, "model")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="is damaged"):
        load_model(folder)


TARGET = '''
"""A target for a test."""
from torch import nn
from splitsec import Target

class Small(Target):
    cuts = range(0, 1)
    default_cut = 0

    def preprocessing(self, image):
        return nn.Identity()

    def layers(self, image, outputs):
        flat = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs))
        return [nn.Conv2d(image.channels, 4, 3), flat]
'''


def test_a_target_that_was_changed_since_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "small.py"
    file.write_text(TARGET)
    ((_, folder),) = kept(tmp_path / "out", cells(target=str(file)))
    assert load_model(folder).client[1].out_channels == 4  # type: ignore[index,union-attr]
    file.write_text(f"{TARGET}\n# a comment changes nothing\n")
    assert load_model(folder).client[1].out_channels == 4  # type: ignore[index,union-attr]
    file.write_text(TARGET.replace("Conv2d(image.channels, 4, 3)", "Identity()"))
    with pytest.raises(DataError, match="its source has changed"):
        load_model(folder)


def test_the_command_line_keeps_models(tmp_path: Path) -> None:
    settings = [word for one in TINY for word in ("--set", one)]
    asked = [
        "eval",
        "--attack",
        "none",
        "--target",
        CLIENT,
        "--cut",
        "1",
        "--size",
        "16",
        "--threads",
        "1",
        *settings,
        "--output",
        str(tmp_path),
        "--json",
    ]
    assert run([*asked, "--keep-models"]) == 0
    (file,) = tmp_path.glob("*/record.json")
    record = load_record(file)
    check_artifact(artifact(file.parent, record, "model"))
    assert load_model(file.parent).head is None
