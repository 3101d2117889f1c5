"""Claims change nothing that was run here, whatever they hold and wherever they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from splitsec.leaderboard.ranking import Board, rank
from splitsec.leaderboard.settings import By
from splitsec.plugins.grants import ThreatModel
from splitsec.records.record import Evidence, Record
from splitsec.records.store import record_folder, write_record
from support.hostile import HOSTILE
from support.published_records import run
from support.records import SEEDS, cell

KINDS: tuple[By, ...] = ("defenses", "attacks", "targets")
LATE = "2099-01-01T00:00:00+00:00"


def made(attack: str, defense: str, seed: int, leakage: float | None, **changes: Any) -> Record:
    """Return a record with an id and sources of its own; ``source`` is that of the defense."""
    source = changes.pop("source", defense)
    created = changes.pop("created", "2026-11-23T00:00:00+00:00")
    record = cell(attack, defense, seed, leakage, **changes)
    plugins = {
        "attack": {"code": hashlib.sha256(attack.encode("utf-8", "replace")).hexdigest()},
        "defense": {"code": hashlib.sha256(source.encode("utf-8", "replace")).hexdigest()},
    }
    about = record.provenance.model_copy(update={"plugins": plugins, "created": created})
    digest = hashlib.sha256(repr((record.spec, source)).encode()).hexdigest()
    return record.model_copy(
        update={"provenance": about, "cell_id": changes.get("cell_id", digest), "artifacts": {}}
    )


OFFICIAL = [
    made(attack, defense, seed, value + seed / 100)
    for attack in ("fsha", "adra")
    for defense, value in (("none", 0.7), ("dcor", 0.3))
    for seed in SEEDS
]

claim = partial(made, evidence=Evidence(origin="claimed"))

CLAIMS = {
    "a new seed": [claim("fsha", "mine", 99, 0.1)],
    "a new attack": [claim("another", "none", 0, 0.9)],
    "a new target": [claim("fsha", "none", 0, 0.9, spec={"cut": 7})],
    "three that leave an attack no control": [
        claim("fsha", "none", seed, -30.0) for seed in (91, 92, 93)
    ],
    "a name that is built in, with another source": [
        claim("fsha", "dcor", seed, 0.0, source="theirs") for seed in SEEDS
    ],
    "an undefended model of another source": [
        claim("fsha", "none", seed, 0.0, source="theirs", auc=0.5) for seed in SEEDS
    ],
    "the same cells, later": [claim("fsha", "dcor", seed, 0.0, created=LATE) for seed in SEEDS],
    "another number of threads": [
        claim("fsha", "dcor", seed, 0.0, created=LATE, spec={"threads": 7}) for seed in SEEDS
    ],
    "failures": [claim("fsha", "dcor", s, None, status="failed", reason="x") for s in (0, 90)],
    "more access": [
        claim("fsha", "none", 0, 1.0, threat_model=ThreatModel(queries=True, pairs=True))
    ],
    "values that are not finite": [
        claim("fsha", "dcor", 0, float("nan")),
        claim("a", "b", 1, 1e300),
    ],
    "a figure that none retains": [claim("fsha", "dcor", 0, 0.0, auc=1e9, source="theirs")],
    "hostile names": [
        claim(name, name, 0, 0.1, source="x") for name in HOSTILE.values() if "\ud800" not in name
    ],
}


def official(records: list[Record], by: By) -> list[tuple[str, str, list[str]]]:
    """Return all that the official boards of records say."""
    return [_all_of(one) for one in rank(records, by) if one.claimant is None]


def _all_of(board: Board) -> tuple[str, str, list[str]]:
    return board.title, board.rows.to_json(), board.notes


@pytest.fixture(scope="module")
def alone() -> dict[By, list[tuple[str, str, list[str]]]]:
    return {by: official(OFFICIAL, by) for by in KINDS}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_claim_changes_no_official_number(
    kind: str, alone: dict[By, list[tuple[str, str, list[str]]]]
) -> None:
    for by in KINDS:
        for records in ([*OFFICIAL, *CLAIMS[kind]], [*CLAIMS[kind], *OFFICIAL]):
            assert sorted(official(records, by)) == sorted(alone[by])


def test_a_claim_is_shown_in_a_table_without_ranks() -> None:
    boards = rank([*OFFICIAL, *CLAIMS["a new seed"]], "defenses")
    (claimed,) = (one for one in boards if one.claimant is not None)
    assert claimed.title.startswith("CLAIMED by somebody, not re-run here: resnet cut 3")
    assert claimed.rows["evidence"].tolist() == ["claimed"]
    assert not {"rank", "rank last", "pareto", "cost verdict"} & set(claimed.rows)


def test_another_source_of_a_name_is_another_row() -> None:
    theirs = hashlib.sha256(b"theirs").hexdigest()[:8]
    claims = CLAIMS["a name that is built in, with another source"]
    (_, claimed) = rank([*OFFICIAL, *claims], "defenses")
    assert claimed.rows["name"].tolist() == [f"dcor ({theirs})"]
    run_here = [one.model_copy(update={"evidence": Evidence()}) for one in claims]
    (board,) = rank([*OFFICIAL, *run_here], "defenses")
    ours = hashlib.sha256(b"dcor").hexdigest()[:8]
    plain = {"dcor", f"dcor ({theirs})"}, {"dcor", f"dcor ({ours})"}
    assert set(board.rows["name"]) - {"none"} in plain, "each is a row, and never their mean"
    assert 0.32 in board.rows["leakage"].round(6).tolist(), "which is that of what ran here"


def test_claimants_do_not_touch_each_other(tmp_path: Path) -> None:
    honest = [claim("fsha", "mine", seed, 0.4) for seed in SEEDS]
    forged = [claim("fsha", "mine", seed, 0.0, created=LATE) for seed in SEEDS]
    one, other = (
        kept(tmp_path / "leaderboard" / "submissions" / name, records)
        for name, records in (("honest", honest), ("forger", forged))
    )
    shown = {
        board["title"].split(",")[0]: [row["leakage"] for row in board["rows"]]
        for board in boards_of(one, other)
    }
    assert shown == {
        "CLAIMED by honest": [pytest.approx(0.4)],
        "CLAIMED by forger": [pytest.approx(0.0)],
    }


def kept(folder: Path, records: list[Record]) -> Path:
    for record in records:
        write_record(record_folder(folder / "records", record), record)
    return folder


def boards_of(*words: object) -> list[dict[str, Any]]:
    said = run(*words, "--format", "json")
    assert said.exception is None, said.exception
    boards: list[dict[str, Any]] = json.loads(said.stdout)
    return boards


def beside_a_checklist(folder: Path, records: list[Record]) -> Path:
    kept(folder / "theirs", records)
    (folder / "theirs" / "SUBMISSION.md").write_text("# Mine")
    return folder / "theirs"


def among_submissions(folder: Path, records: list[Record]) -> Path:
    """Write a submission that lacks its checklist."""
    return kept(folder / "leaderboard" / "submissions" / "theirs", records)


def in_a_stream(folder: Path, records: list[Record]) -> Path:
    file = folder / "leaderboard" / "submissions" / "theirs" / "all.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"{one.sealed().to_json()}\n" for one in records))
    return file


def named_after_ours(folder: Path, records: list[Record]) -> Path:
    return kept(folder / "zzz", records)


@pytest.mark.parametrize("only", [[], ["--only-verified"]])
@pytest.mark.parametrize(
    "laid", [beside_a_checklist, among_submissions, in_a_stream, named_after_ours]
)
def test_a_record_that_says_it_is_official_replaces_none(
    laid: Callable[[Path, list[Record]], Path], only: list[str], tmp_path: Path
) -> None:
    ours = kept(tmp_path / "ours", OFFICIAL)
    lies = [made("fsha", "dcor", seed, 0.0, created=LATE) for seed in SEEDS]
    lies += [made("fsha", "dcor", s, 0.0, created=LATE, spec={"threads": 9}) for s in SEEDS]
    if laid is not named_after_ours:
        lies.append(made("fsha", "mine", 77, 0.0, created=LATE))
    before = boards_of(ours, *only)
    after = boards_of(ours, laid(tmp_path, lies), *only)
    assert after[0]["rows"] == before[0]["rows"]
    claims = after[1:]
    assert all(one["title"].startswith("CLAIMED by theirs") for one in claims)
    assert bool(claims) == (not only and laid is not named_after_ours)
