"""How many seeds and images a difference needs, from the command line."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from splitsec.cells.grid import load_grid
from splitsec.cli.exit_codes import Exit
from splitsec.cli.grid import official_tracks
from splitsec.cli.power import command
from splitsec.errors import UsageError
from splitsec.records.store import record_folder, write_record
from splitsec.records.wording import MARGINS
from support.records import cell


def run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in words], standalone_mode=False)


def stored(folder: Path, seeds: int, spread: float = 0.02) -> Path:
    draws = np.random.default_rng(0)
    number = 0
    for seed in range(seeds):
        for defense, leakage, auc in (("none", 0.6, 0.9), ("d", 0.5, 0.89)):
            own = cell(
                "a",
                defense,
                seed,
                leakage + spread * draws.normal(),
                auc=auc + spread * draws.normal(),
            )
            number += 1
            own = own.model_copy(update={"cell_id": f"{number:064x}"})
            write_record(record_folder(folder, own), own)
    return folder


def frame(*words: object) -> pd.DataFrame:
    result = run(*words, "--format", "csv")
    assert result.exit_code == 0, result.output
    return pd.read_csv(io.StringIO(result.stdout))


def test_published_tracks_say_what_they_need() -> None:
    table = frame("retinamnist")
    auc = table[(table["figure"] == "AUC") & (table["defense"] == "dcor")]
    assert auc["difference"].tolist() == [0.02] * len(auc)
    assert auc["seeds needed"].between(30, 70).all(), "37 and 65 by these records"
    leakage = table[table["figure"] == "leakage"]
    assert (leakage["images"] == 200).all()
    assert auc["images"].isna().all(), "they have no answers per image"


def test_more_is_needed_for_less_and_for_more_variance(tmp_path: Path) -> None:
    calm, wild = stored(tmp_path / "calm", 5), stored(tmp_path / "wild", 5, spread=0.1)
    needed = "seeds needed"
    for figure, option in (("leakage", "--difference"), ("AUC", "--margin")):

        def of(folder: Path, size: float, figure: str = figure, option: str = option) -> float:
            table = frame(folder, option, size).set_index("figure")
            assert table.loc[figure, "difference"] == size
            return float(table.loc[figure, needed])

        assert of(calm, 0.01) > of(calm, 0.05) >= 3
        assert of(wild, 0.05) > of(calm, 0.05)


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_the_table_is_readable(form: str, tmp_path: Path) -> None:
    result = run(stored(tmp_path, 4), "--format", form)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "leakage" in text
    assert "AUC" in text
    assert re.search(r"seeds[ \\n|]*needed", text)


@pytest.mark.parametrize("seeds", [0, 1])
def test_one_seed_has_no_variance(seeds: int, tmp_path: Path) -> None:
    folder = stored(tmp_path, 1)
    if not seeds:
        alone = cell("a", "none", 0, 0.5)
        folder = tmp_path / "alone"
        write_record(record_folder(folder, alone), alone)
    result = run(folder)
    assert result.return_value == Exit.EMPTY
    assert "no board has two seeds" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("retinmnist",), "did you mean 'retinamnist'"),
        (("./nowhere",), "unknown track or folder of records"),
        (("phantoms",), "no records of the track 'phantoms' are here"),
    ],
)
def test_a_wrong_track_gives_a_sentence(words: tuple[str, ...], said: str) -> None:
    error = run(*words).exception
    assert isinstance(error, UsageError)
    assert said in str(error)


@pytest.mark.parametrize(
    "words",
    [("--difference", "0"), ("--difference", "-1"), ("--difference", "nan"), ("--margin", "2")],
)
def test_a_wrong_number_gives_a_sentence(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(command, ["retinamnist", *words])
    assert done.exit_code == 2
    assert f"Invalid value for '{words[0]}'" in done.output


def test_tracks_state_their_margins() -> None:
    tracks = official_tracks()
    assert load_grid(tracks["retinamnist"]).margin == MARGINS["auc"]
    assert load_grid(tracks["x-rays"]).margin == MARGINS["jaccard"]
