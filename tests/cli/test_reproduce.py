"""The original report's tables and figures: complete as data, and drawn from records alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cli.reproduce import command, draw
from splitsec.errors import DataError, UsageError
from splitsec.leaderboard import figures, page, tables
from splitsec.leaderboard.claims import weigh
from splitsec.leaderboard.tracks import ReportClaim, get_track, list_tracks
from splitsec.metrics.intervals import estimate
from splitsec.progress import Silent
from splitsec.records.artifacts import artifact
from splitsec.records.record import Record
from splitsec.records.store import record_folder
from splitsec.running.runs import run_cells
from support.cells import COUNTS
from support.records import make_record


def utility_record(seed: int, cut: int, accuracy: float, **changes: Any) -> Record:
    base = make_record(seed=seed)
    spec = base.spec.model_copy(update={"cut": cut, "seed": seed, "attack": "none"})
    assert base.utility is not None
    utility = base.utility.model_copy(update={"accuracy": accuracy})
    timings = {"honest training": 10.0 + seed, "test": 0.5}
    given = {
        "cell_id": f"{cut}{seed}".zfill(64),
        "spec": spec,
        "utility": utility,
        "timings": timings,
        "victims": None,
        "leakage": None,
        "history": {"training": {"loss": [1.0, 0.5 + seed]}},
    }
    return base.model_copy(update=given | changes)


@functools.cache
def cells_of(name: str, profile: str) -> list[Cell]:
    """Return a track's cells; tests that only read them share them."""
    return get_track(name).cells(profile)


def test_every_table_and_figure_of_the_report_has_a_track() -> None:
    wanted = ["table1", "table2", "table3", *(f"figure{n}" for n in (1, 2, 3, 5, 6, 7, 8, 9, 10))]
    assert list_tracks() == wanted


SOME_TRACKS = [
    one if one in ("table1", "figure5", "figure10") else pytest.param(one, marks=pytest.mark.slow)
    for one in list_tracks()
]


@pytest.mark.parametrize("profile", ["quick", pytest.param("paper", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SOME_TRACKS)
def test_every_track_resolves_under_both_profiles(name: str, profile: str) -> None:
    cells = cells_of(name, profile)
    assert cells
    assert {cell.spec.profile for cell in cells} == {profile}


@pytest.mark.slow
def test_the_paper_profile_has_the_reports_settings() -> None:
    table1 = cells_of("table1", "paper")
    assert {cell.spec.cut for cell in table1} == {2, 3, 5, 7}
    assert {(c.spec.private, c.spec.held_out, c.spec.training.epochs) for c in table1} == {
        (1000, 200, 20)
    }
    figure10 = [cell.spec for cell in cells_of("figure10", "paper")]
    assert {spec.cut for spec in figure10} == {7}
    attacks = {
        (one["decoder"], one["pairs"], one["optimizer"], one["epochs"])
        for one in (spec.parameters["attack"] for spec in figure10)
    }
    assert attacks == {("report", "private", "sgd", 20), ("adaptive", "private", "adam", 20)}
    assert {spec.parameters["defense"].get("alpha") for spec in figure10} == {None, 0.01}
    table3 = cells_of("table3", "paper")
    assert {(c.spec.private + c.spec.validation, c.spec.held_out) for c in table3} == {(560, 140)}
    assert {c.spec.parameters["target"]["width"] for c in table3} == {64}


@pytest.mark.parametrize("name", SOME_TRACKS)
def test_every_claim_names_records_of_its_track(name: str) -> None:
    track = get_track(name)
    cells = cells_of(name, "quick")
    for claim in track.claims:
        for chosen in (claim.of, claim.against or {}):
            fitting = [cell for cell in cells if fits(cell.spec, chosen)]
            if chosen:
                assert len(fitting) == len({cell.spec.seed for cell in cells}), (claim.says, chosen)


def fits(spec: Any, chosen: dict[str, Any]) -> bool:
    """Return whether a cell is among those that a claim chooses."""
    values = spec.model_dump() | {"epochs": spec.training.epochs}
    values |= {
        f"{kind}.{name}": value
        for kind, parameters in spec.parameters.items()
        for name, value in parameters.items()
    }
    return all(values.get(name) == value for name, value in chosen.items())


@pytest.mark.parametrize(
    ("expects", "accuracies", "outcome"),
    [
        ("higher", [0.70, 0.71, 0.72], "holds"),
        ("higher", [0.50, 0.51, 0.52], "does not hold"),
        ("higher", [0.40, 0.60, 0.90], "cannot be told"),
        ("lower", [0.50, 0.51, 0.52], "holds"),
        ("lower", [0.70, 0.71, 0.72], "does not hold"),
        ("same", [0.60, 0.61, 0.60], "holds"),
        ("same", [0.70, 0.71, 0.72], "does not hold"),
        ("same", [0.40, 0.60, 0.90], "cannot be told"),
    ],
)
def test_a_claim_is_weighed_by_its_interval(
    expects: Any, accuracies: list[float], outcome: str
) -> None:
    records = [utility_record(seed, 3, value) for seed, value in enumerate(accuracies)]
    records += [utility_record(seed, 2, 0.6) for seed in range(3)]
    records.append(utility_record(7, 3, 0.1, status="failed", reason="it diverged"))
    claim = ReportClaim(
        says="so",
        measure="accuracy",
        of={"cut": 3},
        against={"cut": 2},
        expects=expects,
        margin=0.02,
    )
    verdict = weigh(claim, tables.load(records))
    assert verdict.outcome == outcome
    assert verdict.seeds == 3
    assert verdict.difference == pytest.approx(np.mean(accuracies) - 0.6)
    alone = weigh(claim.model_copy(update={"against": None, "value": 0.6}), tables.load(records))
    assert alone.outcome == outcome
    with pytest.raises(DataError, match="no record has 'cutt'"):
        weigh(claim.model_copy(update={"of": {"cutt": 3}}), tables.load(records))


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("expects", ["higher", "lower", "same"])
def test_fewer_than_three_seeds_tell_no_claim(expects: Any, seeds: int) -> None:
    claim = ReportClaim(
        says="so", measure="accuracy", of={}, value=0.6, expects=expects, margin=0.02
    )
    for accuracy in (0.6, 0.1, 0.9):
        records = [utility_record(seed, 3, accuracy) for seed in range(seeds)]
        verdict = weigh(claim, tables.load(records))
        assert (verdict.outcome, verdict.low) == ("cannot be told", None)
        assert verdict.difference == pytest.approx(accuracy - 0.6)


def test_a_claim_compares_with_one_thing() -> None:
    with pytest.raises(ValueError, match="either 'against' or 'value'"):
        ReportClaim(says="so", measure="auc", of={}, expects="higher")


def test_the_page_says_what_failed_and_what_holds(tmp_path: Path) -> None:
    table1, figure2 = get_track("table1"), get_track("figure2")
    records = [utility_record(seed, cut, 0.6) for cut in (2, 3, 7) for seed in (0, 1, 2)]
    failed = utility_record(3, 3, 0.9, status="failed", reason="it diverged")
    text = page.page([(table1, [*records, failed]), (figure2, [failed])], tmp_path / "r", tmp_path)
    assert "10 records, 9 of them ok" in text
    assert "failed, it diverged" in text
    assert f"## {table1.title}" in text
    assert "| 3 | 3 of 4 | 60.0%" in text
    assert "No cell ran" in text
    assert "| The cut does not matter for accuracy (cut 7 against cut 3) | holds |" in text


def test_an_unknown_track() -> None:
    result = CliRunner().invoke(command, ["tabel1"])
    assert isinstance(result.exception, UsageError)
    assert "did you mean 'table1'" in str(result.exception)


def test_means_and_intervals_over_seeds() -> None:
    mean, low, high = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3
    assert low == pytest.approx(3 - 2.776445 * 1.5811388 / 5**0.5)
    assert high == pytest.approx(3 + 2.776445 * 1.5811388 / 5**0.5)
    assert estimate([2.0]) == (2.0, None, None)
    assert estimate([]) == (None, None, None)


def test_a_table_is_written_in_three_forms(tmp_path: Path) -> None:
    records = [utility_record(seed, cut, 0.6 + 0.1 * seed) for cut in (2, 3) for seed in (0, 1, 2)]
    records.append(utility_record(3, 3, 0.9, status="failed", reason="it diverged"))
    files = draw(get_track("table1"), records, tmp_path)
    assert [file.suffix for file in files] == [".csv", ".md", ".tex"]
    frame = pd.read_csv(files[0])
    assert frame["accuracy"].tolist() == pytest.approx([0.7, 0.7])
    assert frame["seeds"].tolist() == [3, 3]
    assert frame["expected"].tolist() == [3, 4]
    text = files[1].read_text()
    assert "| 2 | 3 | 70.0% (45.2% to 94.8%) |" in text
    assert "3 of 4" in text, "a missing seed is said"
    assert "63.5%, 60.2%" in text, "the report's figures stand beside"
    latex = files[2].read_text()
    assert latex.count(r"\\") == 3
    assert r"70.0\% (45.2\% to 94.8\%)" in latex


def test_curves_are_drawn_and_missing_ones_said(tmp_path: Path) -> None:
    records = [utility_record(seed, cut, 0.6) for cut in (2, 3) for seed in (0, 1)]
    files = draw(get_track("figure2"), records, tmp_path)
    assert [file.suffix for file in files] == [".png", ".svg"]
    assert all(file.stat().st_size > 1000 for file in files)
    with pytest.raises(DataError, match="no record has the curve 'training/nothing'"):
        figures.curves("title", records, ["cut"], ["training/nothing"])


def test_no_figure_without_an_ok_cell(tmp_path: Path) -> None:
    failed = utility_record(0, 2, 0.5, status="failed", reason="no")
    assert draw(get_track("figure2"), [failed], tmp_path) == []


@pytest.mark.slow
def test_real_records_keep_what_the_figures_need_and_are_used_again(tmp_path: Path) -> None:
    records = []
    for attack, target, defense in (
        ("adra:epochs=1,queries=40", "fsha-client", "none,proxy-adversary"),
        ("none", "unet:width=4", "none"),
    ):
        cells = resolve(
            Request(
                attack=attack,
                target=target,
                cut=1,
                defense=defense,
                size=16,
                threads=1,
                settings=COUNTS,
            )
        )
        records += list(run_cells(cells, tmp_path / "records", Silent()))
        times = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("record.json"))]
        again = list(run_cells(cells, tmp_path / "records", Silent(), rerun="failed"))
        assert [one.cell_id for one in again] == [one.cell_id for one in records[-len(again) :]]
        assert times == [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("record.json"))]
    inverted, unet = records[:2], records[2:]
    for name, chosen in (("figure10", inverted), ("figure1", inverted), ("figure5", unet)):
        files = draw(get_track(name), chosen, tmp_path)
        forms = [".csv", ".md", ".tex"] if name == "figure10" else []
        assert [file.suffix for file in files] == [*forms, ".png", ".svg"]
    folder = record_folder(tmp_path / "records", unet[0])
    with np.load(artifact(folder, unet[0], "pictures")) as kept:
        assert set(np.unique(kept["predicted"])) <= {0, 1}
        assert kept["held_out"].dtype == np.uint8
