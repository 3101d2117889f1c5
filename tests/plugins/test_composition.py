"""Several defenses in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from splitsec.cells.configured import configure
from splitsec.cells.plugin_requests import PluginRequest, parse_plugins
from splitsec.errors import UsageError
from splitsec.isolation import Isolation
from splitsec.plugins.composition import Composition, compose
from splitsec.plugins.defense import Defense
from splitsec.plugins.loading import builtin_code, is_builtin, load_plugin
from splitsec.plugins.parameters import Parameters
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from splitsec.shapes import Shape
from support.cells import tiny_cells


class Adds(Defense[Parameters]):
    """Adds one, weighs the task by a half, and asks for less."""

    @property
    def task_weight(self) -> float:
        return 0.5

    def begin(self, image: Any, smashed: Any, generator: torch.Generator) -> None:
        self.epochs: list[int] = []
        self.layer = torch.nn.Linear(1, 1)

    @property
    def networks(self) -> list[torch.nn.Module]:
        return [self.layer]

    def begin_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        return smashed + 1

    def penalty(self, images: Tensor, smashed: Tensor, labels: Tensor | None) -> Tensor:
        return smashed.sum() + (0 if labels is None else labels.sum())

    def receive(self, gradient: Tensor, step: int, labels: Tensor) -> Tensor:
        return gradient + step


class Doubles(Defense[Parameters]):
    """Doubles, and asks for nothing."""

    def release(self, images: Tensor, smashed: Tensor) -> Tensor:
        return 2 * smashed

    def receive(self, gradient: Tensor, step: int, labels: Tensor) -> Tensor:
        return 2 * gradient


def composed(**named: type[Defense[Any]]) -> Composition:
    cls = compose(named)
    made = cls(cls.Parameters())
    made.begin(Shape(1, 4, 4), Shape(1, 2, 2), torch.Generator())
    return made


def test_each_changes_what_the_one_before_would_send() -> None:
    one, images = torch.ones(2, 1, 2, 2), torch.rand(2, 1, 4, 4)
    first, last = composed(adds=Adds, doubles=Doubles), composed(doubles=Doubles, adds=Adds)
    assert first.release(images, one).unique().tolist() == [4.0]
    assert last.release(images, one).unique().tolist() == [3.0]
    assert first.receive(one, 3, torch.tensor([0, 1])).unique().tolist() == [8.0]
    assert last.receive(one, 3, torch.tensor([0, 1])).unique().tolist() == [5.0]


def test_penalties_add_up_and_weights_multiply() -> None:
    one, images, labels = torch.ones(2, 1, 2, 2), torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    twice = composed(adds=Adds, doubles=Doubles, more=Adds)
    penalty = twice.penalty(images, one, labels)
    assert penalty is not None
    assert penalty.item() == (8 + 1) + (2 * 2 * 8 + 1), "the last sees what the others make of it"
    assert twice.task_weight == 0.25
    assert len(twice.networks) == 2
    assert composed(a=Doubles, b=Doubles).penalty(images, one, labels) is None
    twice.begin_epoch(4)
    assert [one.epochs for one in twice._defenses if isinstance(one, Adds)] == [[4], [4]]


def test_parameters_keep_their_names_unless_two_have_them() -> None:
    cls = load_plugin("defense", "clip+gaussian-noise+laplace-noise").cls
    assert list(cls.Parameters.model_fields) == [
        "bound",
        "limit",
        "gaussian_noise_sigma",
        "gaussian_noise_unit",
        "laplace_noise_sigma",
        "laplace_noise_unit",
    ]
    (asked,) = parse_plugins("clip+gaussian-noise:sigma=2,limit=0.5,unit=absolute")
    values = configure("defense", asked).values()
    assert values == {"bound": "norm", "limit": 0.5, "sigma": 2.0, "unit": "absolute"}
    described = cls.Parameters.model_fields["gaussian_noise_sigma"].description
    assert "standard deviation of the noise" in str(described)


def test_a_profile_sets_what_the_parts_state() -> None:
    paper = configure("defense", PluginRequest("dcor+proxy-adversary", {}), profile="paper")
    assert paper.values()["proxy_adversary_alpha"] == 0.01
    assert paper.values()["decoder"] == "report"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("clip+clip", "each once"),
        ("none+clip", "and not 'none'"),
        ("clip+", "unknown defense ''"),
        ("clip+gausian-noise", "did you mean 'gaussian-noise'"),
        ("clip+gaussian-noise:sigma=-1", "'sigma' of defense 'clip.gaussian-noise'"),
        ("clip+gaussian-noise:sigm=1", "unknown parameter of defense 'clip.gaussian-noise'"),
    ],
)
def test_what_is_no_composition_is_refused(spec: str, says: str) -> None:
    (asked,) = parse_plugins(spec)
    with pytest.raises(UsageError, match=says):
        configure("defense", asked)


def test_only_defenses_are_composed() -> None:
    assert is_builtin("defense", "clip+dropout")
    assert not is_builtin("defense", "clip+mine")
    assert not is_builtin("attack", "adra+fsha")
    with pytest.raises(UsageError, match="unknown attack"):
        load_plugin("attack", "adra+fsha")


def test_its_code_is_that_of_its_parts_in_their_order() -> None:
    plugin, other = (load_plugin("defense", one) for one in ("clip+dropout", "dropout+clip"))
    assert plugin.code == builtin_code("defense", "clip+dropout") != other.code
    assert plugin.sha256 != other.sha256
    assert load_plugin("defense", "clip+dropout", plugin.sha256).cls.randomised
    assert not load_plugin("defense", "clip+quantise").cls.randomised
    for refused in ("clip+mine", "clip+clip", "none+clip", "clip+"):
        assert builtin_code("defense", refused) is None, "a record that names it is no built-in's"


def test_an_isolated_cell_has_the_numbers_of_one_in_this_process(tmp_path: Path) -> None:
    spec = "bottleneck+gaussian-noise:channels=2,sigma=0.5"

    def run(isolation: Isolation | None) -> Record:
        cells = tiny_cells("regression:queries=200", spec, isolation)
        (record,) = run_cells(cells, tmp_path / str(isolation is None), Silent())
        return record

    here, apart = run(None), run(Isolation(attacks="all"))
    assert here.status == "ok", here.reason
    for name in ("leakage", "utility", "victims", "spec"):
        assert here.numbers()[name] is not None
        assert apart.numbers()[name] == here.numbers()[name]
    assert here.spec.defense == "bottleneck+gaussian-noise"
    assert "randomised-defense" in here.flags
