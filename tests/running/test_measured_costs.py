"""A dry run estimates what no record times, from a few steps, and reads no image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cli import run
from splitsec.cli.exit_codes import Exit
from splitsec.progress import Silent
from splitsec.running import measured_costs
from splitsec.running.estimate import MeasuredCell, make_plan
from splitsec.running.measured_costs import measure
from splitsec.running.runs import run_cells, with_records
from splitsec.training.client import Client
from support.cells import COUNTS

TARGETS = {"resnet:depth=18": 3, "unet:width=4": 1, "vit:width=16,depth=1": 3}


def cells_of(attack: str, target: str = "resnet:depth=18", **more: Any) -> list[Any]:
    channels = TARGETS.get(target, 3)
    settings = ["training.epochs=50", "counts.private=4000", "counts.victims=8"]
    return resolve(
        Request(
            attack=attack,
            target=target,
            channels=channels,
            size=[32],
            threads=1,
            settings=settings,
            **more,
        )
    )


QUICK = {
    ("none", "vit:width=16,depth=1"),
    ("fsha:iterations=4000", "unet:width=4"),
}
ATTACKS = ("none", "adra:epochs=400,queries=200", "fsha:iterations=4000")


@pytest.mark.parametrize(
    ("attack", "target"),
    [
        pytest.param(
            attack,
            target,
            marks=() if (attack, target) in QUICK else pytest.mark.slow,
        )
        for attack in ATTACKS
        for target in TARGETS
    ],
)
def test_long_cells_are_timed_by_a_few_steps(
    attack: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, step = [], Client.step

    def counted(self: Client, *arguments: Any) -> float | None:
        steps.append(self)
        return step(self, *arguments)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no image of the data set is needed")

    monkeypatch.setattr(Client, "step", counted)
    monkeypatch.setattr("splitsec.data.loading.load_data", refuse)
    cells = cells_of(attack, target)
    if attack.startswith("fsha") and target.startswith("vit"):
        assert measure(cells) == [], "it does not apply, so there is nothing to time"
        return
    (found,) = measure(cells)
    exchanges = 50 * 4000 // found.spec.training.batch_size
    assert len(steps) < 40 < exchanges
    assert found.timings["honest training"] > 0
    assert ("attack" in found.timings) == (attack != "none")
    plan = make_plan(cells, [found])
    assert (plan.untimed, plan.seconds) == (0, sum(found.timings.values()))


@pytest.mark.slow
def test_an_ensemble_is_timed_without_the_attacks_that_do_not_apply() -> None:
    """FSHA needs feature maps, and this client sends tokens."""
    cells = cells_of("strongest:server=malicious", "vit:width=16,depth=1")
    assert "fsha" in {member.spec.attack for member in cells[0].members}
    (found,) = measure(cells)
    assert found.timings["attack"] > 0


def test_a_stage_is_extrapolated_from_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    monkeypatch.setattr(measured_costs.time, "perf_counter", lambda: next(clock))

    def fit(progress: Any) -> None:
        with progress.stage("fit", 101) as stage:
            for _ in range(101):
                stage.advance()

    assert measured_costs._seconds(fit) == 5.0 + 100 * 1.0


@pytest.mark.slow
def test_an_active_attack_costs_more_the_longer_its_session_is() -> None:
    short, long = (
        measure(cells_of(f"fsha:iterations={n}", "unet:width=4"))[0] for n in (400, 4000)
    )
    assert long.timings["attack"] > 2 * short.timings["attack"]


def test_kinds_beyond_the_limit_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_costs, "_MOST_SECONDS", -1.0)
    assert measure(cells_of("none")) == []


def test_cells_of_unknown_kinds_are_estimated_by_similar_ones() -> None:
    known, other, deeper = (
        cells_of("fsha:iterations=400", "unet:width=4", **more)[0]
        for more in ({}, {"defense": "dcor"}, {"cut": 2})
    )
    past = [MeasuredCell(known.spec, {"honest training": 5.0, "attack": 7.0})]
    plan = make_plan([known, other, deeper], past)
    assert (plan.seconds, plan.similar, plan.untimed) == (36.0, 2, 0)
    (unlike,) = cells_of("fsha:iterations=500", "unet:width=4")
    plan = make_plan([unlike, known], past)
    assert (plan.seconds, plan.similar, plan.untimed) == (12.0, 0, 1)
    (alone,) = cells_of("none", "unet:width=4", defense="dcor")
    assert make_plan([alone], past).seconds == 5.0, "no attack takes no time"
    session = [MeasuredCell(other.spec, {"honest training": 2.0}), *past]
    assert make_plan([other], session).seconds == 2.0 + 7.0, "each stage by its own kind"


def test_each_kind_of_session_is_timed_once() -> None:
    cells = [
        *cells_of("none", "vit:width=16,depth=1", defense=["none", "dcor"], seed=[0, 1]),
        *cells_of("none", "vit:width=16,depth=1", defense="dcor:alpha=0.9"),
    ]
    found = measure(cells)
    assert sorted(one.spec.defense for one in found) == ["dcor", "none"]
    assert make_plan(cells, found).untimed == 0


def test_a_record_is_found_without_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {"attack": "none", "target": "fsha-client", "cut": 1, "threads": 1}
    (cell,) = resolve(Request(size=[16], settings=COUNTS, **asked))
    (record,) = run_cells([cell], tmp_path, Silent())
    monkeypatch.setattr("splitsec.data.loading.load_data", lambda *_: pytest.fail("images"))
    ((_, found),) = with_records([cell], tmp_path, Silent(), "failed")
    assert found == record
    ((_, none),) = with_records([cell], tmp_path, Silent(), "all")
    assert none is None
    words = ["eval", "--attack=none", "--target=fsha-client", "--cut=1", "--size=16"]
    words += ["--threads=1", "--dry-run", *(f"--set={one}" for one in COUNTS)]
    assert run([*words, f"--output={tmp_path}"]) == Exit.OK
    assert "1 cells: 1 have a record, 0 to run" in capsys.readouterr().out
    changed = ["--set=training.epochs=2", f"--output={tmp_path}"]
    assert run([*words, *changed]) == Exit.OK
    said = capsys.readouterr().out
    assert "0 have a record, 1 to run in 1 trainings; about " in said
    assert "an estimate from a few steps timed here" in said
