"""Traffic that another framework recorded: its form, and what is wrong with it in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from splitsec.cli import run
from splitsec.errors import DataError, NotApplicable, UsageError
from splitsec.plugins.toolbox.recording import read_recording
from splitsec.shapes import Shape
from splitsec.targets.recorded import Recorded, RecordedParameters

COUNT, SIDE = 60, 16


def drawn(count: int, seed: int) -> Tensor:
    """Return smooth images that differ much, uint8."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 3, 4, 4, generator=generator)
    large = nn.functional.interpolate(small, SIDE, mode="bilinear")
    return (255 * large).round().to(torch.uint8)


def write(folder: Path, *, crossed: bool = True, **changes: Any) -> Path:
    """Write a recording of a small client; ``changes`` replace tensors of its second file."""
    torch.manual_seed(0)
    client = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
    images = drawn(COUNT, 1)
    name = "labels" if crossed else "kept_labels"
    folder.mkdir(exist_ok=True)
    for number, rows in enumerate(torch.arange(COUNT).split(20)):
        sent: dict[str, Any] = {
            "images": images[rows],
            "smashed": client(images[rows].float() / 255).detach(),
            name: rows % 2,
        }
        if number == 1:
            sent |= changes
        tensors = {key: one.contiguous() for key, one in sent.items() if one is not None}
        save_file(tensors, folder / f"{number}.safetensors")
    public = drawn(80, 2)
    save_file({"images": public, "labels": torch.arange(80) % 2}, folder / "public.safetensors")
    return folder


def test_it_is_read_in_order_and_each_image_counts_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "traffic")
    first = read_recording(folder)
    assert first.images.shape == (COUNT, 3, SIDE, SIDE)
    assert first.smashed.shape == (COUNT, 8, 8, 8)
    assert first.labels_crossed
    again = {
        "images": torch.from_numpy(first.images[:5]),
        "smashed": torch.full((5, 8, 8, 8), 7.0),
        "labels": torch.from_numpy(first.labels[:5]),
    }
    save_file(again, folder / "9.safetensors")
    second = read_recording(folder)
    assert second.images.shape == first.images.shape
    assert (second.smashed[:5] == 7).all(), "what was sent last counts"
    assert torch.equal(second.smashed[5:], first.smashed[5:])


def test_floats_are_read_as_bytes(tmp_path: Path) -> None:
    images = drawn(COUNT, 1)[20:40]
    folder = write(tmp_path / "traffic", images=images.float() / 255)
    assert (read_recording(folder).images[20:40] == images.numpy()).all()


def test_the_target_sends_what_was_recorded_and_nothing_else(tmp_path: Path) -> None:
    folder = write(tmp_path / "traffic")
    given = read_recording(folder)
    target = Recorded(RecordedParameters(traffic=str(folder)))
    client, server, head = target.split(Shape(3, SIDE, SIDE), 2, 0)
    assert head is None
    images = torch.from_numpy(given.images[[3, 1]]).float() / 255
    assert torch.equal(client(images), given.smashed[[3, 1]])
    with pytest.raises(NotApplicable, match="cannot be asked about other images"):
        client(images * 0.9)
    with pytest.raises(NotApplicable, match="nobody knows the networks"):
        server(given.smashed)
    with pytest.raises(UsageError, match="the recorded images are 3x16x16, not 3x32x32"):
        target.split(Shape(3, 32, 32), 2, 0)
    blank = Recorded(RecordedParameters()).split(Shape(3, SIDE, SIDE), 2, 0)
    assert not list(blank.client.parameters()), "an attacker's copy has nothing of it"
    with pytest.raises(NotApplicable):
        blank.client(images)


def record_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(["audit", *words, "--threads", "1", "--no-isolate", "--json"]) == 0
    line, *_ = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize("crossed", [True, False])
def test_it_is_attacked_without_a_session(
    crossed: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "traffic", crossed=crossed)
    record = record_of(["--traffic", "traffic", "--attack", "transport", "--seeds", "1"], capsys)
    assert record["status"] == "ok", record["reason"]
    assert ("labels-shared" in record["flags"]) == crossed
    assert record["utility"] is None
    assert record["leakage"]["value"] is not None
    assert ("labels" not in record) == crossed
    assert "training-images-unknown" not in record["flags"]
    page = (tmp_path / "results" / "report.html").read_text()
    assert "recorded traffic on images that were sent" in page
    assert "This is a lower bound" in page
    assert "not measured" in page
    assert run(["report", "results", "-o", "again.html"]) == 0


@pytest.mark.parametrize("attack", ["regression", "pseudo-client", "refine", "fsha"])
def test_an_attack_that_needs_a_network_does_not_apply(
    attack: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "traffic")
    record = record_of(["--traffic", "traffic", "--attack", attack, "--seeds", "1"], capsys)
    assert record["status"] == "skipped"
    assert "recorded elsewhere" in record["reason"] or "nothing is trained" in record["reason"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": None}, "has no labels; give those that crossed as labels"),
        ({"labels": None, "kept_labels": torch.arange(20) % 2}, "some files have labels that"),
        ({"labels": torch.rand(20)}, "labels must be 20 whole numbers"),
        ({"labels": torch.arange(19)}, "labels must be 20 whole numbers"),
        ({"labels": torch.arange(20) - 1}, "labels must be 20 whole numbers"),
        ({"smashed": None}, "smashed must be floats, one for each of the 20 images"),
        ({"smashed": torch.rand(19, 8, 8, 8)}, "one for each of the 20 images"),
        ({"smashed": torch.zeros(20, 8, 8, 8, dtype=torch.int64)}, "smashed must be floats"),
        ({"smashed": torch.rand(20)}, "expected maps"),
        ({"smashed": torch.rand(20, 8, 4, 4)}, "several shapes"),
        ({"smashed": torch.full((20, 8, 8, 8), torch.nan)}, "not finite"),
        ({"images": None}, "images must be"),
        ({"images": torch.rand(20, 16, 16)}, "images must be"),
        ({"images": 2 * torch.rand(20, 3, 16, 16) - 1}, "before normalisation"),
        ({"images": torch.rand(20, 3, 16, 12)}, "must be square"),
        ({"images": torch.zeros(20, 3, 16, 16, dtype=torch.int64)}, "expected uint8, or floats"),
    ],
)
def test_a_recording_in_another_form_is_refused(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "traffic", **change)
    with pytest.raises(DataError, match=says):
        read_recording(folder)


def _without_public(folder: Path) -> None:
    (folder / "public.safetensors").unlink()


def _damaged(folder: Path) -> None:
    (folder / "1.safetensors").write_bytes(b"nothing")


def _empty(folder: Path) -> None:
    for file in folder.glob("[0-9].safetensors"):
        file.unlink()


def _one_class(folder: Path) -> None:
    labels = torch.zeros(80, dtype=torch.int64)
    save_file({"images": drawn(80, 2), "labels": labels}, folder / "public.safetensors")


def _other_public(folder: Path) -> None:
    images = torch.zeros(8, 3, 8, 8, dtype=torch.uint8)
    save_file({"images": images, "labels": torch.arange(8) % 2}, folder / "public.safetensors")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_without_public, "cannot read recorded traffic at .*public.safetensors"),
        (_damaged, "cannot read recorded traffic at .*1.safetensors"),
        (_empty, "holds no .safetensors file"),
        (_other_public, "those of the traffic are"),
        (_one_class, "has no image of class 1, which the traffic has"),
    ],
)
def test_a_folder_in_another_form_is_refused(
    damage: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "traffic")
    damage(folder)
    with pytest.raises(DataError, match=says):
        read_recording(folder)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--traffic", "nowhere"], "there is no folder of recorded traffic at nowhere"),
        (["--traffic", "traffic", "--cut", "1"], "leave out --cut"),
        (["--traffic", "traffic", "--trained-on", "x"], "leave out --trained-on"),
        ([], "name the model and the images: --model and --data, or --traffic"),
        (["--model", "own.py:make"], "--model and --data, or --traffic"),
    ],
)
def test_what_does_not_fit_is_said(
    words: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "traffic")
    assert run(["audit", *words]) == 4
    assert says in capsys.readouterr().err
