"""Verdicts of boards over seeds and images, on records whose truth is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from splitsec.leaderboard.ranking import rank
from splitsec.leaderboard.samples import Resampler, images_of
from splitsec.metrics.two_level import Floats
from splitsec.records.record import Record, Victims
from splitsec.records.store import load_records
from support.records import SEEDS, cell, scores_of

RECORDS = Path(__file__).parents[2] / "leaderboard" / "records"


def with_images(record: Record, skills: Floats) -> Record:
    """Return a record under protocol 4 whose images have these skills, under each error."""
    mean = float(skills.mean())
    scores = scores_of(mean)
    errors = 1 - skills

    def each(values: Floats) -> dict[str, Any]:
        return {"mean": float(values.mean()), "per_image": values.tolist()}

    privacy = scores.privacy.model_dump() | {
        "mse": each(0.4321 * errors),
        "psnr": each(20 + 0 * errors),
        "ssim": each(1 - 0.5 * errors),
        "lpips": each(0.4 * errors),
    }
    own = type(scores).model_validate(scores.model_dump() | {"privacy": privacy})
    assert record.leakage is not None
    return record.model_copy(
        update={
            "protocol": 4,
            "victims": Victims(training=None, held_out=own),
            "leakage": record.leakage.model_copy(update={"value": mean}),
        }
    )


def board(skills: dict[str, Floats], aucs: dict[str, Floats] | None = None) -> pd.DataFrame:
    """Return the rows of defenses with skills per seed and image."""
    records = [
        with_images(
            cell("a", name, seed, 0.5, auc=0.9 if aucs is None else float(aucs[name][seed])),
            values[seed],
        )
        for name, values in skills.items()
        for seed in range(len(values))
    ]
    (one,) = rank(records, "defenses")
    return one.rows.set_index("name")


def drawn(draws: np.random.Generator, mean: float, seeds: int = 5, images: int = 40) -> Floats:
    return (
        mean
        + 0.01 * draws.normal(size=(seeds, 1))
        + 0.1 * draws.normal(size=(1, images))
        + 0.02 * draws.normal(size=(seeds, images))
    )


def test_intervals_of_a_board_are_over_seeds_and_images() -> None:
    draws = np.random.default_rng(0)
    table = board({"none": drawn(draws, 0.5)})
    width = table.loc["none", "leakage high"] - table.loc["none", "leakage low"]
    assert 0.055 < width < 0.09  # 2 * 1.96 * 0.1 / sqrt(40) is 0.062, of the images alone


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_have_intervals_of_their_images_and_no_ranks(seeds: int) -> None:
    draws = np.random.default_rng(0)
    skills = {"none": drawn(draws, 0.7, seeds), "d": drawn(draws, 0.2, seeds)}
    table = board(skills)
    assert table["rank"].tolist() == [1, 1]
    assert (table["leakage low"] < table["leakage"]).all()
    assert (table["leakage high"] < 1).all()


@pytest.mark.parametrize(("rows", "boards"), [(3, 10), pytest.param(10, 8, marks=pytest.mark.slow)])
def test_equal_rows_of_a_board_share_their_rank(rows: int, boards: int) -> None:
    apart = 0
    for seed in range(boards):
        draws = np.random.default_rng(seed)
        names = ["none", *(f"d{number}" for number in range(1, rows))]
        table = board({name: drawn(draws, 0.5, images=20) for name in names})
        apart += bool((table["rank"] > 1).any())
    assert apart <= 1  # tests/evidence/verdicts.py prints the rate


def test_rows_are_paired_by_image() -> None:
    draws = np.random.default_rng(0)
    hard = drawn(draws, 0.5)
    table = board({"none": hard, "d": hard - 0.03 - 0.002 * draws.normal(size=hard.shape)})
    assert table["rank"].to_dict() == {"d": 1, "none": 2}
    overlap = table.loc["d", "leakage high"] > table.loc["none", "leakage low"]
    assert overlap, "their intervals overlap all the same"


def test_ranks_have_intervals() -> None:
    draws = np.random.default_rng(0)
    skills = {"none": drawn(draws, 0.8), "d": drawn(draws, 0.5), "e": drawn(draws, 0.5)}
    table = board(skills)
    assert table[["rank", "rank last"]].loc["none"].tolist() == [3, 3]
    assert table[["rank", "rank last"]].loc[["d", "e"]].values.tolist() == [[1, 2], [1, 2]]


def test_the_front_is_a_share_of_resamples() -> None:
    draws = np.random.default_rng(0)
    wide = drawn(draws, 0.5) + 0.05 * draws.normal(size=(5, 1))
    skills = {"none": drawn(draws, 0.8), "d": wide, "e": drawn(draws, 0.5)}
    aucs = {"none": np.full(5, 0.9), "d": np.full(5, 0.85), "e": np.full(5, 0.85)}
    table = board(skills, aucs)
    assert table.loc["none", "pareto"] == 1
    assert 0.1 < table.loc["d", "pareto"] < 0.9
    assert table.loc["d", "pareto"] + table.loc["e", "pareto"] == pytest.approx(1)


AUCS = np.array([0.90, 0.91, 0.89, 0.90, 0.90])


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [
        ([0.001, 0.002, 0.0, 0.001, -0.001], "within"),
        ([0.10, 0.11, 0.10, 0.09, 0.10], "over"),
        ([0.05, -0.05, 0.04, -0.04, 0.0], "cannot be told"),
    ],
)
def test_a_cost_is_within_the_margin_only_if_shown(loss: list[float], verdict: str) -> None:
    draws = np.random.default_rng(0)
    skills = {"none": drawn(draws, 0.8), "d": drawn(draws, 0.5)}
    table = board(skills, {"none": AUCS, "d": AUCS - np.array(loss)})
    row = table.loc["d"]
    assert (row["cost verdict"], row["margin"]) == (verdict, 0.02)
    assert row["cost"] == pytest.approx(np.mean(loss))
    assert pd.isna(row["seeds that could tell"]) == (verdict != "cannot be told")
    assert pd.isna(table.loc["none", "cost verdict"]), "it is what is compared with"


def test_values_per_image_that_are_not_the_records_are_not_used() -> None:
    draws = np.random.default_rng(0)
    good = [with_images(cell("a", "none", seed, 0.5), drawn(draws, 0.5)[seed]) for seed in SEEDS]
    assert all(images_of(one) is not None for one in good)
    other = good[0].leakage.model_copy(update={"value": 0.1}) if good[0].leakage else None
    wrong = [one.model_copy(update={"leakage": other}) for one in good]
    assert all(images_of(one) is None for one in wrong)
    (mixed,) = rank([*good[:3], *wrong[3:]], "defenses")
    assert "2 of 5 cells have no values per image that give the leakage" in mixed.notes[0]
    none = [one.model_copy(update={"victims": None}) for one in good]
    (alone,) = rank(none, "defenses")
    assert alone.notes[0].startswith("intervals of leakage are over seeds alone")


def test_published_records_have_values_per_image() -> None:
    records = [one for one in load_records([RECORDS]) if one.spec.attack != "none"]
    assert all(images_of(one) is not None for one in records)
    some = dict(enumerate(records[:3]))
    resampler = Resampler(some)
    for key, record in some.items():
        found = resampler.leakage(key)
        assert found is not None
        assert record.leakage is not None
        assert found.mean() == pytest.approx(record.leakage.value, abs=0.003)


@pytest.mark.slow
def test_published_boards_say_what_could_tell_their_costs() -> None:
    boards = rank(load_records([RECORDS / "retinamnist"]), "defenses")
    for one in boards:
        (said,) = (note for note in one.notes if "cannot be told of" in note)
        assert re.search(r"dcor \(\d+ seeds could tell", said)
        assert "judged by seeds alone" in said
