"""What a command says at the end: cells side by side, and what to type next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from splitsec.cli import run
from splitsec.cli.closing import undefended

TINY = [
    "eval",
    "--target",
    "fsha-client",
    "--cut",
    "1",
    "--size",
    "16",
    "--threads",
    "1",
    "--attack",
    "transport",
    "--no-isolate",
    *(
        word
        for setting in (
            "training.epochs=1",
            "counts.private=16",
            "counts.public=12",
            "counts.validation=6",
            "counts.held_out=8",
            "counts.victims=8",
        )
        for word in ("--set", setting)
    ),
]


def said(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    assert run([*TINY, "--output", str(folder), *words]) == 0
    return capsys.readouterr().out


def test_cells_stand_side_by_side(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = said(capsys, tmp_path, "--defense", "none,gaussian-noise")
    table = text.partition("Side by side")[2]
    rows = [line.split()[0] for line in table.splitlines() if line.startswith((" none", " gauss"))]
    assert rows == ["none", "gaussian-noise"]
    assert f"next: a report for the person who decides: splitsec report {tmp_path}" in text
    assert "what it leaks and is worth without a defense" not in text


def test_an_undefended_record_that_is_there_stands_beside_a_defended_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = said(capsys, tmp_path, "--defense", "gaussian-noise")
    assert "Side by side" not in first
    assert "next: what it leaks and is worth without a defense:" in first
    said(capsys, tmp_path, "--defense", "none", "--json")
    again = said(capsys, tmp_path, "--defense", "gaussian-noise")
    assert "Side by side" in again
    other = said(capsys, tmp_path, "--defense", "gaussian-noise", "--set", "training.epochs=2")
    assert "Side by side" not in other, "its undefended cell was never run"


def test_json_has_records_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = said(capsys, tmp_path, "--defense", "none", "--json")
    assert [json.loads(line)["status"] for line in text.splitlines()] == ["ok"]


def test_no_attack_has_nothing_to_report(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "next:" not in said(capsys, tmp_path, "--attack", "none")


def test_the_command_that_is_named_next_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["splitsec", *TINY, "--output", str(tmp_path), "--defense", "gaussian-noise"]
    words += ["--sweep", "defense.gaussian-noise.sigma=1,2"]
    words += ["--set", "defense.gaussian-noise.unit=absolute"]
    assert run(words[1:]) == 0
    assert run(shlex.split(undefended(words))[1:]) == 0
    assert "transport against none" in capsys.readouterr().out
