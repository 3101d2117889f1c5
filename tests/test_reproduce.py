"""The original report's tables and figures: complete as data, and drawn from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from test_summary import make_record

from splitsec.cell import resolve
from splitsec.errors import DataError, UsageError
from splitsec.evaluate import run_cells
from splitsec.leaderboard import figures, tables
from splitsec.leaderboard.reproduce import command, draw
from splitsec.leaderboard.tracks import get_track, list_tracks
from splitsec.progress import Silent
from splitsec.record import Record


def utility_record(seed: int, cut: int, accuracy: float, **changes: Any) -> Record:
    base = make_record(seed=seed)
    spec = base.spec.model_copy(update={"cut": cut, "seed": seed, "attack": "none"})
    assert base.utility is not None
    utility = base.utility.model_copy(update={"accuracy": accuracy})
    timings = {"honest training": 10.0 + seed, "test": 0.5}
    given = {"spec": spec, "utility": utility, "timings": timings, "victims": None,
             "leakage": None, "history": {"training": {"loss": [1.0, 0.5 + seed]}}}  # fmt: skip
    return base.model_copy(update=given | changes)


def test_every_table_and_figure_of_the_report_has_a_track() -> None:
    wanted = ["table1", "table2", "table3", *(f"figure{n}" for n in (1, 2, 3, 5, 6, 7, 8, 9, 10))]
    assert list_tracks() == wanted


@pytest.mark.parametrize("name", list_tracks())
def test_every_track_resolves_under_both_profiles(name: str) -> None:
    track = get_track(name)
    for profile in ("quick", "paper"):
        cells = track.cells(profile)
        assert cells
        assert {cell.spec.profile for cell in cells} == {profile}


def test_the_paper_profile_has_the_reports_settings() -> None:
    table1 = get_track("table1").cells("paper")
    assert {cell.spec.cut for cell in table1} == {2, 3, 5, 7}
    assert {(c.spec.private, c.spec.held_out, c.spec.training.epochs) for c in table1} == {
        (1000, 200, 20)
    }
    (figure10,) = {
        (c.spec.parameters["attack"]["pairs"], c.spec.parameters["attack"]["optimizer"], c.spec.cut)
        for c in get_track("figure10").cells("paper")
    }
    assert figure10 == ("private", "sgd", 7)
    alphas = [
        c.spec.parameters["defense"].get("alpha") for c in get_track("figure10").cells("paper")
    ]
    assert alphas == [None, 0.01]
    table3 = get_track("table3").cells("paper")
    assert {(c.spec.private + c.spec.validation, c.spec.held_out) for c in table3} == {(560, 140)}
    assert {c.spec.parameters["target"]["width"] for c in table3} == {64}


def test_an_unknown_track() -> None:
    result = CliRunner().invoke(command, ["tabel1"])
    assert isinstance(result.exception, UsageError)
    assert "did you mean 'table1'" in str(result.exception)


def test_means_and_intervals_over_seeds() -> None:
    mean, low, high = tables.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3
    assert low == pytest.approx(3 - 2.776445 * 1.5811388 / 5**0.5)
    assert high == pytest.approx(3 + 2.776445 * 1.5811388 / 5**0.5)
    assert tables.interval([2.0]) == (2.0, None, None)
    assert tables.interval([]) == (None, None, None)


def test_a_table_is_written_in_three_forms(tmp_path: Path) -> None:
    records = [utility_record(seed, cut, 0.6 + 0.1 * seed) for cut in (2, 3) for seed in (0, 1)]
    records.append(utility_record(2, 3, 0.9, status="failed", reason="it diverged"))
    files = draw(get_track("table1"), records, tmp_path)
    assert [file.suffix for file in files] == [".csv", ".md", ".tex"]
    frame = pd.read_csv(files[0])
    assert frame["accuracy"].tolist() == pytest.approx([0.65, 0.65])
    assert frame["seeds"].tolist() == [2, 2]
    assert frame["expected"].tolist() == [2, 3]
    text = files[1].read_text()
    assert "| 2 | 2 | 65.0% (1.5% to 128.5%) |" in text
    assert "2 of 3" in text, "a missing seed is said"
    assert "63.5%, 60.2%" in text, "the report's figures stand beside"
    latex = files[2].read_text()
    assert latex.count(r"\\") == 3
    assert r"65.0\% (1.5\% to 128.5\%)" in latex


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


def test_real_records_keep_what_the_figures_need_and_are_used_again(tmp_path: Path) -> None:
    tiny = [
        "training.epochs=1", "counts.private=32", "counts.public=32", "counts.validation=8",
        "counts.held_out=12", "counts.victims=12",
    ]  # fmt: skip
    records = []
    for attack, target, defense in (
        ("adra:epochs=1", "resnet:depth=18", "none,proxy-adversary"),
        ("none", "unet:width=4", "none"),
    ):
        cells = resolve(attack=attack, target=target, defense=defense, size=32, settings=tiny)
        records += list(run_cells(cells, tmp_path / "records", Silent()))
        times = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("record.json"))]
        again = list(run_cells(cells, tmp_path / "records", Silent(), reuse=True))
        assert [one.cell_id for one in again] == [one.cell_id for one in records[-len(again) :]]
        assert times == [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("record.json"))]
    resnet, unet = records[:2], records[2:]
    for name, chosen in (("figure10", resnet), ("figure1", resnet), ("figure5", unet)):
        files = draw(get_track(name), chosen, tmp_path)
        assert [file.suffix for file in files] == [".png", ".svg"]
    with np.load(next((tmp_path / "records").glob("none-*")) / "pictures.npz") as kept:
        assert set(np.unique(kept["predicted"])) <= {0, 1}
        assert kept["held_out"].dtype == np.uint8
