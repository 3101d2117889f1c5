"""Real evaluations whose held-out images have few of a class, by the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from splitsec.cli.eval import command
from splitsec.records.record import INVALIDATING, Record
from splitsec.records.store import load_records

LINEAR = '''
"""Sees how bright an image is, and little else."""
from torch import nn
from splitsec import Parameters, Target


class Linear(Target[Parameters]):
    cuts, default_cut = range(3), 0

    def preprocessing(self, image):
        return nn.Identity()

    def layers(self, image, outputs):
        return [nn.AvgPool2d(4), nn.Flatten(), nn.Linear(image.channels * 16, outputs)]
'''


def ran(folder: Path, every: int, private: int, held_out: int) -> tuple[Record, str]:
    """Train on images of which the bright ones, one of ``every``, are ill."""
    draws, rows = np.random.default_rng(0), ["image,label"]
    for number in range(private + held_out + 40):
        ill = number % every == 0
        pixels = (
            draws.integers(200, 255, (16, 16, 3)) if ill else draws.integers(0, 55, (16, 16, 3))
        )
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'ill' if ill else 'healthy'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "linear.py").write_text(LINEAR)
    counts = {"private": private, "public": 20, "validation": 20, "held_out": held_out}
    settings = [f"counts.{name}={count}" for name, count in counts.items()]
    settings += ["training.epochs=20", "training.learning_rate=0.1"]
    options = [word for one in settings for word in ("--set", one)]
    said = CliRunner().invoke(
        command,
        [
            *("--attack", "none", "--target", str(folder / "linear.py")),
            *("--data", f"folder:path={folder}", "--size", "16", "--threads", "1"),
            *options,
            *("--output", str(folder / "results")),
        ],
        standalone_mode=False,
    )
    (record,) = load_records([folder / "results"])
    assert record.status == "ok", record.reason
    return record, " ".join(said.stdout.replace("\u2502", "").split())


@pytest.mark.slow
@pytest.mark.parametrize("every", [20, 40])
def test_a_perfect_model_is_valid_with_few_ill_patients(every: int, tmp_path: Path) -> None:
    record, said = ran(tmp_path, every, private=120, held_out=120)
    assert record.utility is not None
    ill = record.data["balance"]["held-out"]["ill"]
    assert 0 < ill < 10
    assert (record.utility.auc, record.utility.auc_interval) == (1, (1, 1))
    assert not INVALIDATING & set(record.flags)
    assert "1.000 (1.000 to 1.000)" in said
    assert f"few held-out images ({ill} of class 'ill') decide the AUC" in said
    assert said.index("The clients sent the server the label") < said.index("AUC")
    assert record.flags[0] == "labels-shared"
    assert "training.epochs=20" in record.spec.title()
