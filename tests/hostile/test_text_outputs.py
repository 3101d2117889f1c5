"""Hostile names in records reach every output of the command line, which shows them and no more."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from splitsec.cli.listing import command as listing
from splitsec.cli.power import command as power
from splitsec.cli.show import command as show
from splitsec.leaderboard.submission import render
from splitsec.records.record import Evidence, Record
from splitsec.records.store import record_folder, write_record
from support.hostile import HOSTILE
from support.published_records import run
from support.records import cell

NAMES = {kind: name for kind, name in HOSTILE.items() if kind != "surrogate"}  # no JSON holds one

STORED = [name for name in NAMES.values() if name.isprintable() and len(name) < 100]
"""Names that are not refused when a record is read."""


def record_of(name: str, place: int, evidence: Evidence) -> Record:
    """Return a record with a name in all its texts."""
    record = cell(
        name,
        name,
        0,
        0.1 + place / 1000,
        evidence=evidence,
        cell_id=hashlib.sha256(name.encode()).hexdigest(),
        parameters={name: name},
        notes=[name],
        artifacts={},
        data={"disclosures": [name]},
        spec={"data": name, "profile": name} if place % 8 == 0 else {},
    )
    about = record.provenance.model_copy(
        update={"platform": name, "packages": {"splitsec": name}, "command": ["splitsec", name]}
    )
    return record.model_copy(update={"provenance": about})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for place, name in enumerate(STORED):
        record = record_of(name, place, Evidence())
        write_record(record_folder(folder, record), record)
    return folder


class Attributes(HTMLParser):
    """Collects the names of all attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.update(name for name, _ in attrs)


def attributes(html: str) -> set[str]:
    """Return the names of all attributes in a page."""
    parser = Attributes()
    parser.feed(html)
    return parser.found


def check_lines(text: str) -> None:
    for line in text.split("\n"):
        assert line.isprintable(), ascii(line)
        assert not line.startswith(("verified", "::", "fake", "=")), "a name begins a line"


@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown", "latex"])
def test_a_board_shows_names_as_they_are(
    form: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    said = run(store, "--by", "defenses", "--format", form)
    assert said.exception is None, said.exception
    if form == "json":
        assert sum(len(one["rows"]) for one in json.loads(said.stdout)) == len(STORED)
        assert said.stdout.isascii()
        return
    if form == "csv":
        head, *lines = csv.reader(io.StringIO(said.stdout))
        assert len(lines) == len(STORED)
        for line in lines:
            for name, value in zip(head, line, strict=True):
                number = re.fullmatch(r"-?[\d.e-]*", value)
                assert number or not re.match(r"[=+@\-\t\r]", value), f"{name}: {value}"
                assert value.isprintable()
        return
    check_lines(said.stdout)
    if form == "latex":
        assert "input{" not in said.stdout.replace("input\\{", "")
        assert said.stdout.count("\\begin{tabular}") == 1 + (len(STORED) + 7) // 8


def test_a_page_shows_names_as_they_are(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    assert run(store, "--format", "html", "--output", page).exception is None
    html = (page / "index.html").read_text(encoding="utf-8")
    assert "<img" not in html and "<script>alert" not in html
    assert not [name for name in attributes(html) if name.startswith("on")]
    check_lines(html)
    for script in [*(page / "cells").iterdir(), page / "assets" / "data.js"]:
        text = script.read_text(encoding="utf-8")
        assert text.isascii() and text.count("\n") == 1
        assert not re.search(r"\\u(00[01]|202[89a-e]|206|200|feff)", text.replace("\\\\", ""))
    cells = json.loads(
        (page / "assets" / "data.js").read_text().split(",", 1)[1].rpartition(")")[0]
    )["cells"]
    assert len(cells) == len(STORED)


def test_a_checklist_shows_names_as_they_are() -> None:
    records = [record_of(name, place, Evidence()) for place, name in enumerate(NAMES.values())]
    text = render("mine", records, [])
    check_lines(text)
    assert "<img" not in text.replace("`", "") or "&#60;img" in text
    assert "](javascript" not in text.replace("\\]", "")


def test_summaries_show_names_as_they_are(store: Path) -> None:
    for folder in sorted(one for one in store.iterdir() if (one / "record.json").exists())[::6]:
        said = CliRunner().invoke(show, [str(folder)], standalone_mode=False)
        assert said.exception is None, said.exception
        check_lines(said.stdout)
        said = CliRunner().invoke(show, [str(folder), "--json"], standalone_mode=False)
        assert said.stdout.rstrip("\n").isprintable()


def test_power_shows_names_as_they_are(tmp_path: Path) -> None:
    for seed in range(2):
        for defense in ("none", NAMES["table"], NAMES["formula"], NAMES["rich markup"]):
            one = cell("fsha", defense, seed, 0.5 - seed / 10, artifacts={})
            digest = hashlib.sha256(f"{defense}{seed}".encode()).hexdigest()
            one = one.model_copy(update={"cell_id": digest})
            write_record(record_folder(tmp_path, one), one)
    for form in ("table", "csv", "markdown"):
        said = CliRunner().invoke(power, [str(tmp_path), "--format", form], standalone_mode=False)
        assert said.exception is None, said.exception
        check_lines(said.stdout)


def test_a_docstring_of_a_plugin_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from splitsec.plugins.loading import PluginListing

    rows = [PluginListing(name, name, "installed") for name in NAMES.values()]
    monkeypatch.setattr("splitsec.cli.listing.list_plugins", lambda kind: rows)
    said = CliRunner().invoke(listing, ["attacks"], standalone_mode=False)
    assert said.exception is None, said.exception
    lines = said.stdout.rstrip("\n").split("\n")
    assert len(lines) == len(NAMES)
    assert all(line.isprintable() for line in lines)
