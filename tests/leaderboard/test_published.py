"""What is published: page and README say what the published records say."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from splitsec.cells.grid import load_grid
from splitsec.cli.grid import official_tracks
from splitsec.cli.leaderboard import command
from splitsec.records.store import load_records

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "leaderboard" / "records"
TRACKS = sorted(folder.name for folder in RECORDS.iterdir() if folder.is_dir())
ANOTHERS = "plotly.min.js"  # of whatever version of Plotly is installed


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != ANOTHERS)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_the_page_is_of_the_published_records(tmp_path: Path) -> None:
    made = CliRunner().invoke(
        command,
        [str(RECORDS), "--format", "html", "--output", str(tmp_path / "page")],
        standalone_mode=False,
    )
    assert made.exit_code == 0, made.output
    here, there = contents(ROOT / "docs" / "leaderboard"), contents(tmp_path / "page")
    assert sorted(here) == sorted(there)
    assert [name for name in here if here[name] != there[name]] == []


@pytest.mark.parametrize("track", TRACKS)
def test_a_track_is_published_whole(track: str) -> None:
    records = load_records([RECORDS / track])
    asked = {cell.spec.model_dump_json() for cell in load_grid(official_tracks()[track]).cells()}
    assert {record.spec.model_dump_json() for record in records} == asked
    assert all(record.seal is not None for record in records)
    assert not any(record.provenance.dirty for record in records)
    assert len({record.protocol for record in records}) == 1


@pytest.mark.parametrize("track", TRACKS)
def test_the_readme_has_the_tracks_table(track: str) -> None:
    said = CliRunner().invoke(
        command, [str(RECORDS / track), "--format", "markdown"], standalone_mode=False
    )
    assert said.exit_code == 0
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- {track} -->\n{said.output}<!-- end -->" in readme
