"""A defense that does nothing, and those that protect only where they think they are watched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.leaderboard.families import family_boards
from splitsec.leaderboard.family_words import answer
from splitsec.leaderboard.ranking import Board, rank
from splitsec.progress import Silent
from splitsec.running.runs import run_cells

PLUGIN = Path(__file__).parent / "plugins" / "undeserving.py"
NAME = "undeserving"
WAYS = ("null", "in-training", "in-use", "first", "keyed")


def draw(folder: Path) -> Path:
    """Write 1,100 images of stripes that differ, with a square in those of one class."""
    draws, lines = np.random.default_rng(0), ["file,finding"]
    across, down = np.meshgrid(np.linspace(0, 1, 16), np.linspace(0, 1, 16))
    (folder / "scans").mkdir(parents=True)
    for number in range(1100):
        turn, phase = draws.uniform(0, np.pi), draws.uniform(0, 2 * np.pi)
        way = np.cos(turn) * across + np.sin(turn) * down
        pixels = 110 + 60 * np.sin(2 * np.pi * draws.uniform(0.5, 2) * way + phase)
        if number % 2:
            pixels[:5, :5] += 70
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
            folder / "scans" / f"{number}.png"
        )
        lines.append(f"scans/{number}.png,{'sick' if number % 2 else 'well'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> list[Board]:
    folder = tmp_path_factory.mktemp("undeserving")
    data = draw(folder / "data")
    cells = resolve(
        Request(
            attack="regression:queries=500",
            defense=["none", *(f"{PLUGIN}:Undeserving:way={way}" for way in WAYS)],
            target="fsha-client",
            cut=1,
            channels=1,
            data=f"folder:path={data},csv=labels.csv,image_column=file,label_column=finding",
            size=[16],
            seed=range(3),
            threads=1,
            settings=[
                "training.epochs=4",
                "training.batch_size=16",
                "counts.private=200",
                "counts.public=150",
                "counts.validation=20",
                "counts.held_out=600",
                "counts.victims=100",
            ],
        )
    )
    records = list(run_cells(cells, folder / "results", Silent()))
    assert [one.reason for one in records] == [None] * len(records)
    return rank(records, "defenses")


@pytest.fixture(scope="module")
def rows(boards: list[Board]) -> pd.DataFrame:
    (board,) = boards
    return board.rows.set_index("name")


@pytest.fixture(scope="module")
def families(boards: list[Board]) -> pd.DataFrame:
    (board,) = family_boards(boards)
    return board.rows.set_index("name")


@pytest.mark.slow
def test_a_defense_that_does_nothing_is_not_told_from_none(
    rows: pd.DataFrame, families: pd.DataFrame
) -> None:
    null = rows.loc[f"{NAME}:way=null"]
    assert null["leakage"] == rows.loc["none", "leakage"] > 0.9
    assert (null["rank"], null["rank last"]) == tuple(rows.loc["none", ["rank", "rank last"]])
    assert families.loc[NAME, "against none verdict"] == "cannot be told"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["in-training", "in-use"])
def test_what_is_hidden_from_the_attack_alone_breaks_the_model(
    way: str, rows: pd.DataFrame, families: pd.DataFrame
) -> None:
    row = rows.loc[f"{NAME}:way={way}"]
    assert pd.isna(row["rank"])
    assert row["reason"] == "retains less than 50% of the utility"
    family = families.loc[f"{NAME}:way={way}"]
    assert pd.isna(family["leakage at 95"])
    assert pd.isna(family["leakage at 80"])
    assert pd.isna(family["against none verdict"]), "nothing lies between none and broken"


@pytest.mark.slow
def test_noise_for_the_first_images_protects_whoever_they_are(rows: pd.DataFrame) -> None:
    row = rows.loc[f"{NAME}:way=first"]
    assert row["identified"] == pytest.approx(5 / 6, abs=0.06), "100 of 600 were protected"
    assert row["cost verdict"] == "over"


@pytest.mark.slow
def test_a_key_that_the_server_lacks_costs_it_and_not_the_attack(rows: pd.DataFrame) -> None:
    row = rows.loc[f"{NAME}:way=keyed"]
    assert row["leakage"] > 0.9
    assert row["identified"] == 1
    assert row["retained"] < 0.8


@pytest.mark.slow
def test_the_answer_names_none_of_them(boards: list[Board]) -> None:
    (board,) = family_boards(boards)
    assert answer(board) == (
        "at 95 % of the utility, none of 5 families is shown to leak less than the undefended model"
    )
    assert board.rows["name"].iloc[0] == NAME, "those that reach 95 % come first"
