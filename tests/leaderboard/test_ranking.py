"""Ranking: the worst case over attacks that work, per seed, and honest about what is missing."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from splitsec.cli.exit_codes import Exit
from splitsec.cli.leaderboard import command
from splitsec.errors import DataError
from splitsec.leaderboard import load
from splitsec.leaderboard.boards import in_words
from splitsec.leaderboard.ranking import rank
from splitsec.leaderboard.samples import identified_rate
from splitsec.leaderboard.tables import load as load_frame
from splitsec.metrics.label_schema import LabelScore, LabelScores
from splitsec.metrics.schema import Identification
from splitsec.plugins.grants import ThreatModel
from splitsec.records.record import FLAGS, INCOMPLETE, LABELS_SHARED, PROTOCOL_VERSION, Record
from splitsec.records.store import load_records, record_folder, write_record
from support.records import SEEDS, cell, make_record


def grid(**leakages: float) -> list[Record]:
    """Return five seeds of two attacks; ``leakages`` are ``attack_defense``."""
    return [
        cell(*name.split("_"), seed, value + 0.01 * seed)
        for name, value in leakages.items()
        for seed in SEEDS
    ]


def rows(records: list[Record], by: Any = "defenses", **options: Any) -> pd.DataFrame:
    (board,) = rank(records, by, **options)
    return board.rows.set_index("name")


def test_a_defense_is_as_good_as_its_worst_case() -> None:
    table = rows(grid(a_none=0.6, b_none=0.7, a_weak=0.5, b_weak=0.1, a_strong=0.2, b_strong=0.3))
    assert table["leakage"].round(6).to_dict() == {"strong": 0.32, "weak": 0.52, "none": 0.72}
    assert table["rank"].to_dict() == {"strong": 1, "weak": 2, "none": 3}
    assert table["worst attack"].to_dict() == {"strong": "b", "weak": "a", "none": "b"}
    assert table["retained"].tolist() == [1, 1, 1]
    assert table["pareto"].tolist() == [True, False, False]


def test_the_worst_case_is_taken_per_seed_before_the_mean() -> None:
    records = grid(a_none=0.6, b_none=0.6)
    for seed in SEEDS:
        records.append(cell("a", "d", seed, 0.4 if seed % 2 else 0.1))
        records.append(cell("b", "d", seed, 0.1 if seed % 2 else 0.4))
    assert rows(records).loc["d", "leakage"] == pytest.approx(0.4)


def test_cells_of_an_ensemble_without_one_of_its_attacks_are_counted() -> None:
    records = grid(a_none=0.6, a_d=0.2)
    (whole,) = rank(records, "defenses")
    for place in (0, 7):
        records[place] = records[place].model_copy(update={"flags": [INCOMPLETE]})
    (board,) = rank(records, "defenses")
    assert whole.notes == []
    assert board.notes == [f"in 2 of 10 cells {FLAGS[INCOMPLETE]}"]


def test_an_attack_that_fails_its_positive_control_counts_for_nothing() -> None:
    records = grid(a_none=0.6, a_d=0.2, b_none=0, b_d=0)
    (board,) = rank(records, "defenses")
    assert board.rows["worst attack"].tolist() == ["a", "a"]
    assert board.notes == [
        "b does not count: undefended, it recovers 0.02 (0.00 to 0.04) of what there is, no more "
        "than a blind guess does, and no more behind any defense"
    ]
    (board,) = rank(grid(a_none=0.6, a_d=0.2, b_d=0), "defenses")
    assert any("b does not count: it has no undefended cell" in note for note in board.notes)


def test_an_attack_that_works_only_behind_a_defense_counts() -> None:
    table = rows(grid(a_none=0.6, a_d=0.2, a_e=0.4, b_none=0, b_d=0.5, b_e=0))
    assert table.loc["d", "leakage"] == pytest.approx(0.52)
    assert table.loc["d", "worst attack"] == "b"
    assert table.loc["none", "cells"] == 10


def test_an_attack_without_undefended_cells_that_breaks_a_defense_leaves_a_gap() -> None:
    table = rows(grid(a_none=0.6, a_d=0.2, b_d=0.5))
    assert table.loc["d", "leakage"] == pytest.approx(0.52)
    assert table.loc["none", "reason"] == "5 of 10 cells"


def test_an_attack_that_identifies_counts_whatever_it_leaks() -> None:
    def blurred(rate: float) -> list[Record]:
        records = grid(a_none=0.6, a_d=0.2, b_none=0, b_d=0)
        found = []
        for one in records:
            if one.spec.attack == "b" and one.spec.defense == "none":
                assert one.victims is not None
                privacy = one.victims.held_out.privacy.model_copy(
                    update={
                        "identification": Identification(structure=rate, pixel=0.0, gallery=100)
                    }
                )
                skill = one.victims.held_out.skill.model_copy(update={"identification": None})
                held_out = one.victims.held_out.model_copy(
                    update={"privacy": privacy, "skill": skill}
                )
                victims = one.victims.model_copy(update={"held_out": held_out})
                one = one.model_copy(update={"victims": victims})  # noqa: PLW2901 - the changed copy
            found.append(one)
        return found

    (board,) = rank(blurred(0.4), "defenses")
    assert board.notes == []
    assert board.rows["expected"].tolist() == [10, 10]
    (board,) = rank(blurred(0.02), "defenses")
    assert board.notes[0].startswith("b does not count: undefended")


def test_one_of_many_defenses_that_seems_broken_by_chance_is_not() -> None:
    lucky = dict(enumerate((0.05, 0.04, 0.06, 0.03, 0.08)))  # alone, p is 0.02

    def board_of(defenses: int) -> list[str]:
        records = grid(a_none=0.6, a_d0=0.2, b_none=0)
        records += [cell("b", "d0", seed, value) for seed, value in lucky.items()]
        for number in range(1, defenses):
            records += [cell(x, f"d{number}", seed, 0.0) for seed in SEEDS for x in "ab"]
        (board,) = rank(records, "defenses")
        return [note for note in board.notes if "does not count" in note]

    assert board_of(1) == []
    assert len(board_of(10)) == 1


def at_cut(cut: int, *leakages: float, **changes: Any) -> list[Record]:
    spec = {"cut": cut} | changes.pop("spec", {})
    return [cell("a", "none", seed, x, spec=spec, **changes) for seed, x in enumerate(leakages)]


def test_cuts_are_never_pooled_as_seeds() -> None:
    (board,) = rank([*at_cut(3, 0.66, 0.68), *at_cut(5, 0.40, 0.42)], "targets")
    table = board.rows.set_index("name")
    assert board.notes == [
        "two seeds: no row can be told from another; intervals of leakage are over images alone"
    ]
    assert table["leakage"].round(6).to_dict() == {"resnet cut 5": 0.41, "resnet cut 3": 0.67}
    assert table["expected"].tolist() == [2, 2]


def test_an_attack_counts_on_the_targets_where_it_works() -> None:
    records = [*at_cut(3, 0.66, 0.67, 0.68), *at_cut(7, 0.0, 0.0, 0.01)]
    (board,) = rank(records, "targets")
    assert board.rows["name"].tolist() == ["resnet cut 3"]
    assert board.notes == [
        "a does not count on resnet cut 7: undefended, it recovers 0.00 (0.00 to 0.02) of what "
        "there is, no more than a blind guess does"
    ]


def test_an_attack_that_failed_on_one_target_leaves_a_gap_there() -> None:
    failed = [one.model_copy(update={"status": "failed"}) for one in at_cut(7, 0.1, 0.1)]
    (board,) = rank([*at_cut(3, 0.66, 0.68), *failed], "targets")
    table = board.rows.set_index("name")
    assert table.loc["resnet cut 7", "reason"].startswith("0 of 2 cells (failed")
    assert table.loc["resnet cut 3", "rank"] == 1


def test_seeds_that_differ_much_are_not_nothing() -> None:
    (board,) = rank([*at_cut(3, 0.0, 0.0, 0.9)], "defenses")
    assert board.notes == [
        "a does not count: undefended, it recovers 0.30 (0.00 to 1.00) of what there is, which 3 "
        "seeds cannot tell from nothing"
    ]


def test_a_flagged_cell_is_not_a_missing_one() -> None:
    flagged = grid(a_d=0) + [
        cell("a", "none", seed, 0.6, flags=["target-never-learned"]) for seed in SEEDS
    ]
    (board,) = rank(flagged, "defenses")
    (note,) = board.notes
    assert note == (
        "a does not count: no undefended cell of it is valid (target-never-learned), and no more "
        "behind any defense"
    )


def test_no_interval_of_a_board_leaves_what_its_figure_can_be() -> None:
    records = [
        cell("a", name, seed, leakage, auc=auc)
        for name, leakages, aucs in (
            ("none", (0.95, 0.99, 0.7), (0.99, 0.8, 0.895)),
            ("d", (0.0, 0.02, 0.3), (0.5, 1.0, 0.6)),
        )
        for seed, (leakage, auc) in enumerate(zip(leakages, aucs, strict=True))
    ]
    table = rows(records)
    for name in ("leakage", "utility"):
        assert (table[f"{name} low"] >= 0).all()
        assert (table[f"{name} high"] <= 1).all()
    assert table.loc["d", "retained"] == pytest.approx(0.2 / 0.395)
    assert table.loc["d", "retained low"] == pytest.approx(-0.5 / 0.395)  # an AUC of 0
    assert table.loc["d", "retained high"] == pytest.approx(0.5 / 0.395)  # an AUC of 1


@pytest.mark.parametrize("aucs", [(0.55, 0.56, 0.54), (0.9, 0.45, 0.5), (0.4, 0.4, 0.4)])
def test_nothing_is_retained_of_a_model_that_learned_nothing(aucs: tuple[float, ...]) -> None:
    records = [
        cell("a", name, seed, leakage + 0.01 * seed, auc=auc)
        for name, leakage in (("none", 0.6), ("d", 0.2))
        for seed, auc in enumerate(aucs)
    ]
    (board,) = rank(records, "defenses")
    table = board.rows.set_index("name")
    assert table["retained"].isna().all()
    assert set(table["reason"]) == {"what it retains of the utility cannot be told"}
    assert "does not beat the trivial predictor's 0.50 by 3 standard errors" in board.notes[0]


def test_one_small_denominator_does_not_decide_what_is_retained() -> None:
    aucs = {"none": (0.8, 0.8, 0.8, 0.8, 0.501), "d": (0.75, 0.75, 0.75, 0.75, 0.6)}
    records = [
        cell("a", name, seed, 0.6 - 0.3 * (name == "d") + 0.01 * seed, auc=auc)
        for name, values in aucs.items()
        for seed, auc in enumerate(values)
    ]
    assert rows(records).loc["d", "retained"] == pytest.approx(1.1 / 1.201)


def test_the_interval_of_an_old_record_is_shown_within_its_range() -> None:
    utility = make_record().utility
    assert utility is not None
    old = utility.model_copy(update={"jaccard": 0.97, "jaccard_interval": (0.57, 1.37)})
    assert old.estimate("jaccard") == (0.97, 0.57, 1)
    given = load_frame([make_record(utility=old)])
    assert given[["jaccard low", "jaccard high"]].values.tolist() == [[0.57, 1]]


def test_of_cells_that_differ_in_threads_alone_the_newest_counts() -> None:
    old, new = grid(a_none=0.6, a_d=0.2), grid(a_d=0.5)
    new = [
        one.model_copy(
            update={
                "cell_id": f"{seed:064x}",
                "provenance": one.provenance.model_copy(update={"created": "2027-01-01"}),
            }
        )
        for seed, one in enumerate(new)
    ]
    for records in ([*old, *new], [*new, *old]):
        (board,) = rank(records, "defenses")
        assert board.rows.set_index("name").loc["d", "leakage"] == pytest.approx(0.52)
        assert board.notes[0].startswith("5 cells are left out")


def test_only_defenses_have_a_pareto_front() -> None:
    records = grid(a_none=0.6, a_d=0.2)
    for by in ("attacks", "targets"):
        assert "pareto" not in rows(records, by)


def test_a_leakage_that_is_no_number_is_missing() -> None:
    records = grid(a_none=0.6, a_d=0.2)[:-1]
    strange = cell("a", "d", 4, float("nan"))
    assert rows([*records, strange]).loc["d", "reason"] == "4 of 5 cells (no leakage)"


def test_shared_labels_are_the_first_note_of_a_board() -> None:
    shared = [
        one.model_copy(update={"flags": [LABELS_SHARED, *one.flags]}) for one in grid(a_none=0.6)
    ]
    (board,) = rank(shared, "defenses")
    assert board.notes[0] == FLAGS[LABELS_SHARED]
    (board,) = rank([*shared, *grid(a_d=0.2)], "defenses")
    assert board.notes[0] == f"in 5 of 10 cells {FLAGS[LABELS_SHARED]}"
    (private,) = rank(grid(a_none=0.6, a_d=0.2), "defenses")
    assert private.notes == []


def test_rows_that_cannot_be_told_apart_share_a_rank() -> None:
    records = grid(a_none=0.6)
    for seed in SEEDS:
        records.append(cell("a", "x", seed, 0.30 + 0.05 * (seed % 2)))
        records.append(cell("a", "y", seed, 0.31 + 0.05 * ((seed + 1) % 2)))
    ranks = rows(records)["rank"].to_dict()
    assert ranks == {"x": 1, "y": 1, "none": 3}


def test_one_seed_tells_nothing_apart() -> None:
    (board,) = rank([cell("a", "none", 0, 0.6), cell("a", "d", 0, 0.1)], "defenses")
    assert board.rows["rank"].tolist() == [1, 1]
    assert board.rows["rank last"].tolist() == [2, 2]
    assert board.rows["pareto"].tolist() == [1, 0], "of the images of this seed"
    assert board.notes == [
        "what a defense costs is judged from 3 seeds on",
        "one seed: no row can be told from another; intervals of leakage are over images alone",
    ]


def test_what_is_missing_or_invalid_is_shown_without_a_rank() -> None:
    records = grid(a_none=0.6, a_d=0.2, a_e=0.1)[:-1]
    failed = cell("a", "e", 4, None, status="failed", reason="it diverged")
    table = rows([*records, failed])
    assert pd.isna(table.loc["e", "rank"])
    assert table.loc["e", "reason"] == "4 of 5 cells (failed: it diverged)"
    assert pd.isna(table.loc["e", "leakage"]), "an incomplete row has no number to quote"
    assert list(table.index) == ["d", "none", "e"]
    flagged = cell("a", "e", 4, 0.1, flags=["lpips-unavailable"])
    assert rows([*records, flagged]).loc["e", "reason"] == "4 of 5 cells (lpips-unavailable)"


def test_a_defense_that_breaks_the_model_is_not_ranked() -> None:
    records = grid(a_none=0.6)
    records += [cell("a", "d", seed, 0.0, auc=0.6) for seed in SEEDS]
    table = rows(records)
    assert table.loc["d", "retained"] == pytest.approx(0.25)
    assert table.loc["d", "reason"] == "retains less than 50% of the utility"
    assert rows(records, floor=0.2).loc["d", "rank"] == 1


def test_settings_and_access_are_never_mixed() -> None:
    records = grid(a_none=0.6)
    records += [cell("q", "none", s, 0.9, threat_model=ThreatModel(queries=True)) for s in SEEDS]
    records += [cell("p", "none", s, 1.0, threat_model=ThreatModel(pairs=True)) for s in SEEDS]
    records += [cell("a", "none", s, 0.4, spec={"cut": 7}) for s in SEEDS]
    boards = rank(records, "defenses")
    assert sorted(round(board.rows["leakage"].iloc[0], 6) for board in boards) == [
        0.4,
        0.62,
        0.9,
        1.0,
    ]
    assert sum("may ask the client" in board.title for board in boards) == 1
    assert all("\0" not in board.title for board in boards)
    by_target = rank(records, "targets")
    (one,) = [board for board in by_target if len(board.rows) == 2]
    assert [name.split()[-1] for name in one.rows["name"]] == ["7", "3"]


def test_boards_of_the_same_words_say_what_differs() -> None:
    base = make_record().spec.training
    records = grid(a_none=0.6)
    slower = base.model_copy(update={"learning_rate": 1e-4})
    records += [cell("a", "none", s, 0.4, spec={"training": slower}) for s in SEEDS]
    titles = [board.title for board in rank(records, "defenses")]
    assert sum("training.learning_rate=0.0001" in title for title in titles) == 1
    assert sum(f"training.learning_rate={base.learning_rate}" in title for title in titles) == 1


def test_a_board_of_another_protocol_says_so() -> None:
    new = grid(a_none=0.6, a_d=0.5)
    old = [one.model_copy(update={"protocol": PROTOCOL_VERSION - 1}) for one in new]
    boards = {board.title: board.notes for board in rank([*new, *old], "defenses")}
    (said,) = (
        notes for title, notes in boards.items() if f"protocol {PROTOCOL_VERSION - 1}" in title
    )
    assert said == [
        f"measured under protocol {PROTOCOL_VERSION - 1}; this version of splitsec measures under "
        f"protocol {PROTOCOL_VERSION}, whose numbers may differ"
    ]
    assert sorted(boards.values()) == [[], said]


def test_strengths_of_one_defense_are_rows_of_their_own() -> None:
    records = grid(a_none=0.6)
    for alpha in (0.5, 0.9):
        records += [cell("a", "d", s, alpha / 2, parameters={"alpha": alpha}) for s in SEEDS]
    assert set(rows(records).index) == {"none", "d:alpha=0.5", "d:alpha=0.9"}


def test_attacks_are_ranked_by_their_mean_over_defenses() -> None:
    table = rows(grid(a_none=0.6, a_d=0.2, b_none=0.5, b_d=0.5), "attacks")
    assert table["leakage"].round(6).to_dict() == {"b": 0.52, "a": 0.42}
    assert table["rank"].to_dict() == {"b": 1, "a": 2}


def test_utility_runs_alone_make_no_board() -> None:
    assert rank([cell("none", "none", 0, None)], "defenses") == []


def stored(folder: Path, records: list[Record]) -> Path:
    """Write records under ids of their own."""
    for number, record in enumerate(records):
        one = record.model_copy(update={"cell_id": f"{number:064d}"})
        write_record(record_folder(folder, one), one)
    return folder


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    return result.stdout


def test_every_format_says_the_same(tmp_path: Path) -> None:
    records = grid(a_none=0.6, a_d=0.2, a_e=0.1)[:-1]
    folder = str(stored(tmp_path, records))
    frame = pd.read_csv(io.StringIO(printed(folder, "--format", "csv")))
    assert frame["name"].tolist() == ["d", "none", "e"]
    (board,) = json.loads(printed(folder, "--format", "json"))
    assert [row["rank"] for row in board["rows"]] == [1, 2, None]
    assert board["rows"][0]["leakage"] == pytest.approx(frame["leakage"][0])
    for form in ("table", "markdown", "latex"):
        text = " ".join(printed(folder, "--format", form).split())
        assert "0.22" in text
        assert "0.62" in text
        assert "of 5" in text
    expected = "| 1 | d | 23 (21 to 25) | 0.22 (0.20 to 0.24) |"
    assert expected in printed(folder, "--format", "markdown")


@pytest.mark.parametrize("left", [1, 4])
def test_without_the_undefended_model_of_a_seed_nothing_is_on_the_front(left: int) -> None:
    records = [
        one
        for one in grid(a_none=0.6, a_d=0.2, a_e=0.1)
        if one.spec.defense != "none" or one.spec.seed < left
    ]
    (board,) = rank(records, "defenses")
    found = board.rows.set_index("name")
    assert found["rank"].dropna().to_dict() == {"e": 1, "d": 2}
    assert found["reason"]["none"] == f"{left} of 5 cells"
    assert "pareto" not in found or found["pareto"].isna().all()


def test_who_is_found_comes_before_what_leaks() -> None:
    records = grid(a_none=0.6, a_d=0.2, b_none=0.5, b_d=0.4)
    (board,) = rank(records, "defenses")
    columns = list(board.rows)
    assert columns.index("name") + 1 == columns.index("identified") < columns.index("leakage")
    found = board.rows.set_index("name")["identified"]
    by_seed = {
        one.spec.seed: identified_rate(one)
        for one in records
        if (one.spec.attack, one.spec.defense) == ("b", "d")
    }
    assert found["d"] == pytest.approx(np.mean([by_seed[seed] for seed in SEEDS])), "b finds more"
    words = in_words(board)
    assert list(words)[:4] == ["rank", "", "found of 100", "leakage"]
    assert words.set_index("")["found of 100"]["d"].startswith(f"{100 * found['d']:.0f} (")


def test_the_worst_victim_is_that_of_the_worst_attack() -> None:
    records = grid(a_none=0.6, a_d=0.2, b_none=0.5, b_d=0.4)
    worst = {("a", "d"): 0.9, ("b", "d"): 0.7, ("a", "none"): 0.8, ("b", "none"): 1.0}

    def with_worst(record: Record) -> Record:
        assert record.victims is not None
        scores = record.victims.held_out
        known = scores.leakage.model_copy(
            update={"worst": worst[record.spec.attack, record.spec.defense]}
        )
        victims = {"held_out": scores.model_copy(update={"leakage": known}), "training": None}
        return record.model_copy(update={"victims": record.victims.model_copy(update=victims)})

    (board,) = rank(list(map(with_worst, records)), "defenses")
    assert board.rows.set_index("name")["worst victim"].to_dict() == {"d": 0.9, "none": 1.0}
    (by_attack,) = rank(list(map(with_worst, records)), "attacks")
    known = by_attack.rows.set_index("name")["worst victim"]
    assert known.to_dict() == pytest.approx({"a": 0.85, "b": 0.85}), "means over defenses"


@pytest.mark.parametrize("columns", [80, 130])
def test_a_terminal_shows_names_and_intervals_whole(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    folder = stored(tmp_path, grid(gan_none=0.5, gan_dcor=0.4))
    result = CliRunner().invoke(command, [str(folder)], standalone_mode=False)
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert max(map(len, lines)) <= columns
    assert "\u2026" not in result.stdout, "nothing is cut off"
    (first,) = (line for line in lines if " dcor " in line)
    below = lines[lines.index(first) + 1 :]
    interval = re.compile(r"-?\d\.\d\d to -?\d\.\d\d")
    assert len(interval.findall(below[0] if columns == 80 else first)) == 3
    assert ("by gan" in below[1]) == (columns == 80)
    assert ("gan" in first) == (columns == 130)


def test_no_board_is_an_exit_code(tmp_path: Path) -> None:
    folder = stored(tmp_path, [cell("none", "none", 0, None)])
    result = CliRunner().invoke(command, [str(folder)], standalone_mode=False)
    assert result.return_value == Exit.EMPTY
    assert "no record is of an attack" in result.stderr


def test_records_come_from_folders_files_and_streams(tmp_path: Path) -> None:
    records = [
        one.model_copy(update={"cell_id": f"{n:064d}"}) for n, one in enumerate(grid(a_none=0.6))
    ]
    folder = stored(tmp_path / "folder", records)
    stream = tmp_path / "all.jsonl"
    stream.write_text("".join(f"{one.sealed().to_json()}\n" for one in records))
    one = next(folder.rglob("record.json"))
    assert len(load_records([folder])) == len(load_records([stream])) == 5
    assert len(load_records([folder, stream, one])) == 5, "a cell counts once"
    frame = load(folder, stream)
    assert frame["seed"].tolist() == list(SEEDS)
    assert frame["status"].tolist() == ["ok"] * 5
    failed = records[0].model_copy(update={"status": "failed"})
    stream.write_text(failed.sealed().to_json())
    assert all(record.status == "ok" for record in load_records([folder, stream]))


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "line 1, is not .* record: Expecting"), ("\n{}\n", "line 2, is not .*: 'cell_id': F")],
)
def test_a_broken_stream_is_named(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text(content)
    with pytest.raises(DataError, match=said):
        load_records([tmp_path / "broken.jsonl"])


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no record\.json under"):
        load_records([tmp_path])


@pytest.mark.parametrize("form", ["table", "csv", "markdown", "latex", "json", "html"])
def test_a_board_on_which_no_attack_counts_is_shown_with_the_reason(
    form: str, tmp_path: Path
) -> None:
    for record in [
        *grid(adra_none=0.5, adra_dcor=0.4),
        *(
            cell("active", defense, seed, 0.0, spec={"cut": 5})
            for defense in ("none", "dcor")
            for seed in SEEDS
        ),
    ]:
        numbered = record.model_copy(update={"cell_id": f"{hash(str(record.spec)) % 2**64:064x}"})
        write_record(tmp_path / numbered.cell_id, numbered)
    page = ["--output", str(tmp_path / "page")] if form == "html" else []
    done = CliRunner().invoke(
        command, [str(tmp_path), "--format", form, *page], standalone_mode=False
    )
    assert done.exit_code == 0, done.output
    said = (tmp_path / "page" / "index.html").read_text() if form == "html" else done.output
    assert "adra" in said
    if form not in ("csv", "latex"):  # which are tables only
        assert "active does not count" in said or "Active does not count" in said


def test_a_board_says_how_well_kept_labels_are_predicted() -> None:
    def scores(skill: float) -> LabelScores:
        found = LabelScore.of(0.5 + skill / 2, 0.5, 8)
        return LabelScores(measure="auc", training={"feature_gradient": found})

    kept = {"none": 0.9, "dcor": 0.5}
    records = [
        record.model_copy(update={"labels": scores(kept[record.spec.defense])})
        for record in beside_linear_models(0.7)
    ]
    (board,) = rank(records, "defenses")
    (note,) = [one for one in board.notes if "predicts them" in one]
    assert note.endswith("by defense: dcor 0.50, none 0.90")


def beside_linear_models(colour: float) -> list[Record]:
    """Return a board whose undefended model has an AUC of 0.9."""
    records = grid(passive_none=0.8, passive_dcor=0.3)
    linear = {"linear_pixels": 0.85, "linear_colour": colour}
    return [
        one.model_copy(update={"utility": one.utility.model_copy(update=linear)})
        for one in records
        if one.utility is not None
    ]


def test_a_board_says_what_linear_models_reach() -> None:
    (board,) = rank(beside_linear_models(0.7), "defenses")
    said = "a linear model on the pixels reaches AUC 0.85, on the mean colour 0.70"
    assert said in board.notes
    assert "cost verdict" in board.rows
    (board,) = rank(beside_linear_models(0.89), "defenses")
    (note,) = [one for one in board.notes if "linear" in one]
    assert note.endswith("so the utility of this board cannot show what a defense costs")
    assert "cost verdict" not in board.rows, "and no cost is judged"
    (board,) = rank(grid(passive_none=0.8, passive_dcor=0.3), "defenses")
    assert not any("linear" in one for one in board.notes), "protocol 4"
    (board,) = rank(beside_linear_models(0.7), "attacks")
    assert not any("linear" in one for one in board.notes), "attacks have no utility"
