"""The model of a request: how each axis may be given, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from splitsec.cells.plugin_requests import PluginRequest, parse_request, sweep
from splitsec.cells.profiles import get_profile
from splitsec.cells.requests import Request, make_request, request_of
from splitsec.cells.resolve import resolve
from splitsec.errors import UsageError
from splitsec.plugins.loading import load_plugin
from splitsec.records.spec import CellSpec
from splitsec.running.runs import evaluate


@pytest.mark.parametrize(
    ("axis", "given", "kept"),
    [
        ("attack", ["none", "adra:epochs=4"], "none,adra:epochs=4"),
        ("cut", "2, 3", (2, 3)),
        ("cut", ["2", 3], (2, 3)),
        ("size", 64, (64,)),
        ("seed", range(3), (0, 1, 2)),
        ("settings", {"training.epochs": 5, "training.keep": "best"}, None),
        ("settings", ["training.epochs=5", "training.keep=best"], None),
    ],
)
def test_an_axis_may_be_given_as_text_or_values(axis: str, given: Any, kept: Any) -> None:
    request = Request(**{"attack": "fsha", axis: given})
    expected = kept if kept is not None else ("training.epochs=5", "training.keep=best")
    assert getattr(request, axis) == expected


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"atack": "fsha"}, "unknown axis of a request: 'atack'; did you mean 'attack'?"),
        ({"attack": 3}, "attack: Input should be a valid string"),
        ({"cut": "two"}, "--cut 'two' is not a list of whole numbers"),
        ({"cut": 2.5}, "--cut '2.5' is not a list of whole numbers"),
        ({"cut": True}, "--cut 'True' is not a list of whole numbers"),
        ({"cut": []}, "cut: .* at least 1"),
        ({"size": [32, "x"]}, "--size '32,x' is not a list of whole numbers"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0 .got -1"),
        ({"seed": "1,x"}, "--seed '1,x' is not a list of whole numbers"),
        ({"channels": 2}, "channels: Input should be 1 or 3 .got 2"),
        ({"clients": 0}, "clients: Input should be greater than or equal to 1"),
        ({"threads": 0}, "threads: Input should be greater than or equal to 1"),
        ({"public_from": "here"}, "public_from: Input should be 'same' or 'shifted'"),
        ({"settings": "training.epochs=5"}, "settings: Input should be a valid tuple"),
    ],
)
def test_a_wrong_axis_is_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_request(values)


def test_the_strongest_attack_is_the_default() -> None:
    assert make_request({}).attack == "strongest"


def test_a_request_with_changes_is_checked_again() -> None:
    request = Request(attack="fsha", cut=2)
    assert request.replaced(size="64", seed=range(2)) == Request(
        attack="fsha", cut=2, size=64, seed=(0, 1)
    )
    with pytest.raises(UsageError, match="did you mean 'size'"):
        request.replaced(sise=64)


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"cutt": 2}, "unknown keyword of evaluate.*: 'cutt'; did you mean 'cut'?"),
        ({"isolat": True}, "did you mean 'isolate'?"),
        ({"parameter": {}}, "did you mean 'parameters'?"),
        ({"clients": 0}, "clients: Input should be greater"),
        ({"seed": [0, 1]}, "runs one cell, but this asks for 2"),
        ({"settings": ["a=1"], "parameters": {"a": 1}}, "parameters or settings, not both"),
    ],
)
def test_evaluate_names_a_wrong_keyword(keywords: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        evaluate("none", **keywords)


def test_parsing_a_request() -> None:
    request = Request(
        attack="none,adra:epochs=4",
        settings={"attack.adra.width": 8, "training.epochs": 2},
        sweeps=["target.resnet.depth=18,34"],
    )
    parsed = parse_request(request, get_profile("quick"), str)
    assert parsed.plugins == {
        "attack": [("none", {}), ("adra", {"epochs": "4"})],
        "defense": [("none", {})],
        "target": [("resnet", {"depth": "18"}), ("resnet", {"depth": "34"})],
        "data": [],
    }
    assert parsed.settings.plugins["attack"] == {"adra": {"width": "8"}}
    assert parsed.settings.training == {"epochs": "2"}
    with pytest.raises(UsageError, match="this run has no defense 'dcor'"):
        parse_request(
            request.replaced(settings=["defense.dcor.alpha=1"]), get_profile("quick"), str
        )


def test_a_sweep_without_values_means_the_strengths_that_a_defense_states() -> None:
    asked: dict[str, Any] = {"attack": "none", "target": "fsha-client", "cut": 1, "size": 16}
    cells = resolve(
        Request(defense="none,clip+dropout:limit=2", sweeps=["defense.clip+dropout"], **asked)
    )
    assert [cell.spec.parameters["defense"].get("rate") for cell in cells] == [
        None,
        *load_plugin("defense", "dropout").cls.strength.values,
    ]
    assert {cell.spec.parameters["defense"].get("limit") for cell in cells[1:]} == {2.0}
    assert all(cell.spec.changed["defense"] for cell in cells[1:])


@pytest.mark.parametrize(
    ("defense", "sweep", "says"),
    [
        ("none", "defense.none", "this defense has no strength"),
        ("clip", "defense.clip", "this defense has no strength"),
        ("dcor", "defense.dropout", "nor defense.dcor for a defense of this run"),
        ("dcor", "attack.none", "not of the form"),
        ("dcor", "defense", "not of the form"),
        ("dcor", "defense.", "not of the form"),
    ],
)
def test_a_sweep_without_strengths_is_refused(defense: str, sweep: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        resolve(Request(attack="none", defense=defense, sweeps=[sweep]))


def test_a_strangers_defense_is_not_loaded_to_find_its_strengths(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UsageError, match=r"write --sweep defense\..*PARAMETER=VALUE"):
        resolve(Request(attack="none", defense=str(file), sweeps=["defense.mine"]))
    assert not (tmp_path / "ran").exists()


def test_a_sweep_leaves_the_rest_in_place() -> None:
    before = {
        "defense": [PluginRequest("none", {}), PluginRequest("./my_own.py:Mine", {"a": "1"})],
        "attack": [PluginRequest("none", {})],
    }
    after = sweep(before, "defense.my-own.b=2, 3", str)  # type: ignore[arg-type]
    assert after["defense"] == [
        ("none", {}),
        ("./my_own.py:Mine", {"a": "1", "b": "2"}),
        ("./my_own.py:Mine", {"a": "1", "b": "3"}),
    ]
    assert after["attack"] == before["attack"]
    assert before["defense"][1].parameters == {"a": "1"}, "it is not changed in place"


def test_a_cells_own_request_makes_the_same_cell() -> None:
    asked = Request(
        attack="fsha:iterations=7,loss=bce",
        defense="dcor:alpha=0.3",
        target="resnet:depth=18",
        cut=2,
        size=32,
        channels=1,
        clients=2,
        seed=4,
        public_from="shifted",
        threads=3,
        settings=["training.keep=best", "counts.victims=30"],
    )
    (cell,) = resolve(asked)
    request = request_of(cell.spec, {})
    assert request.attack == "fsha"
    assert {name for name in CellSpec.model_fields if name in Request.model_fields} == {
        *Request.model_fields
    } - {"settings", "sweeps"}
    (again,) = resolve(request)
    assert again.spec == cell.spec
    assert request_of(cell.spec, {"attack": "./fsha.py"}).attack == "./fsha.py"
