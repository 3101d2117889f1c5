"""Files that the documentation for contributors names are there."""

from __future__ import annotations

import re

import pytest

from support.documented import ROOT

PAGES = ("CONTRIBUTING.md", "docs/architecture.md")

_PATH = re.compile(
    r"(?<![\w./-])(?:splitsec|attacks|defenses|targets|leaderboard|tests|docs|\.ci|\.github)/[\w./*-]*"
)
_EXAMPLES = re.compile(r"my[-_]attack|/NAME")


def paths(page: str) -> list[str]:
    """Return the paths that a page names, without those of the example's results."""
    found = _PATH.findall((ROOT / page).read_text(encoding="utf-8"))
    return sorted({one.rstrip(".") for one in found if not _EXAMPLES.search(one)})


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_it_names_exists(page: str) -> None:
    named = paths(page)
    assert len(named) > 10
    assert [one for one in named if not any(ROOT.glob(one))] == []


def test_every_room_is_in_both_tables() -> None:
    rooms = {f"splitsec/{file.parent.name}/" for file in (ROOT / "splitsec").glob("*/__init__.py")}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [room for room in sorted(rooms) if f"`{room}`" not in text] == []


def test_each_of_the_questions_is_answered_by_a_file() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    answers = re.findall(r"^\| [^|]+\? \| (.+) \|$", text, re.MULTILINE)
    assert len(answers) >= 11
    assert all((ROOT / _PATH.findall(answer)[-1]).is_file() for answer in answers)
