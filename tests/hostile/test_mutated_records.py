"""Records that were changed at random and sealed anew: no traceback, and no other row changes.

Every form that shows records reads the mutated one beside honest ones. Seeds are fixed, so that a
failure is found again.
"""

from __future__ import annotations

import json
import random
import resource
import time
from collections import Counter
from pathlib import Path

import pytest

import splitsec
from splitsec.errors import DataError
from splitsec.leaderboard import family_words
from splitsec.leaderboard.boards import FORMS, printed
from splitsec.leaderboard.families import family_boards
from splitsec.leaderboard.ranking import Board, rank
from splitsec.leaderboard.web.folder import write_page
from splitsec.leaderboard.worth import Rules
from splitsec.records.frames import records_frame
from splitsec.records.official import SUBMISSION
from splitsec.records.record import Evidence, Record
from splitsec.records.store import StoredRecord, find_records, write_record
from splitsec.running.verification import read_claims
from support.mutations import mutated
from support.records import cell, make_ensemble, make_record

PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "records"
MEMORY = 500_000_000  # bytes, beyond what Python and its packages take
PAGES = 50  # a page of every so many, since it takes seconds
SECONDS = 20  # of one record: far more than any takes, and less than a hang


def claimed(record: Record) -> Record:
    return record.model_copy(update={"evidence": Evidence(origin="claimed"), "artifacts": {}})


def originals() -> list[dict[str, object]]:
    """Return what is mutated: records of both tasks, an ensemble, and published ones."""
    files = [next((PUBLISHED / board).glob("*/record.json")) for board in ("retinamnist", "x-rays")]
    published = [splitsec.load_record(file) for file in files]
    records = [make_record(), make_ensemble(), cell("fsha", "dcor", 3, 0.3), *published]
    return [json.loads(claimed(one).to_json()) for one in records]


def honest() -> list[Record]:
    return [
        cell(attack, defense, seed, leakage, cell_id=f"{number:064x}")
        for number, (attack, defense, seed, leakage) in enumerate(
            (attack, defense, seed, leakage + seed / 100)
            for attack in ("fsha", "other")
            for defense, leakage in (("none", 0.7), ("dcor", 0.4))
            for seed in (0, 1)
        )
    ]


def run(count: int, first: int, folder: Path) -> Counter[str]:
    """Read and show mutated records; return how many were left out, and how many were not."""
    kinds, own = originals(), honest()
    for number, one in enumerate(own):
        write_record(folder / f"honest{number}", one)
    kept = find_records([folder], pytest.fail)
    alone = official(rank([one.record for one in kept], "defenses"))
    place = folder / "mutated"
    place.mkdir()
    (place / SUBMISSION).touch()
    counted: Counter[str] = Counter()
    for number in range(first, first + count):
        start = time.monotonic()
        (place / "record.json").write_text(
            mutated(kinds[number % len(kinds)], random.Random(number))
        )
        told: list[str] = []
        found = _read(place, told)
        counted["left out" if found is None else "shown"] += 1
        if found is None:
            (sentence,) = told
            assert sentence.isprintable(), sentence
            assert len(sentence) < 1000, sentence
        else:
            shown = _show([*kept, found], folder if number % PAGES == 0 else None)
            assert official(shown) == alone, f"mutation {number}"
        assert len(read_claims([place])) == 1
        assert time.monotonic() - start < SECONDS, f"mutation {number}"
    return counted


def _read(place: Path, told: list[str]) -> StoredRecord | None:
    try:
        (found,) = find_records([place], told.append)
    except DataError as error:
        assert [str(error)] == told
        return None
    assert not told
    return found


def official(boards: list[Board]) -> list[tuple[str, str, list[str]]]:
    """Return all that the official boards say."""
    return [(one.title, one.rows.to_json(), one.notes) for one in boards if one.claimant is None]


def _show(found: list[StoredRecord], page: Path | None) -> list[Board]:
    records = [one.record for one in found]
    records_frame(records)
    boards = rank(records, "defenses")
    families = [family_words.printed(one) for one in family_boards(boards)]
    for form in FORMS.values():
        form([*(printed(one) for one in boards), *families])
    if page is not None:
        write_page(found, page / "page", "defenses", Rules())
    return boards


def test_mutated_records_break_nothing(tmp_path: Path) -> None:
    counted = run(40, 0, tmp_path)
    assert counted["left out"] > 10
    assert counted["shown"] > 2


@pytest.mark.slow
def test_a_thousand_mutated_records_break_nothing(tmp_path: Path) -> None:
    before = _peak()
    counted = run(1000, 1000, tmp_path)
    assert counted["left out"] + counted["shown"] == 1000
    assert _peak() - before < MEMORY


def _peak() -> int:
    """Return the largest memory of this process so far, bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
