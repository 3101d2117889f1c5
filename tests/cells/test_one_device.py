"""Every built-in runs on one device: whole cells on torch's ``meta``, which has no values."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar

import pytest
import torch

from splitsec import cli
from splitsec.cells import private_side, score_attack
from splitsec.cells.cell import Cell, build_model
from splitsec.cells.private_side import PrivateSide
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import load_data
from splitsec.devices import CPU, Device
from splitsec.plugins.target import SplitModel
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from support.meta import META, MixedDevicesError, OneDevice, without_fused_kernels

T = TypeVar("T")

LIGHT = [
    "training.epochs=1",
    "training.batch_size=8",
    "counts.private=8",
    "counts.public=8",
    "counts.validation=4",
    "counts.held_out=8",
    "counts.victims=4",
]


def cells_of(device: Device, **asked: Any) -> list[Cell]:
    settings = [*LIGHT, *asked.pop("settings", [])]
    given = {"attack": "none", "defense": "none", "size": 16, "threads": 1, **asked}
    cells = resolve(Request(settings=settings, **given))
    return [replace(cell, device=device) for cell in cells]


def run(folder: Path, cells: Sequence[Cell]) -> list[Record]:
    return list(run_cells(list(cells), folder / "out", Silent()))


@pytest.fixture(autouse=True)
def _plain_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    without_fused_kernels(monkeypatch)


def run_on_meta(folder: Path, **asked: Any) -> list[Record]:
    with OneDevice():
        return run(folder, cells_of(META, **asked))


DEFENSES = (
    "none",
    "gaussian-noise",
    "dcor",
    "dcor:estimator=bias-corrected",
    "proxy-adversary",
    "proxy-adversary:decoder=report,optimizer=sgd",
)
TARGETS = (
    pytest.param("resnet:depth=18", marks=pytest.mark.slow),
    pytest.param("resnet:depth=18,labels=private", marks=pytest.mark.slow),
    "fsha-client",
    "unet:width=4",
    pytest.param("unet:width=4,loss=dice+bce", marks=pytest.mark.slow),
    "vit:width=16,depth=2",
)


@pytest.mark.parametrize("target", TARGETS)
def test_split_training_runs_on_one_device(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step at every cut, with each defense somewhere: encoder, wire, server, optimizers."""
    models: dict[int, SplitModel] = {}

    def built_once(cell: Cell, *args: Any) -> SplitModel:
        if cell.spec.cut not in models:
            models[cell.spec.cut] = build_model(cell, *args)
        return models[cell.spec.cut]

    monkeypatch.setattr(private_side, "build_model", built_once)
    asked = {"target": target, "defense": ",".join(DEFENSES)}
    cells = cells_of(META, cut=cuts_of(target), **asked)
    cuts, count = len(cells) // len(DEFENSES), len(DEFENSES)
    # The cells of one cut follow each other; the first cut also takes what no other cut does.
    chosen = [*range(cuts, count), *(cut * count + cut % count for cut in range(cuts))]
    data = load_data(cells[0].data_spec(), Silent())
    for cell in (cells[index] for index in chosen):
        with OneDevice():
            trained = PrivateSide(cell, data).honest(Silent())
        where = f"cut {cell.spec.cut}, {cell.spec.defense}"
        assert trained.session.exchanges == 1, where
        assert len(trained.losses) == 1, where
    assert len(models) == cuts


def cuts_of(target: str) -> str:
    plugin = one(cells_of(META, target=target)).target
    made = plugin.plugin.cls(plugin.parameters)
    return ",".join(str(cut) for cut in made.cuts if cut in made.possible_cuts())


def one(cells: list[Cell]) -> Cell:
    (cell,) = cells
    return cell


PASSIVE = "adra:epochs=1,queries=8,kept=0.5,regression:queries=20,average:queries=20"
ACTIVE = "fsha:iterations=1,image_steps=1,pretraining=1"
LISTENING = (
    "transport:rounds=2,starts=1,pseudo-client:epochs=1,afterwards=1,every=1,"
    "sdar:afterwards=1,client_batch_size=4,fora:epochs=1,afterwards=1,client_batch_size=4,width=8"
)
VARIANTS = (
    "adra:epochs=1,decoder=report,optimizer=sgd,loss=l2,kept=0,blend=false,queries=2",
    "adra:epochs=1,pairs=private",
    "fsha:iterations=2,image_steps=1,pretraining=0,loss=bce,average=0,mirror=false,critic_steps=2",
    "fsha:iterations=1,image_steps=1,pretraining=0,networks=paper,gradient_penalty_norm=channel",
    "pseudo-client:epochs=1,afterwards=1,align_labels=false",
    "sdar:afterwards=1,image_critic=1,refine:steps=1,images=20",
)


@pytest.mark.parametrize(
    ("target", "attacks"),
    [
        pytest.param("fsha-client", (PASSIVE,), id="maps"),
        pytest.param("fsha-client", (ACTIVE, LISTENING), id="sessions", marks=pytest.mark.slow),
        pytest.param("vit:width=16,depth=2", (PASSIVE,), id="tokens", marks=pytest.mark.slow),
        pytest.param("unet:width=4", (ACTIVE, LISTENING), id="masks", marks=pytest.mark.slow),
        pytest.param("fsha-client", VARIANTS, id="variants", marks=pytest.mark.slow),
    ],
)
def test_whole_cells_run_on_one_device(target: str, attacks: Sequence[str], tmp_path: Path) -> None:
    """From the images to the record: each attack trains, reconstructs and is scored."""
    for record in run_on_meta(tmp_path, target=target, attack=",".join(attacks)):
        assert record.status == "ok", (record.spec.title(), record.reason)
        assert record.provenance.device == "meta"
        assert record.victims is not None


@pytest.mark.slow
def test_what_splitsec_new_writes_runs_on_one_device(tmp_path: Path) -> None:
    for kind in ("attack", "defense", "target"):
        assert cli.run(["new", kind, f"my-{kind}-one", "--output", str(tmp_path)]) == 0
    asked = {kind: str(tmp_path / f"my_{kind}_one.py") for kind in ("attack", "defense", "target")}
    (record,) = run_on_meta(tmp_path, **asked)
    assert record.status == "ok", record.reason


WRONG = {
    "attack, answer made on the CPU": """
        from splitsec import Attack, Hijacking, ThreatModel
        class Wrong(Attack):
            @classmethod
            def threat_model(cls, parameters):
                return ThreatModel(active=True, public_images=True)
            def hijacking(self):
                return Hijacking(1)
            def answer(self, message):
                return torch.zeros(message.smashed.shape)
            def reconstruct(self, smashed):
                return self.view.public_images[:1].expand(len(smashed), -1, -1, -1)
    """,
    "attack, reconstruct()": """
        from splitsec.attacks.adra import Adra
        class Wrong(Adra):
            def reconstruct(self, smashed):
                return super().reconstruct(smashed) * torch.tensor(0.5)
    """,
    "defense": """
        from splitsec import Defense
        class Wrong(Defense):
            def release(self, images, smashed):
                return smashed + torch.zeros(smashed.shape[1:])
    """,
    "defense, penalty()": """
        from splitsec import Defense
        class Wrong(Defense):
            def penalty(self, images, smashed, labels):
                return torch.where(smashed > 0, smashed, torch.tensor(0.5)).mean()
    """,
    "defense, network of begin()": """
        from splitsec import Defense
        class Wrong(Defense):
            def begin(self, image, smashed, generator):
                self.network = torch.nn.Conv2d(smashed.channels, 1, 1)
            def penalty(self, images, smashed, labels):
                return self.network(smashed).mean()
    """,
    "target": """
        from splitsec.targets.fsha_client import FshaClient
        class Plus(torch.nn.Module):
            def forward(self, images):
                return images + torch.zeros(3).view(1, 3, 1, 1)
        class Wrong(FshaClient):
            def preprocessing(self, image):
                return Plus()
    """,
}
"""Plug-ins that make a tensor on the CPU and let it meet what they are given."""

SHORT = {
    "attack, reconstruct()": ":epochs=1,queries=8",
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_tensor_made_on_the_cpu_fails(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("import torch\n" + dedent(WRONG[kind]))
    role = kind.split(",", maxsplit=1)[0]
    asked = {"target": "fsha-client", role: str(file) + SHORT.get(kind, "")}
    on_cpu, on_meta = (one(cells_of(device, **asked)) for device in (CPU, META))
    (record,) = run(tmp_path / "cpu", [on_cpu])
    assert record.status == "ok", record.reason
    with OneDevice():
        (record,) = run(tmp_path / "meta", [on_meta])
    assert record.status == "failed"
    assert re.search("on cpu|cpu and meta", record.reason or ""), record.reason


def test_what_torch_lets_pass_is_refused() -> None:
    values, rows = torch.zeros(3, device="meta"), torch.tensor([0, 1])
    assert (values * torch.tensor(0.5)).is_meta, (
        "torch takes a CPU tensor without axes for a number"
    )
    assert values[rows].is_meta, "torch takes an index on the CPU"
    with OneDevice():
        assert (0.5 * values + 1).is_meta
        assert values.sum().item() == 1
        for mix in (lambda: values * torch.tensor(0.5), lambda: values[rows]):
            with pytest.raises(MixedDevicesError, match="cpu and meta"):
                mix()


@dataclass(frozen=True)
class RecordingDevice(Device):
    """Remembers by which functions of which files it is asked to put something."""

    seen: list[tuple[str, str]] = field(default_factory=list)

    def put(self, value: T) -> T:
        caller = sys._getframe(1).f_code
        file = Path(caller.co_filename)
        self.seen.append((f"{file.parent.name}/{file.name}", caller.co_name))
        return super().put(value)

    def __deepcopy__(self, memo: dict[int, Any]) -> RecordingDevice:
        return self  # a defense that is copied with its device


PLACES = {
    "model building": [("cells/cell.py", "build_model")],
    "batches": [("training/client.py", "step")],
    "release": [("training/release.py", "send")],
    "view": [("plugins/view.py", "add")],
    "measures": [
        ("metrics/victims.py", "fit"),
        ("metrics/victims.py", "on"),
        ("metrics/victims.py", "score"),
    ],
    "LPIPS": [("metrics/perceptual.py", "__init__")],
}
"""Where a cell moves something, by what it is: one place for each, however often it is passed."""


@pytest.mark.slow
def test_a_cell_moves_each_thing_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_attack, "_LPIPS", {})
    device = RecordingDevice()
    (record,) = run(tmp_path, cells_of(device, attack="adra:epochs=1,queries=8"))
    assert record.status == "ok", record.reason
    places = {place for those in PLACES.values() for place in those}
    if "lpips-unavailable" in record.flags:
        places -= set(PLACES["LPIPS"])
    assert set(device.seen) == places
    counted = Counter(device.seen)
    # Of the model: for the shape of smashed data, the view's server, and the honest session.
    assert counted["cells/cell.py", "build_model"] == 3
    assert counted["training/client.py", "step"] == record.session["honest_exchanges"]
    # The view at its start and when fit() begins; it adds nothing while the session runs.
    assert counted["plugins/view.py", "add"] == 3
    # Public with validation images, two sets of victims, and their reconstructions.
    assert [counted[place] for place in PLACES["measures"]] == [1, 2, 2]
