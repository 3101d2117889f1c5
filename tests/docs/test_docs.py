"""The documentation: its commands run, its cards are those of the code, it loads nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
from contextlib import chdir
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from splitsec.cells import writing
from splitsec.cli import group, run
from splitsec.plugins.loading import list_plugins, load_plugin
from splitsec.plugins.names import METHODS, Kind
from splitsec.records.record import FLAGS
from splitsec.running import measured_costs
from support.cells import draw_nothing
from support.documented import (
    DOCS,
    NEVER,
    REAL_DATA,
    ROOT,
    blocks,
    commands,
    inline,
    module,
    pages,
    tiny,
    tiny_grid,
)
from support.recordings import write_random_traffic

WITH_COMMANDS = [page for page in pages() if any(commands(block) for block in blocks(page))]


cards = module("docs/hooks/cards.py")
check_site = module(".ci/check_site.py")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that pages show, and a folder of scans; all pages share it."""
    folder = tmp_path_factory.mktemp("reader")
    for page in pages():
        for block in blocks(page):
            if block.title:
                text = tiny_grid(block.text) if block.title.endswith(".toml") else block.text
                (folder / block.title).write_text(text)
    first = next(one for one in blocks(ROOT / "CONTRIBUTING.md") if one.language == "python")
    (folder / "mine.py").write_text(first.text)
    with chdir(folder):
        assert run(["new", "attack", "my-attack"]) == 0
    draw_scans(folder / "scans", 240)
    weights = models.mobilenet_v3_small(weights=None, num_classes=2).state_dict()
    torch.save(weights, folder / "model.pt")
    write_random_traffic(folder / "recorded", 120)
    names = [f"{row:04}.png\n" for row in range(100)]
    (folder / "trained.txt").write_text("".join(names))
    return folder


def draw_scans(folder: Path, count: int) -> None:
    """Write random images of two classes, two of each patient, as docs/own-data.md has them."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    lines = ["file,finding,patient"]
    for row in range(count):
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{row:04}.png")
        lines.append(f"{row:04}.png,{('healthy', 'disease')[row // 2 % 2]},{row // 2}")
    (folder / "labels.csv").write_text("\n".join(lines))


def is_there(folder: str) -> bool:
    root = os.environ.get("SPLITSEC_DATA")
    return root is not None and (Path(root) / folder).is_dir()


def filled_in(words: list[str]) -> list[str]:
    """Return a command with the folder of a cell in the place of ``results/...``."""
    if "results/..." not in words:
        return words
    cell = next(Path("results").glob("*/record.json")).parent
    return [str(cell) if word == "results/..." else word for word in words]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_every_command_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in order, as :func:`documented.tiny` has them, in one folder for all pages.

    Panels and curves, half of such a small cell, are left blank, and dry runs estimate without
    timing steps for half a minute: other tests do that.
    """
    monkeypatch.chdir(place)
    monkeypatch.setattr(measured_costs, "_MOST_SECONDS", -1.0)
    monkeypatch.setattr(writing, "draw_panel", draw_nothing)
    monkeypatch.setattr(writing, "draw_curves", draw_nothing)
    ran = 0
    for block in blocks(page):
        if block.reason:
            continue
        for words in commands(block):
            absent = [data for data in REAL_DATA if data in words and not is_there(REAL_DATA[data])]
            if "--sandbox" in words and not shutil.which("bwrap") and not os.environ.get("CI"):
                absent.append("bubblewrap")
            if absent or tuple(words) in NEVER:
                continue
            asked = tiny(filled_in(words))
            code = run(asked)
            assert code == 0, f"{block.page}, line {block.line}: {' '.join(asked)} exits {code}"
            ran += 1
    if not ran:
        pytest.skip("all commands of this page need what is not here")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_commands_in_running_text_are_spelt_right(page: Path) -> None:
    for words in inline(page):
        command = group.get_command(click.Context(group), words[0])
        assert command is not None, f"{page.name}: there is no command {words[0]!r}"
        command.make_context(words[0], words[1:])


def test_few_commands_are_not_run_and_each_says_why() -> None:
    never = [block for page in pages() for block in blocks(page) if block.reason]
    assert len(never) <= 3
    assert all(re.match(r"needs (a|an|no|Slurm)", block.reason) for block in never)
    assert all(commands(block) for block in never), "a marker stands before a block of commands"


def test_no_marker_stands_where_it_means_nothing() -> None:
    for page in pages():
        written = re.findall(r"^<!-- not run: .*$", page.read_text(), re.MULTILINE)
        assert len(written) == sum(bool(block.reason) for block in blocks(page)), page.name


def test_the_rule_for_tiny_runs() -> None:
    words = tiny(["eval", "--attack", "fsha", "--seeds", "5"])
    assert words[:5] == ["eval", "--attack", "fsha", "--seeds", "5"]
    assert words[words.index("--size") + 1] == "16"
    assert words[-1] == "--set=attack.fsha.pretraining=1"
    assert "--set=attack.adra.epochs=1" not in words
    assert tiny(["leaderboard", "results"]) == ["leaderboard", "results"]


@pytest.mark.parametrize("kind", METHODS)
def test_every_plugin_has_a_card_with_all_its_parameters(kind: Kind) -> None:
    page = cards.on_page_markdown((DOCS / "methods" / f"{kind}s.md").read_text())
    assert "<!--" not in page
    for listed in list_plugins(kind):
        if listed.origin != "built in":
            continue
        _, _, rest = page.partition(f"\n## {listed.name}\n")
        card = rest.partition("\n## ")[0]
        assert listed.summary in card
        cls = load_plugin(kind, listed.name).cls
        for name, field in cls.Parameters.model_fields.items():
            (row,) = [line for line in card.splitlines() if line.startswith(f"| `{name}` |")]
            default = "empty" if field.default is None else json.dumps(field.default).strip('"')
            assert row.split(" | ")[1].strip("`") == default
            assert field.description is not None
            assert field.description in row
            for profile, values in cls.profiles.items():
                if name in values:
                    assert json.dumps(values[name]).strip('"') in row, profile


def test_a_cards_results_are_those_of_the_published_records() -> None:
    card = cards.card(load_plugin("attack", "fsha"))
    found = [
        json.loads(file.read_text())["leakage"]["value"]
        for file in (ROOT / "leaderboard" / "records" / "x-rays").glob("fsha-none-*/record.json")
    ]
    _, _, board = card.partition("\n**lung-segmentation 64 px, unet cut 1")
    row = next(line for line in board.splitlines() if line.startswith("| fsha | none |"))
    assert f"| {statistics.mean(found):.2f} (" in row
    assert f"{len(found)} of {len(found)} |" in row


def test_a_threat_model_that_depends_on_the_profile_is_said() -> None:
    said = cards.threat_model(load_plugin("attack", "adra"))
    assert "`public_images`, `queries`" in said
    assert "Under the profile `paper`" in said
    assert "`pairs`" in said


def test_flags_and_boards_are_those_of_the_code() -> None:
    page = cards.on_page_markdown((DOCS / "reading.md").read_text())
    assert all(f"| `{flag}` | {says} |" in page for flag, says in FLAGS.items())
    assert "**unet cut 1" in page
    assert "| rank |" in page


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://elsewhere.example/a.js"></script>',
        '<link rel="stylesheet" href="//elsewhere.example/a.css">',
        '<img src="http://elsewhere.example/a.png">',
        '<p style="background: url(https://elsewhere.example/a.png)">',
        "<style>@import 'https://elsewhere.example/a.css';</style>",
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(page: str) -> None:
    assert check_site.loads(page)


def test_links_that_a_person_may_follow_are_no_fault() -> None:
    assert not check_site.loads('<a href="https://elsewhere.example">there</a>')
    assert not check_site.loads('<link rel="canonical" href="https://elsewhere.example">')
    assert not check_site.loads('<img src="images/a.png"><script src="a.js"></script>')


def test_a_site_without_the_generated_page_or_search_is_at_fault(tmp_path: Path) -> None:
    made, site = tmp_path / "page", tmp_path / "site"
    for folder in (made, site / "leaderboard"):
        folder.mkdir(parents=True)
        (folder / "index.html").write_text("<p>ranked</p>")
    (site / "search").mkdir()
    (site / "search" / "search_index.js").write_text("")
    assert check_site.faults(site, made) == []
    (site / "leaderboard" / "index.html").write_text("<p>processed</p>")
    shutil.rmtree(site / "search")
    assert len(check_site.faults(site, made)) == 2
