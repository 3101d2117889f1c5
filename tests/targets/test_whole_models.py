"""Targets that are whole networks: what a file builds, its weights, and who gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from splitsec.cells.attacker import roles_of
from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.data.loading import load_data
from splitsec.errors import NotApplicable, PluginError, UsageError
from splitsec.isolation import isolation_for
from splitsec.plugins.grants import ThreatModel
from splitsec.plugins.loading import kinds_of, load_plugin
from splitsec.plugins.target import SplitModel, Target, without_weights
from splitsec.plugins.toolbox.whole_models import TwoLogits, WholeModelParameters, statistics
from splitsec.progress import Silent
from splitsec.shapes import Shape
from support.cells import COUNTS

IMAGE = Shape(3, 16, 16)

FILE = '''
"""A network of a person's own."""
from torch import nn


def make(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, num_classes)
    )


def one_logit():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 1))


def seven():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 7))


def filled(num_classes):
    network = make(num_classes)
    for weight in network.parameters():
        nn.init.constant_(weight, 0.5)
    return network


def backbone(num_classes):
    network = make(num_classes)
    nn.init.ones_(network[0].weight)
    return nn.Sequential(nn.Conv2d(3, 3, 64, padding="same"), *network).apply(half)


def half(module):
    if isinstance(module, nn.Conv2d):
        nn.init.constant_(module.weight, 0.25)


def frozen(num_classes):
    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 2)]
    network = nn.Sequential(*layers)
    return network.requires_grad_(False)


def masks():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))


def fails(num_classes):
    raise ValueError("no such file")


def needs(width, num_classes):
    return make(num_classes)


def several():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 2, 3)

        def forward(self, images):
            return {"out": self.layer(images)}

    return Several()


class Whole(nn.Sequential):
    def __init__(self, num_classes=2):
        super().__init__(*make(num_classes))


not_a_network = 3
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own_model.py"
    path.write_text(FILE)
    return path


def target_of(file: Path, name: str, **parameters: Any) -> Target[Any]:
    plugin = load_plugin("target", f"{file}:{name}")
    given = {"at": "1", **parameters}
    target: Target[Any] = plugin.cls(WholeModelParameters(**given))
    return target


def split(file: Path, name: str, outputs: int = 2, **parameters: Any) -> SplitModel:
    torch.manual_seed(0)
    return target_of(file, name, **parameters).split(IMAGE, outputs, 0)


@pytest.mark.parametrize("name", ["make", "Whole"])
def test_a_function_or_a_class_that_builds_a_network_is_a_target(file: Path, name: str) -> None:
    model = split(file, name, outputs=5)
    images = torch.rand(4, *IMAGE)
    assert model.client(images).shape == (4, 4, 8, 8)
    assert model.server(model.client(images)).shape == (4, 5)
    assert kinds_of(f"{file}:{name}") == ["target"]


def test_its_record_names_the_function_and_its_code_is_hashed(file: Path) -> None:
    plugin = load_plugin("target", f"{file}:make")
    assert plugin.name == "own-model"
    assert plugin.cls.__qualname__ == "make"
    other = file.with_name("own_model_2.py")
    other.write_text(FILE.replace("nn.ReLU()", "nn.Tanh()"))
    assert load_plugin("target", f"{other}:make").code != plugin.code


def test_images_are_normalised_as_a_person_says(file: Path) -> None:
    target = target_of(file, "make", normalise="0.5 0.4 0.3 / 0.5 0.25 0.2")
    done = target.preprocessing(IMAGE)(torch.full((1, 3, 2, 2), 0.9))
    assert done[0, :, 0, 0].tolist() == pytest.approx([0.8, 2.0, 3.0])
    assert statistics("none") == ((0.0,), (1.0,))
    for wrong in ("imagnet", "0.5", "0.5 0.5 / 0.2 0.2", "0.5 / 0", "a / b"):
        with pytest.raises(ValueError, match="imagenet , half , none"):
            statistics(wrong)


def test_one_logit_for_two_classes_becomes_two(file: Path) -> None:
    model = split(file, "one_logit")
    images, labels = torch.rand(6, *IMAGE), torch.arange(6) % 2
    one = model.server[0](model.client(images)).flatten()
    two = model.server(model.client(images))
    binary = nn.functional.binary_cross_entropy_with_logits(one, labels.float())
    assert torch.allclose(nn.functional.cross_entropy(two, labels), binary)
    assert torch.equal(TwoLogits()(one), two)


def test_masks_need_the_task(file: Path) -> None:
    model = split(file, "masks", outputs=1, at="1", task="segmentation")
    assert model.server(model.client(torch.rand(2, *IMAGE))).shape == (2, 1, 16, 16)


@pytest.mark.parametrize(
    ("name", "outputs", "error", "says"),
    [
        ("seven", 2, NotApplicable, "answers with 7 values per image, and the images have 2"),
        ("one_logit", 3, NotApplicable, "answers with 1 values per image"),
        ("masks", 2, NotApplicable, "expected 2 logits, or one for two classes"),
        ("several", 2, UsageError, "gives dict; wrap it in a module"),
        ("filled", 2, UsageError, "which an attacker's copy of it would have, too"),
        ("backbone", 2, UsageError, "which an attacker's copy of it would have, too"),
        ("fails", 2, PluginError, "no such file"),
        ("needs", 2, PluginError, r"needs\(\) needs width"),
        ("not_a_network", 2, PluginError, "not_a_network"),
        ("missing", 2, PluginError, "unknown target class"),
    ],
)
def test_what_builds_no_usable_network_is_refused(
    file: Path, name: str, outputs: int, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        split(file, name, outputs, at="0")


def test_a_file_of_functions_says_how_to_name_one(file: Path) -> None:
    with pytest.raises(PluginError, match=r"name what builds it, as FILE.py:FUNCTION"):
        load_plugin("target", str(file))


def cells_of(file: Path, name: str = "make", **more: Any) -> list[Cell]:
    settings = [f"target.own-model.at={more.pop('at', '1')}", *more.pop("settings", ())]
    return resolve(
        Request(
            attack=more.pop("attack", "none"),
            defense="none",
            target=f"{file}:{name}",
            data="phantom-fundus",
            size=16,
            threads=1,
            settings=[*COUNTS, "training.batch_size=8", *settings],
        ),
        **more,
    )


def weights_of(file: Path, folder: Path) -> Path:
    torch.manual_seed(7)
    network = target_of(file, "make").network(IMAGE, 2)  # type: ignore[attr-defined]  # of a whole model
    path = folder / "weights.pt"
    torch.save(network.state_dict(), path)
    return path


def test_the_clients_have_the_weights_and_an_attackers_copy_does_not(
    file: Path, tmp_path: Path
) -> None:
    from splitsec.cells.private_side import PrivateSide

    path = weights_of(file, tmp_path)
    (cell,) = cells_of(file, settings=[f"target.own-model.weights={path}"])
    side = PrivateSide(cell, load_data(cell.data_spec(), Silent()))
    trained = torch.load(path)["0.weight"]
    assert torch.equal(_first(side.model().client), trained)
    holdings = side.holdings()
    for _ in range(2):
        assert not torch.equal(_first(holdings.fresh_model().client), trained)
    copied = holdings.fresh_defense()
    assert copied.untrained is not None
    for seed in range(2):
        assert not torch.equal(_first(copied.untrained.model(seed).client), trained)
    own = side._new_session().side.clients[0].defense.untrained
    assert torch.equal(_first(own.model(0).client), trained), "a client begins with its own"
    target = without_weights(side.target)
    assert target.parameters.weights == ""
    assert side.target.parameters.weights == str(path)


def _first(client: nn.Module) -> torch.Tensor:
    return next(client.parameters()).detach()


def test_an_isolated_attack_is_not_told_where_the_weights_are(file: Path, tmp_path: Path) -> None:
    path = weights_of(file, tmp_path)
    isolation = isolation_for(True, sandbox=False)
    (cell,) = cells_of(
        file,
        attack="regression",
        settings=[f"target.own-model.weights={path}"],
        isolation=isolation,
    )
    roles = roles_of(cell, ThreatModel(client_architecture=True))
    assert roles.target_parameters["weights"] == ""
    assert path not in roles.inputs


def test_weights_count_by_their_content_and_the_cut_does_not_change_what_is_drawn(
    file: Path, tmp_path: Path
) -> None:
    path = weights_of(file, tmp_path)
    other = path.with_name("other.pt")
    other.write_bytes(path.read_bytes())
    found = {
        name: cells_of(file, settings=[f"target.own-model.weights={one}"])[0]
        for name, one in (("first", path), ("same", other))
    }
    (without,), (elsewhere,) = cells_of(file), cells_of(file, at="0")
    ids = {name: cell.cell_id("0" * 64) for name, cell in found.items()}
    assert ids["first"] == ids["same"] != without.cell_id("0" * 64)
    assert without.cell_id("0" * 64) != elsewhere.cell_id("0" * 64)
    assert without.client_key() == elsewhere.client_key()
    assert elsewhere.spec.cut_name == "0"
    assert "cut 0, phantom-fundus" in elsewhere.spec.title()


def test_a_frozen_client_whose_statistics_would_change_is_refused(
    file: Path, tmp_path: Path
) -> None:
    from splitsec.cells.private_side import PrivateSide

    (cell,) = cells_of(file, "frozen")
    data = load_data(cell.data_spec(), Silent())
    with pytest.raises(UsageError, match=r"frozen .* batch normalisation .* training.mode=inf"):
        PrivateSide(cell, data)
    (used,) = cells_of(file, "frozen", settings=["training.mode=inference"])
    PrivateSide(used, data)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["target.own-model.at=9"], "unknown submodule of Sequential: '9'"),
        (["target.own-model.weights=/nowhere.pt"], "cannot read"),
        (["target.own-model.normalise=imagnet"], "imagenet , half , none"),
    ],
)
def test_a_wrong_model_is_refused_before_any_cell(
    file: Path, settings: list[str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        cells_of(file, settings=settings)


def test_a_model_of_torchvision_by_its_name() -> None:
    plugin = load_plugin("target", "torchvision")
    with pytest.raises(ValueError, match="did you mean 'mobilenet_v3_small'"):
        plugin.cls.Parameters(model="mobilenet_v3_smal")
    target = plugin.cls(plugin.cls.Parameters(at="features.1"))
    model = target.split(Shape(3, 32, 32), 3, 0)
    assert model.client.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 16, 8, 8)
    assert model.server.eval()(torch.rand(2, 16, 8, 8)).shape == (2, 3)
