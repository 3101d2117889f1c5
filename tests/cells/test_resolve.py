"""The steps from a request to cells, one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from splitsec.cells.configured import configure
from splitsec.cells.plugin_requests import PluginRequest, Settings, parse_request
from splitsec.cells.profiles import get_profile
from splitsec.cells.requests import Request
from splitsec.cells.resolve import (
    Combination,
    build_training,
    check_splits,
    check_task,
    combinations,
    load_plugins,
    make_spec,
    resolve,
)
from splitsec.errors import UsageError
from splitsec.plugins.source import Task
from splitsec.training.settings import Training

QUICK = get_profile("quick")
NOTHING = Settings({"attack": {}, "defense": {}, "target": {}, "data": {}}, {}, {})


def loaded(**axes: Any) -> tuple[Request, Any]:
    request = Request(**{"attack": "none", **axes})
    return request, load_plugins(parse_request(request, QUICK, str), "quick")


def one(**axes: Any) -> tuple[Request, Combination]:
    request, plugins = loaded(**axes)
    (combination,) = combinations(request, plugins)
    return request, combination


def test_plugins_are_loaded_with_what_was_set_of_them() -> None:
    _, plugins = loaded(
        attack="none,adra:epochs=4",
        defense="dcor:alpha=0.9",
        settings=["attack.adra.epochs=5", "defense.dcor.estimator=published"],
    )
    assert [plugin.label for plugin in plugins.attacks] == ["attack 'none'", "attack 'adra'"]
    assert plugins.attacks[1].parameters.epochs == 4, "what stands beside the name wins"
    (defense,) = plugins.defenses
    assert (defense.parameters.alpha, defense.parameters.estimator) == (0.9, "published")


def test_data_sets_that_are_not_named_are_the_tasks() -> None:
    _, plugins = loaded(target="resnet,unet")
    assert plugins.data == []
    assert {task: data.plugin.name for task, data in plugins.usual_data.items()} == QUICK.data
    _, plugins = loaded(target="resnet", data="retinamnist")
    assert [data.plugin.name for data in plugins.data] == ["retinamnist"]
    assert plugins.usual_data == {}


def test_combinations_are_in_order() -> None:
    request, plugins = loaded(
        attack="none,adra",
        defense="none,dcor",
        target="resnet,fsha-client",
        data="phantom-fundus,retinamnist",
        cut=[1, 2],
        size=[32, 64],
        seed=range(2),
    )
    found = [
        (
            each.target.plugin.name,
            each.data.plugin.name,
            each.size,
            each.cut,
            each.attack.plugin.name,
            each.defense.plugin.name,
            each.seed,
        )
        for each in combinations(request, plugins)
    ]
    places = (
        ("resnet", "fsha-client"),
        ("phantom-fundus", "retinamnist"),
        (32, 64),
        (1, 2),
        ("none", "adra"),
        ("none", "dcor"),
        (0, 1),
    )
    assert len(found) == len(set(found)) == 2**7
    ranks = [[place.index(name) for place, name in zip(places, key, strict=True)] for key in found]
    assert ranks == sorted(ranks), "the last of them varies fastest"


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"cut": 99}, "cut 99 is out of range"),
        ({"target": "unet", "data": "retinamnist"}, "is trained for segmentation"),
    ],
)
def test_combinations_that_cannot_be(axes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        list(combinations(*loaded(**axes)))


def test_a_specification_has_defaults_of_profile_data_and_target() -> None:
    request, combination = one(target="unet")
    spec = make_spec(request, QUICK, NOTHING, combination)
    own = QUICK.for_data["phantom-cxr"]
    assert (spec.target, spec.data, spec.size) == ("unet", "phantom-cxr", own["size"])
    assert (spec.private, spec.threads) == (QUICK.private, QUICK.threads)
    assert spec.cut == combination.target.plugin.cls.default_cut
    assert (spec.channels, spec.clients, spec.public_from, spec.seed) == (3, 1, "same", 0)
    own_training = combination.target.plugin.cls.training.get("quick", {})
    assert spec.training == build_training(QUICK.training, own_training)


def test_a_specification_has_what_the_request_says_instead() -> None:
    request, combination = one(
        attack="adra:epochs=4",
        target="resnet:depth=18",
        data="retinamnist",
        cut=2,
        size=48,
        channels=1,
        clients=3,
        seed=5,
        public_from="shifted",
        threads=7,
    )
    settings = NOTHING._replace(counts={"private": "90"}, training={"epochs": "3"})
    spec = make_spec(request, QUICK, settings, combination, "sealed")
    assert (spec.cut, spec.size, spec.channels, spec.clients) == (2, 48, 1, 3)
    assert (spec.seed, spec.public_from, spec.threads) == (5, "shifted", 7)
    assert (spec.private, spec.public) == (90, QUICK.public)
    assert spec.training == QUICK.training.model_copy(update={"epochs": 3})
    assert spec.partition_commitment == "sealed"
    assert spec.parameters["attack"]["epochs"] == 4
    assert spec.parameters["target"]["depth"] == 18
    with pytest.raises(UsageError, match="private: Input should be greater"):
        make_spec(request, QUICK, NOTHING._replace(counts={"private": "1"}), combination)


@pytest.mark.parametrize(("task", "fits"), [("classification", True), ("segmentation", False)])
def test_data_must_be_labelled_for_the_targets_task(task: Task, fits: bool) -> None:
    data = configure("data", PluginRequest("phantom-fundus", {}))
    if fits:
        check_task("target 'mine'", task, data)
        return
    with pytest.raises(UsageError, match=r"target 'mine' is trained for segm.*phantom-cxr"):
        check_task("target 'mine'", task, data)


def test_later_training_settings_win() -> None:
    base = Training(epochs=10, batch_size=32, learning_rate=0.1)
    built = build_training(base, {"epochs": 5, "optimizer": "sgd"}, {"epochs": "7"})
    assert built == Training(epochs=7, batch_size=32, learning_rate=0.1, optimizer="sgd")
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        build_training(base, {"epoch": 5})


def test_a_target_is_split_once_for_cells_that_start_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells = resolve(Request(attack="none,adra", target="resnet:depth=18", cut=[2, 3], seed=(0, 1)))
    split: list[int] = []
    target = cells[0].target.plugin.cls
    usual = target.split

    def counted(self: Any, image: Any, outputs: int, cut: int) -> Any:
        split.append(cut)
        return usual(self, image, outputs, cut)

    monkeypatch.setattr(target, "split", counted)
    check_splits(cells)
    assert split == [2, 3]


def test_images_that_are_too_small_for_a_target_are_said() -> None:
    (cell,) = resolve(Request(attack="none", target="fsha-client"))
    tiny = replace(cell, spec=cell.spec.model_copy(update={"size": 1}))
    with pytest.raises(UsageError, match="images of 3x1x1 are too small"):
        check_splits([tiny])
