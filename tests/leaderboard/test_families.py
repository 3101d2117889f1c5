"""Boards of families: what a defense leaks at 95 % of the utility, from records of known truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from splitsec.cli.exit_codes import Exit
from splitsec.cli.leaderboard import command
from splitsec.errors import UsageError
from splitsec.leaderboard.boards import FORMS
from splitsec.leaderboard.families import DEEPER, FamilyBoard, family_boards
from splitsec.leaderboard.family_words import printed
from splitsec.leaderboard.ranking import rank
from splitsec.records.record import Record
from splitsec.records.store import record_folder, write_record
from support.records import SEEDS, cell

Points = Mapping[float, tuple[float, float]]
"""From a strength to the leakage and the share of utility retained."""

NOISE: Points = {1: (0.6, 0.99), 2: (0.4, 0.97), 4: (0.2, 0.93), 8: (0.1, 0.6)}


def records_of(
    families: Mapping[str, tuple[str, Points]],
    undefended: Mapping[int, float] | None = None,
    spread: float = 0.002,
    seeds: int = len(SEEDS),
) -> list[Record]:
    """Return records of families, each with its parameter and its points, and undefended ones."""
    draws, found = np.random.default_rng(0), []

    def add(defense: str, leakage: float, retained: float, cut: int, **given: Any) -> None:
        for seed in range(seeds):
            own = cell(
                "a",
                defense,
                seed,
                min(1.0, max(0.0, leakage + spread * draws.normal())),
                auc=0.5 + 0.4 * retained + 0.25 * spread * draws.normal(),
                parameters=given,
                spec={"cut": cut, "changed": {"defense": list(given)}},
            )
            found.append(own.model_copy(update={"cell_id": f"{len(found):064x}"}))

    for cut, leakage in (undefended or {5: 0.8}).items():
        add("none", leakage, 1.0, cut)
    for name, (parameter, points) in families.items():
        for strength, (leakage, retained) in points.items():
            add(name, leakage, retained, 5, **{parameter: strength})
    return found


def only(records: list[Record]) -> FamilyBoard:
    (board,) = family_boards(rank(records, "defenses"))
    return board


def rows(records: list[Record]) -> pd.DataFrame:
    return only(records).rows.set_index("name")


def test_a_family_is_read_off_where_it_retains_95_percent() -> None:
    table = rows(records_of({"gaussian-noise": ("sigma", NOISE)}))
    noise = table.loc["gaussian-noise"]
    assert noise["leakage at 95"] == pytest.approx(0.3, abs=0.02)  # half way from 2 to 4
    assert noise["strength at 95"] == pytest.approx(2 * 2**0.5, rel=0.05)
    assert noise["leakage at 80"] == pytest.approx(0.2, abs=0.02)  # 0.6 is too far from 0.93
    assert noise["strength at 80"] == 4
    assert noise["leakage at 95 low"] < 0.3 < noise["leakage at 95 high"]
    assert noise["identified at 95"] == pytest.approx(0.01 + 0.99 * 0.3, abs=0.02)
    assert noise["strengths"] == 4
    assert noise["against none verdict"] == "lower"


def test_a_defense_that_does_nothing_gains_nothing() -> None:
    idle: Points = {1: (0.8, 1.0), 2: (0.8, 1.0), 3: (0.8, 1.0)}
    table = rows(records_of({"gaussian-noise": ("sigma", NOISE), "identity": ("level", idle)}))
    assert table.index.tolist() == ["gaussian-noise", "identity"]
    assert table.loc["identity", "leakage at 95"] == pytest.approx(0.8, abs=0.01)
    assert table.loc["identity", "against none verdict"] == "cannot be told"
    assert table.loc["identity", "against noise verdict"] == "higher"


def test_a_defense_that_is_better_than_noise() -> None:
    better: Points = {0.9: (0.3, 0.99), 0.99: (0.1, 0.97)}
    table = rows(records_of({"gaussian-noise": ("sigma", NOISE), "dcor": ("alpha", better)}))
    assert table.index.tolist() == ["dcor", "gaussian-noise"]
    assert table.loc["dcor", "against noise verdict"] == "lower"
    assert pd.isna(table.loc["gaussian-noise", "against noise"])


def test_what_no_strength_retains_is_not_reached() -> None:
    costly: Points = {1: (0.3, 0.85), 2: (0.1, 0.6)}
    board = only(records_of({"gaussian-noise": ("sigma", costly)}))
    assert pd.isna(board.rows.loc[0, "strength at 95"])
    words = printed(board).words.iloc[0]
    assert words["leakage at 95 %"] == "not reached"
    assert words["at 80 %"].startswith("0.26")


def test_the_undefended_model_at_deeper_cuts_is_a_family() -> None:
    records = records_of({"gaussian-noise": ("sigma", NOISE)}, {3: 0.95, 5: 0.8, 6: 0.6, 7: 0.5})
    table = rows(records)
    assert table.loc[DEEPER, "leakage at 95"] == pytest.approx(0.5, abs=0.01)
    assert table.loc[DEEPER, "strength at 95"] == 7
    assert table.loc[DEEPER, "strengths"] == 2, "a shallower cut is no protection"
    (alone,) = family_boards(rank(records_of({}, {3: 0.95, 5: 0.8}), "defenses"))
    assert alone.rows["name"].tolist() == [DEEPER]


def test_strengths_are_in_the_order_that_the_defense_states_or_shows() -> None:
    falling: Points = {0.3: (0.6, 0.99), 0.1: (0.4, 0.98), 0.01: (0.2, 0.97)}
    for name in ("top-k", "a-stranger"):
        (family,) = only(records_of({name: ("share", falling)})).families
        assert [one.value for one in family.strengths] == [0.3, 0.1, 0.01]
    rising: Points = {1: (0.6, 0.99), 2: (0.4, 0.98)}
    (family,) = only(records_of({"a-stranger": ("level", rising)})).families
    assert [one.value for one in family.strengths] == [1, 2]


def test_other_parameters_are_other_families() -> None:
    records = records_of({"dcor": ("alpha", {0.5: (0.6, 0.99), 0.9: (0.4, 0.98)})})
    others = [
        one.model_copy(
            update={
                "cell_id": f"{number + 1000:064x}",
                "spec": one.spec.model_copy(
                    update={
                        "parameters": {
                            **one.spec.parameters,
                            "defense": {
                                **one.spec.parameters["defense"],
                                "estimator": "bias-corrected",
                            },
                        },
                        "changed": {"defense": ["alpha", "estimator"]},
                    }
                ),
            }
        )
        for number, one in enumerate(records)
        if one.spec.defense == "dcor"
    ]
    names = {family.name for family in only([*records, *others]).families}
    assert names == {"dcor", "dcor:estimator=bias-corrected"}


def test_a_strength_that_is_not_complete_is_left_out_and_named() -> None:
    records = records_of({"gaussian-noise": ("sigma", NOISE)})
    board = only(
        [
            one
            for one in records
            if one.spec.parameters["defense"] != {"sigma": 8} or (one.spec.seed)
        ]
    )
    assert board.families[0].strengths[-1].value == 4
    assert board.notes[0] == (
        "not all cells of gaussian-noise:sigma=8 have a leakage and a utility, so it is left out"
    )


def test_one_seed_tells_no_family_from_another() -> None:
    board = only(records_of({"gaussian-noise": ("sigma", NOISE)}, seeds=1))
    assert board.rows.loc[0, "against none verdict"] == "cannot be told"
    assert "1 of the 3 seeds from which families can be told apart" in board.notes


def test_claims_are_no_families() -> None:
    claimed = [
        one.model_copy(update={"evidence": type(one.evidence)(origin="claimed")})
        for one in records_of({"gaussian-noise": ("sigma", NOISE)})
    ]
    assert family_boards(rank(claimed, "defenses")) == []


def run(*words: object) -> Any:
    return CliRunner().invoke(command, [str(one) for one in words], standalone_mode=False)


def test_the_command_prints_families(tmp_path: Path) -> None:
    for record in records_of({"gaussian-noise": ("sigma", NOISE)}):
        write_record(record_folder(tmp_path, record), record)
    said = run(tmp_path, "--by", "families").output
    assert "gaussian-noise" in said
    assert "identified" in said
    table = run(tmp_path, "--by", "families", "--format", "csv").output
    assert table.startswith("name,strengths,leakage at 95,")
    markdown = run(tmp_path, "--by", "families", "--format", "markdown").output
    assert "| gaussian-noise | 3" in markdown
    with pytest.raises(UsageError, match="--by families is printed"):
        raise run(tmp_path, "--by", "families", "--format", "html", "--output", "x").exception


def test_what_breaks_the_model_is_not_read_off_on_the_way_to_it() -> None:
    broken = {"dcor": ("alpha", {0.9: (0.1, 0.3), 0.99: (0.0, 0.1)})}
    board = only(records_of(broken))
    (row,) = board.rows.to_dict("records")
    assert row["leakage at 95"] is None
    assert row["strength at 80"] is None
    assert "against none verdict" not in row
    assert printed(board).words.iloc[0]["leakage at 95 %"] == "not reached"
    both = rows(records_of(broken | {"gaussian-noise": ("sigma", NOISE)}))
    assert list(both.index) == ["gaussian-noise", "dcor"]
    assert pd.isna(both.loc["dcor", "against none verdict"])


def test_between_what_does_nothing_and_what_breaks_the_model_is_no_defense() -> None:
    idle_or_broken = {"dcor": ("alpha", {0.9: (0.8, 1.0), 0.99: (0.0, 0.05)})}
    table = rows(records_of(idle_or_broken | {"gaussian-noise": ("sigma", NOISE)}))
    for percent in (95, 80):
        assert table.loc["dcor", f"leakage at {percent}"] == pytest.approx(0.8, abs=0.01)
        assert table.loc["dcor", f"strength at {percent}"] == 0.9
    assert table.loc["dcor", "against none verdict"] == "cannot be told"


def test_a_sweep_without_a_complete_strength_is_no_family(tmp_path: Path) -> None:
    records = [cell("a", "none", seed, 0.6) for seed in SEEDS]
    records += [cell("a", "dcor", seed, 0.4) for seed in SEEDS[:2]]
    for number, record in enumerate(records):
        one = record.model_copy(update={"cell_id": f"{number:064d}"})
        write_record(record_folder(tmp_path, one), one)
    result = CliRunner().invoke(command, [str(tmp_path), "--by", "families"], standalone_mode=False)
    assert result.return_value == Exit.EMPTY
    assert "a result for every attack and seed" in result.stderr


def test_a_board_without_families_says_why(tmp_path: Path) -> None:
    records = records_of({"gaussian-noise": ("sigma", NOISE)})
    for record in records:
        if record.spec.defense != "none":
            write_record(record_folder(tmp_path, record), record)
    said = run(tmp_path, "--by", "families").output
    assert "nothing to rank\n  it has no undefended cells that are complete" in said
    worthless = records_of({"gaussian-noise": ("sigma", {1: (0.4, 0.0)})}, {5: 0.8})
    worthless = [
        one.model_copy(update={"utility": one.utility.model_copy(update={"auc": 0.51})})
        for one in worthless
        if one.utility is not None
    ]
    board = only(worthless)
    assert board.notes[0].startswith("what a defense retains of the utility is not shown: undef")
    assert "Nothing to rank." in in_all_forms(board)


def in_all_forms(board: FamilyBoard) -> str:
    return "".join(form([printed(board)]) for form in FORMS.values())


def test_protocols_and_images_are_never_mixed() -> None:
    records = records_of({"gaussian-noise": ("sigma", NOISE)})
    older = [
        one.model_copy(update={"protocol": 4, "cell_id": f"{number + 500:064x}"})
        for number, one in enumerate(records)
    ]
    others = [
        one.model_copy(
            update={"data": {**one.data, "sha256": "ab" * 32}, "cell_id": f"{number + 900:064x}"}
        )
        for number, one in enumerate(records)
    ]
    boards = family_boards(rank([*records, *older, *others], "defenses"))
    assert [[family.name for family in board.families] for board in boards] == [
        ["gaussian-noise"]
    ] * 3
    assert sum("protocol 4" in board.title for board in boards) == 1
