"""What is published: whole tracks, from which the page is built."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from splitsec.cells.grid import load_grid
from splitsec.cli.grid import official_tracks
from splitsec.cli.leaderboard import command
from splitsec.records.record import PROTOCOL_VERSION
from splitsec.records.spec import CellSpec
from splitsec.records.store import load_records

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "leaderboard" / "records"
TRACKS = sorted(folder.name for folder in RECORDS.iterdir() if folder.is_dir())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of all published records."""
    folder = tmp_path_factory.mktemp("published") / "page"
    made = CliRunner().invoke(
        command,
        [str(RECORDS), "--format", "html", "--output", str(folder)],
        standalone_mode=False,
    )
    assert made.exit_code == 0, made.output
    return folder


@pytest.mark.slow
def test_the_page_has_every_published_record_with_its_picture(page: Path) -> None:
    records = {record.cell_id: record for record in load_records([RECORDS])}
    assert {file.stem for file in (page / "cells").iterdir()} == records.keys()
    content = (page / "assets" / "data.js").read_text()
    (values,) = re.findall(r'splitsec\.take\("page",(.*)\);', content)
    shown = {one["id"]: one for one in json.loads(values)["cells"]}
    for cell_id, record in records.items():
        pictured = shown[cell_id]["picture"]
        assert (pictured is not None) == (record.spec.attack != "none")
        assert pictured is None or (page / pictured["file"]).is_file()


@pytest.mark.slow
def test_the_page_is_small(page: Path) -> None:
    size = sum(file.stat().st_size for file in page.rglob("*") if file.is_file())
    assert size <= 20_000_000


@pytest.mark.slow
def test_the_page_says_which_boards_are_of_an_older_protocol(page: Path) -> None:
    older = {record.protocol for record in load_records([RECORDS])} - {PROTOCOL_VERSION}
    said = re.findall(r"Measured under protocol (\d+)", (page / "index.html").read_text())
    assert set(map(int, said)) == older


@pytest.mark.parametrize("track", TRACKS)
def test_a_track_is_published_whole(track: str) -> None:
    records = load_records([RECORDS / track])
    # Under an older protocol plug-ins had other parameters.
    older = any(record.protocol < PROTOCOL_VERSION for record in records)
    left_out = {"changed", "parameters"} if older else {"changed"}

    def asked(spec: CellSpec) -> str:
        return json.dumps(spec.model_dump(mode="json", exclude=left_out), sort_keys=True)

    cells = load_grid(official_tracks()[track]).cells()
    assert {asked(record.spec) for record in records} == {asked(cell.spec) for cell in cells}
    assert all(record.seal is not None for record in records)
    assert not any(record.provenance.dirty for record in records)
    assert len({record.protocol for record in records}) == 1


@pytest.mark.parametrize("track", TRACKS)
def test_the_documentation_has_the_tracks_boards(track: str) -> None:
    pages = (file.read_text(encoding="utf-8") for file in (ROOT / "docs").glob("*.md"))
    assert any(f"<!-- boards: {track} -->" in text for text in pages)
