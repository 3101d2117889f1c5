"""Defenses and sweeps that cannot work say so in a sentence, and what they leave is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.cli.leaderboard import command
from splitsec.errors import UsageError
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.runs import run_cells
from support.cells import FEW

SETTINGS = [f"{name}={value}" for name, value in FEW.items()]


def records_of(folder: Path, defense: str, **asked: object) -> list[Record]:
    usual = {"attack": "regression:queries=500", "target": "fsha-client", "cut": "1", "size": 16}
    request = Request(**{**usual, **asked, "defense": defense, "threads": 1, "settings": SETTINGS})
    return list(run_cells(resolve(request, None), folder, Silent()))


@pytest.mark.parametrize(
    ("defense", "says"),
    [
        ("gradient-scrutiny+gradient-scrutiny", "a composition names two or more defenses, each"),
        ("clip+none", "a composition names two or more defenses, each once, and not 'none'"),
        ("clip+", "defense"),
        ("dp-release:epsilon=none", "parameter 'epsilon' of defense 'dp-release': Input should be"),
        ("gaussian-noise:sigma=strong", "parameter 'sigma' of defense 'gaussian-noise': Input"),
        ("dropout:rate=1", "parameter 'rate' of defense 'dropout': Input should be less than 1"),
        ("disco:ratio=1", "parameter 'ratio' of defense 'disco': Input should be less than 1"),
        ("shredder:level=0", "parameter 'level' of defense 'shredder': Input should be greater"),
        ("clip+gaussian-noise:gaussian_sigma=1", "no parameter|unknown parameter"),
    ],
)
def test_wrong_requests(defense: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        resolve(Request(attack="none", defense=defense), None)


def test_a_sweep_of_a_defense_without_strengths() -> None:
    with pytest.raises(UsageError, match="this defense has no strength"):
        resolve(Request(attack="none", defense="clip", sweeps=("defense.clip",)), None)


@pytest.mark.parametrize(
    ("defense", "target", "says"),
    [
        ("thumbnail:size=16", "resnet:depth=18", "does not fit into smashed data of"),
        ("bottleneck:channels=64", "resnet:depth=18", "does not narrow smashed data of 64"),
    ],
)
def test_what_does_not_apply_is_skipped(
    defense: str, target: str, says: str, tmp_path: Path
) -> None:
    (record,) = records_of(tmp_path, defense, target=target)
    assert record.status == "skipped"
    assert says in str(record.reason)


def test_a_defense_that_collapses_the_task(tmp_path: Path) -> None:
    (record,) = records_of(tmp_path, "gaussian-noise:sigma=10000")
    assert record.status == "ok"
    assert "defense-broke-utility" in record.flags


def test_a_sweep_whose_cells_all_fail_has_no_family(tmp_path: Path) -> None:
    sweep = ("defense.thumbnail.size=16,32",)
    found = records_of(tmp_path, "none,thumbnail", target="resnet:depth=18", sweeps=sweep)
    assert [one.status for one in found] == ["ok", "skipped", "skipped"]
    said = CliRunner().invoke(command, [str(tmp_path), "--by", "families"]).output
    assert "nothing to rank" in said
