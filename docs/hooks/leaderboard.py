"""Builds the leaderboard's page from the published records, as a folder of the documentation."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from splitsec.leaderboard.web.folder import write_page
from splitsec.leaderboard.worth import Rules
from splitsec.records.signatures import read_keys
from splitsec.records.store import find_records

LEADERBOARD = Path(__file__).parents[2] / "leaderboard"
RECORDS, TRUSTED = LEADERBOARD / "records", LEADERBOARD / "trusted_keys.txt"


@cache
def _folder() -> TemporaryDirectory[str]:
    """Return a folder with the page; ``mkdocs serve`` builds the page once."""
    folder = TemporaryDirectory()
    found = find_records([RECORDS], trusted=read_keys(TRUSTED))
    write_page(found, Path(folder.name), "defenses", Rules())
    return folder


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page's files to those of the documentation; called by MkDocs for each build."""
    page = Path(_folder().name)
    for file in sorted(one for one in page.rglob("*") if one.is_file()):
        name = f"leaderboard/{file.relative_to(page).as_posix()}"
        files.append(File.generated(config, name, abs_src_path=str(file)))
    return files


def on_shutdown() -> None:
    """Delete the page that was copied into the site; called by MkDocs when it ends."""
    _folder().cleanup()
