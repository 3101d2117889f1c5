"""Claims are told from what was run here, in every form of the leaderboard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser

from splitsec.cli.exit_codes import Exit
from splitsec.leaderboard.ranking import rank
from splitsec.leaderboard.rows import evidence
from splitsec.leaderboard.settings import By
from splitsec.records.reading import load_record
from splitsec.records.record import Agreement, Evidence, Record
from splitsec.records.store import StoredRecord, each_once
from support.browser import system_browser
from support.published_records import build, publish_all, run, store
from support.records import SEEDS, cell

CLAIMED = Evidence(origin="claimed")


def of(defense: str, seed: int, leakage: float, origin: Evidence, **changes: Any) -> Record:
    called = f"{['none', 'mine', 'shaky', 'new'].index(defense)}{seed}".zfill(64)
    return cell("fsha", defense, seed, leakage, evidence=origin, cell_id=called, **changes)


def rerun(agreement: Agreement) -> Evidence:
    return Evidence(agreement=agreement)


def make_records() -> list[Record]:
    """Return what was run here undefended, and claims: run again, in part, and not at all."""
    records = []
    for seed in SEEDS:
        records.append(of("none", seed, 0.7 + seed / 100, Evidence()))
        records += [of(name, seed, 0.3, CLAIMED) for name in ("mine", "shaky", "new")]
        records.append(of("mine", seed, 0.3, rerun("identical")))
        if seed < 2:
            records.append(of("shaky", seed, 0.6, rerun("differs")))
    return records


EXPECTED = {
    "none": "re-run here",
    "mine": "re-run here",
    "shaky": "re-run here, 2 disagree with the claim",
}
CLAIMS = {"shaky": "claimed", "new (source unknown)": "claimed"}
"""Names of claimed methods: what was run here keeps its name, other sources have theirs."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    records = make_records()
    store(folder / "ours", [one for one in records if one.evidence.origin == "here"])
    store(folder / "claims", [one for one in records if one.evidence.origin == "claimed"])
    return folder


def test_a_claim_gives_way_to_the_run_here_whatever_came_of_it() -> None:
    claim = of("mine", 0, 0.3, CLAIMED)
    failed = of("mine", 0, 0.3, Evidence(), status="failed", reason="it diverged")
    for order in ((claim, failed), (failed, claim)):
        (kept,) = each_once(StoredRecord(one, None) for one in order)
        assert kept.record.status == "failed"


def boards_of(records: list[Record], by: By) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the official board and of the claims."""
    official, claims = rank(
        [one.record for one in each_once(StoredRecord(one, None) for one in records)], by
    )
    assert official.claimant is None and claims.claimant == ""
    return official.rows.set_index("name"), claims.rows.set_index("name")


def test_claims_have_a_table_of_their_own() -> None:
    official, claims = boards_of(make_records(), "defenses")
    assert official["evidence"].to_dict() == EXPECTED
    assert claims["evidence"].to_dict() == CLAIMS
    assert official.loc["shaky", "leakage"] != official.loc["shaky", "leakage"], "2 of 5 cells"
    assert claims.loc["shaky", "leakage"] == pytest.approx(0.3), "of the 3 that nobody re-ran"
    assert "rank" in official and not {"rank", "pareto", "cost verdict"} & set(claims)
    by_attack, _ = boards_of(make_records(), "attacks")
    assert by_attack["evidence"].tolist() == ["re-run here, 2 disagree with the claim"]


def test_agreement_within_tolerance_is_agreement() -> None:
    assert evidence([rerun("within tolerance"), Evidence()]) == "re-run here"


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "csv", "json"])
def test_every_form_says_it(form: str, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = run(results, "--format", form)
    assert said.return_value == Exit.OK
    assert "CLAIMED by claims, not re-run here: resnet cut 3" in said.stdout
    assert all(words in said.stdout for words in (*EXPECTED.values(), *CLAIMS.values()))
    if form == "json":
        official, claims = json.loads(said.stdout)
        assert {row["name"]: row["evidence"] for row in official["rows"]} == EXPECTED
        assert {row["name"]: row["evidence"] for row in claims["rows"]} == CLAIMS


def test_nothing_is_said_where_all_was_run_here(tmp_path: Path) -> None:
    store(tmp_path, [one for one in make_records() if one.spec.defense == "none"])
    said = run(tmp_path, "--format", "markdown").stdout
    assert "evidence" not in said and "re-run" not in said


def test_only_verified_leaves_claims_out(results: Path, tmp_path: Path) -> None:
    said = run(results, "--only-verified", "--format", "json")
    rows = pd.DataFrame(json.loads(said.stdout)[0]["rows"]).set_index("name")
    assert sorted(rows.index) == ["mine", "none", "shaky"]
    assert rows.loc["mine", "rank"] == 1
    assert pd.isna(rows.loc["shaky", "rank"]) and rows.loc["shaky", "cells"] == 2
    page = build(results, tmp_path / "page", "--only-verified")
    assert len(list((page / "cells").iterdir())) == 12
    assert "Every cell of this page was run here" in (page / "index.html").read_text()
    assert run(results / "claims", "--only-verified").return_value == Exit.EMPTY


def test_a_page_of_published_records_says_the_same(results: Path, tmp_path: Path) -> None:
    page = build(results, tmp_path / "page")
    copies = tmp_path / "copies"
    kept = {name: publish_all(results / name, copies / name) for name in ("ours", "claims")}
    claims = [load_record(file) for file in kept["claims"]]
    assert [one.evidence.claimant for one in claims] == ["claims"] * len(claims)
    again = build(copies, tmp_path / "again")
    assert (page / "index.html").read_bytes() == (again / "index.html").read_bytes()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with system_browser() as found:
        yield found


@pytest.mark.slow
def test_the_page_says_it_of_rows_and_of_cells(
    results: Path, tmp_path: Path, browser: Browser
) -> None:
    opened = browser.new_page()
    opened.goto((build(results, tmp_path / "page") / "index.html").as_uri())
    cells = opened.locator("#defenses-1 th .evidence").all_inner_texts()
    assert cells == ["re-run here, 2 disagree with the claim"]
    claims = opened.locator("#defenses-2")
    assert "Claimed by claims, not re-run here." in claims.inner_text()
    assert claims.locator("thead button").all_inner_texts()[0] == "Defense", "and no rank"
    assert "8 cells of this page are claimed." in opened.locator("#reading").inner_text()
    told = opened.locator("#cells p.evidence").all_inner_texts()
    assert "Claimed by claims; not re-run here." in told
    assert "Run again here: the numbers are identical with those that were claimed." in told
    opened.close()
