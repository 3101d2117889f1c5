"""Successive halving between ways to protect a model, and what is said at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from splitsec.cli.decide import command
from splitsec.errors import UsageError
from splitsec.leaderboard.deciding import Screened, Way, answer, best_ways, screened
from splitsec.leaderboard.report_rows import Limits, report_rows
from splitsec.records.record import Record
from splitsec.records.store import StoredRecord, load_records
from support.records import SEEDS, cell, failed_record

LIMITS = Limits(leakage=0.3, identified=None, loss=0.02)


def ways(**found: tuple[float, float | None]) -> dict[Way, Screened]:
    """Return ways by name, each with its leakage and its loss."""
    return {
        Way(name.replace("_", ":"), 5): Screened(leakage, leakage, loss)
        for name, (leakage, loss) in found.items()
    }


def names(kept: list[Way]) -> list[str]:
    return [way.defense for way in kept]


def test_a_round_keeps_what_exceeds_the_limits_least_and_then_costs_least() -> None:
    found = ways(a=(0.8, 0.0), b=(0.2, 0.01), c=(0.1, 0.0), d=(0.25, 0.3), e=(0.29, 0.0))
    assert names(best_ways(found, LIMITS, 4)) == ["c", "e", "b", "d"]


def test_a_gain_of_utility_is_no_advantage() -> None:
    found = ways(a=(0.2, -0.05), b=(0.1, 0.0))
    assert names(best_ways(found, LIMITS, 1)) == ["b"], "validation images are few"


def test_a_way_of_unknown_loss_comes_after_those_that_are_known() -> None:
    found = ways(a=(0.0, None), b=(0.29, 0.01), c=(0.9, 0.3), d=(0.1, None))
    assert names(best_ways(found, LIMITS, 4)) == ["b", "c", "a", "d"]
    assert names(best_ways(found, LIMITS._replace(loss=None), 4)) == ["b", "a", "d", "c"]


def test_a_round_keeps_at_most_two_strengths_of_a_defense() -> None:
    found = ways(noise_4=(0.1, 0), noise_8=(0.05, 0), noise_16=(0.02, 0), dcor_1=(0.2, 0))
    assert names(best_ways(found, LIMITS, 3)) == ["noise:16", "noise:8", "dcor:1"]
    assert len(best_ways(found, LIMITS, 4)) == 4, "unless there are no others"
    cuts = {Way("none", cut): Screened(0.5, 0.5, 0.0) for cut in (3, 5, 6, 7)}
    assert len(best_ways(cuts, LIMITS, 3)) == 3, "a cut is no strength of one defense"


def test_what_is_kept_is_chosen_on_training_and_validation_images() -> None:
    history = {"training": {"validation auc": [0.6, 0.85]}}
    own = cell("a", "dcor", 0, 0.4, history=history)
    whole = cell("a", "none", 0, 0.8, history={"training": {"validation auc": [0.95, 0.9]}})
    found = screened(own, whole)
    assert found is not None
    assert found.leakage == 0.4
    assert found.identified == pytest.approx(0.01 + 0.99 * 0.4)
    assert found.loss == pytest.approx(0.9 - 0.85), "of the weights that were kept"
    assert own.utility is not None
    other = own.utility.model_copy(update={"auc": 0.1})
    assert screened(own.model_copy(update={"utility": other}), whole) == found
    unknown = screened(own, None)
    assert unknown is not None
    assert unknown.loss is None
    assert screened(failed_record(), whole) is None


def rows_of(leakage: float, auc: float, spread: float = 0.001) -> list[Any]:
    records: list[Record] = []
    for seed in SEEDS:
        for defense, leaks, worth in (("none", 0.8, 0.9), ("d", leakage, auc)):
            sign = 1 if seed % 2 else -1
            own = cell(
                "a",
                defense,
                seed,
                leaks + sign * spread,
                auc=worth + sign * spread * (defense == "d"),
            )
            records.append(own.model_copy(update={"cell_id": f"{len(records):064x}"}))
    return report_rows([StoredRecord(one, Path()) for one in records])


def test_what_keeps_the_limits_is_named() -> None:
    (said,) = answer(rows_of(0.2, 0.895), LIMITS)
    assert said.startswith("Choose it behind d at the cut 3: leakage 0.20 (0.20 to 0.20), ")
    assert said.endswith("a loss of 0.005 (0.004 to 0.007) AUC. All of your limits are kept.")


def test_nothing_keeps_the_limits() -> None:
    said = answer(rows_of(0.6, 0.895), LIMITS)
    assert said[0] == "Nothing that was tried keeps your limits."
    assert said[1].startswith("It leaks least behind d at the cut 3: leakage 0.60")


def test_what_it_would_take_to_be_sure_is_said() -> None:
    said = answer(rows_of(0.2, 0.89, spread=0.02), LIMITS)
    assert said[0].startswith("Nothing that was tried is shown to keep your limits; more runs")
    assert said[1].startswith("- behind d at the cut 3: leakage 0.20")
    assert "; loss: " in said[1]
    assert "could tell, if the cost is as measured" in said[1]


def run(*words: object) -> Any:
    return CliRunner().invoke(command, [str(one) for one in words], standalone_mode=False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say what you allow: --max-leakage, --max-identified or --max-loss"),
        (["--max-leakage", 0.3, "--seeds", 0], "--seeds 0 leaves nothing to decide by"),
        (["--max-leakage", 0.3, "--attack", "fsha,adra"], "give one"),
        (["--max-leakage", 0.3, "--sweep", "defense.dcor"], "leave out --sweep"),
        (["--max-leakage", 0.3, "--shard", "1/2"], "a decision is made in rounds"),
        (["--max-leakage", 0.3, "--defense", "nonsense"], "unknown defense 'nonsense'"),
        (["--max-leakage", 0.3, "--report", "x.doc"], "a report is a .html or a .pdf file"),
        (["--max-leakage", 0.3, "--seed", 1, "--seeds", 2], "give --seed or --seeds, not both"),
    ],
)
def test_wrong_requests(words: list[object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        raise run(*words).exception


SMALL = {
    "counts.private": 32,
    "counts.public": 32,
    "counts.validation": 16,
    "counts.held_out": 16,
    "counts.victims": 16,
    "training.epochs": 1,
}


@pytest.mark.slow
def test_a_decision_from_start_to_report(tmp_path: Path) -> None:
    words: list[object] = ["--max-leakage", 0.3, "--target", "fsha-client", "--cut", "1,2"]
    words += ["--defense", "gaussian-noise,clip:limit=2", "--attack", "regression", "--size", 16]
    words += ["--seeds", 2, "--threads", 1, "--finalists", 1, "--output", tmp_path]
    for name, value in SMALL.items():
        words += ["--set", f"{name}={value}"]
    planned = run(*words, "--dry-run").output
    assert "18 cells" in planned, "two cuts, each undefended, clipped and behind 7 strengths"
    assert "then at most 3 of these ways by regression, and 1 of them with seeds 0, 1" in planned
    said = run(*words).output
    assert "round 1: 18 ways by regression; 3 are kept" in said
    assert "round 2: 3 ways by regression; 1 are kept" in said
    assert (tmp_path / "report.html").is_file()
    finals = list(load_records([tmp_path / "finals"]))
    assert {one.spec.seed for one in finals} == {0, 1}
    assert {one.spec.seed for one in load_records([tmp_path / "round-1"])} == {2}
    assert "none" in {one.spec.defense for one in finals}
    again = run(*words).output
    assert again.splitlines()[-1] == said.splitlines()[-1]
