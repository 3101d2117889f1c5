"""How the page says it is cited."""

from __future__ import annotations

from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

from splitsec.errors import UsageError
from splitsec.leaderboard.web.citation import bibtex
from support.published_records import build, store
from support.records import cell

ENTRY = """@software{splitsec,
  author  = {{The splitsec authors}},
  title   = {{splitsec: A security evaluation benchmark for split learning: what can the server see?}},
  version = {0.2.0},
  year    = {2026},
  license = {Apache-2.0}
}"""  # noqa: E501 - one long line of BibTeX


def test_the_entry_is_of_the_packages_metadata_and_the_last_version() -> None:
    assert bibtex(["0.1.0", "0.2.0"], "2026") == ENTRY
    assert bibtex([], "2026") == ENTRY.replace("  version = {0.2.0},\n", "")


def test_the_page_has_the_entry(tmp_path: Path) -> None:
    records = [cell("fsha", defense, 0, 0.5) for defense in ("none", "dcor")]
    page = build(store(tmp_path / "records", records), tmp_path / "page")
    year = records[0].provenance.created[:4]
    assert bibtex([], year) in (page / "index.html").read_text(encoding="utf-8")


def test_an_install_without_authors_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "metadata", lambda name: Message())
    with pytest.raises(UsageError, match="install it again"):
        bibtex([], "2026")
