"""The workflow that tries submissions runs strangers' code: no secret, nothing to write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from splitsec.cli.verify import command

WORKFLOW = Path(__file__).parent.parent / ".github" / "workflows" / "submission.yml"
ISOLATION = {"--isolate", "--sandbox"}


@pytest.fixture(scope="module")
def text() -> str:
    return WORKFLOW.read_text(encoding="utf-8")


def test_it_has_no_secret_and_may_write_nothing(text: str) -> None:
    assert "secrets." not in text
    assert "pull_request_target" not in text
    assert re.findall(r"permissions:\n((?:  .*\n)+)", text) == ["  contents: read\n"]
    assert text.count("actions/checkout") == text.count("persist-credentials: false") == 2


def test_actions_are_pinned_to_a_major_version(text: str) -> None:
    used = re.findall(r"uses: (\S+)", text)
    assert len(used) == 4
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", one) for one in used)


def test_nothing_of_the_pull_request_is_put_into_a_script(text: str) -> None:
    within = set(re.findall(r"\$\{\{ (.*?) \}\}", text))
    assert within == {
        "github.event.pull_request.number", "github.event.pull_request.base.sha",
        "github.workspace", "github.run_id",
    }  # fmt: skip


def test_verify_has_the_options_that_it_is_given(text: str) -> None:
    (words,) = re.findall(r"splitsec verify (.*?) < ", text.replace("\\\n", " "))
    known = {name for one in command.params for name in one.opts}
    given = {word for word in words.split() if word.startswith("--")}
    assert {"--sample", "--seed", "--output"} <= given
    assert given - ISOLATION <= known
    assert given >= ISOLATION
