"""Weights come from files of tensors; whatever else a file holds is refused and never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from splitsec.errors import NotApplicable, UsageError
from splitsec.plugins.toolbox.weights import load_weights


def network(classes: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes))


def state(classes: int = 2) -> dict[str, Any]:
    torch.manual_seed(1)
    return dict(network(classes).state_dict())


@pytest.mark.parametrize(
    "held",
    [
        state(),
        {"state_dict": state(), "epoch": 7},
        {"model_state_dict": state()},
        {f"module.{name}": value for name, value in state().items()},
        {"model": {f"_orig_mod.{name}": value for name, value in state().items()}},
        {name: value.half() for name, value in state().items()},
        {name: value for name, value in state().items() if "num_batches" not in name},
    ],
    ids=["plain", "checkpoint", "wrapped", "parallel", "compiled", "half", "no counters"],
)
def test_state_dicts_in_the_forms_that_people_save(held: Any, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(held, file)
    own = network()
    load_weights(own, file)
    assert torch.allclose(own.state_dict()["0.weight"], state()["0.weight"], atol=1e-3)


def test_safetensors(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state(), file)
    own = network()
    load_weights(own, file)
    assert torch.equal(own.state_dict()["3.bias"], state()["3.bias"])


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("name", ["weights.pt", "weights.bin"])
def test_a_pickled_object_is_refused_and_does_not_run(name: str, tmp_path: Path) -> None:
    file, ran = tmp_path / name, tmp_path / "ran"
    torch.save({"0.weight": Runs(str(ran))}, file)
    with pytest.raises(UsageError, match="could run any code; save the weights alone"):
        load_weights(network(), file)
    assert not ran.exists()


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save(network(), file)
    with pytest.raises(UsageError, match="holds Python objects beside its tensors"):
        load_weights(network(), file)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda file: None, "cannot read weights at"),
        (lambda file: file.write_bytes(b""), "cannot read weights|no state dict|Python objects"),
        (lambda file: file.write_bytes(b"not weights"), "cannot read weights|Python objects"),
        (lambda file: torch.save([1, 2], file), "is no state dict"),
        (lambda file: torch.save({}, file), "is no state dict"),
        (lambda file: torch.save({"a": 3}, file), "is no state dict"),
        (
            lambda file: torch.save({"0.weight": state()["0.weight"]}, file),
            "weights of another network: it lacks '0.bias', '1.weight', '1.bias' and",
        ),
        (
            lambda file: torch.save(state() | {"9.weight": torch.zeros(2)}, file),
            "it also has '9.weight'",
        ),
        (
            lambda file: torch.save(state() | {"0.weight": torch.zeros(4, 3, 5, 5)}, file),
            "'0.weight' is 4x3x5x5 there and 4x3x3x3 in the model",
        ),
        (
            lambda file: torch.save(state() | {"0.bias": torch.full((4,), torch.nan)}, file),
            "'0.bias' has values that are not finite",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(write: Any, says: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    write(file)
    with pytest.raises(UsageError, match=says):
        load_weights(network(), file)


def test_weights_for_other_classes_do_not_apply_unless_the_head_is_new(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(state(classes=5), file)
    with pytest.raises(NotApplicable, match=r"5x4 there and 2x4 in the model; with new_head=true"):
        load_weights(network(), file)
    own = network()
    before = own.state_dict()["3.weight"].clone()
    load_weights(own, file, new_head=True)
    assert torch.equal(own.state_dict()["0.weight"], state(5)["0.weight"])
    assert torch.equal(own.state_dict()["3.weight"], before)
