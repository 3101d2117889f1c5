"""The leaderboard's page: complete, the same for the same records, private, and easy to use."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browser import system_browser
from click.testing import CliRunner
from playwright.sync_api import Browser, Page
from published_records import HOSTILE, make_records, store
from test_ranking import cell

from splitsec.cli import Exit
from splitsec.cli.eval import command as eval_command
from splitsec.errors import DataError, UsageError
from splitsec.leaderboard.command import command
from splitsec.leaderboard.web.content import choices
from splitsec.leaderboard.web.publication import command as again
from splitsec.leaderboard.web.publication import published, without_folders
from splitsec.record import Record, load_record
from splitsec.storage import find_records

REPOSITORY = Path(__file__).parents[1]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(command, [str(one) for one in arguments], standalone_mode=False)


def build(records: Path, output: Path, *options: str) -> Path:
    result = run(records, "--format", "html", "--output", output, *options)
    if result.exception:
        raise result.exception
    assert result.return_value == Exit.OK
    assert result.stdout == f"{output / 'index.html'}\n"
    return output


def files(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*") if file.is_file()
    }  # fmt: skip


def taken(file: Path) -> dict[str, Any]:
    """Return the values that a script of the page gives."""
    found = re.fullmatch(r'splitsec\.take\("\w+",(.*)\);\n', file.read_text(), re.DOTALL)
    assert found
    values: dict[str, Any] = json.loads(found[1])
    return values


class Built(NamedTuple):
    """A page, and what it was made from."""

    records: list[Record]
    source: Path
    page: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("leaderboard")
    records = make_records()
    source = store(folder / "results", records)
    return Built(records, source, build(source, folder / "page"))


# The folder


def test_the_same_records_give_the_same_bytes(built: Built, tmp_path: Path) -> None:
    first = files(built.page)
    assert first == files(build(built.source, tmp_path / "page"))
    (tmp_path / "page" / "CNAME").write_text("ours.example")
    (tmp_path / "page" / "cells" / "stale.js").write_text("old")
    folders = sorted(built.source.iterdir(), reverse=True)
    result = run(*folders, "--format", "html", "--output", tmp_path / "page")
    assert result.return_value == Exit.OK
    assert files(tmp_path / "page") == first | {"CNAME": b"ours.example"}


def test_the_published_records_give_the_same_page(built: Built, tmp_path: Path) -> None:
    records = sorted((built.page / "records").iterdir())
    assert len(records) == len(built.records)
    assert all(load_record(file).seal for file in records)
    assert run(*records, "--format", "html", "--output", tmp_path / "page").return_value == Exit.OK
    assert files(tmp_path / "page") == files(built.page)


def test_nothing_tells_whose_machine_it_was(built: Built) -> None:
    assert "/home/alice" in next(built.source.rglob("record.json")).read_text()
    for name, content in files(built.page).items():
        assert b"/home" not in content, name
        assert b"secret plans" not in content, name
        assert str(built.source).encode() not in content, name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("raised (/home/alice/lab/mine.py, line 3)", "raised (mine.py, line 3)"),
        ("--output=/work/a/b", "--output=b"),
        ("/Users/Alice Smith/scans", "scans"),
        ("file:///home/alice/a.csv", "a.csv"),
        (r"at C:\Users\alice\mine.py", "at mine.py"),
        ("attacks/fsha, 3/4 of https://example.org/a/b", None),
        ("../artifacts/a.png and ./mine.py", None),
    ],
)
def test_paths_are_shortened_to_their_last_name(text: str, shown: str | None) -> None:
    assert without_folders({"a": [text]}) == {"a": [shown or text]}


def test_a_record_is_published_with_the_same_numbers(built: Built) -> None:
    for record in built.records:
        copy = published(record, None)
        assert copy.victims == record.victims
        assert copy.leakage == record.leakage
        assert copy.provenance.created == record.provenance.created
        assert copy.provenance.command[:2] == ["splitsec", "eval"]


def test_the_command_asks_for_the_same_cell() -> None:
    from splitsec.evaluate import resolve  # noqa: PLC0415 - torch

    (asked,) = resolve(
        attack="fsha:iterations=7,loss=bce", defense="dcor:alpha=0.3", cut="2", seeds=[4],
        clients=2, settings=["training.keep=best", "counts.victims=30"], public_from="shifted",
    )  # fmt: skip
    record = cell("fsha", "dcor", 4, 0.5).model_copy(update={"spec": asked.spec})
    words = again(record)[2:]
    options = eval_command.make_context("eval", words).params
    for name in ("seeds", "workers", "timeout", "rerun", "output", "as_json", "dry_run"):
        options.pop(name)
    options["channels"] = int(options["channels"])
    (resolved,) = resolve(seeds=[options.pop("seed")], **options)
    assert resolved.spec == asked.spec
    moved = asked.spec.model_copy(update={"partition": 1})
    assert again(record.model_copy(update={"spec": moved})) == [], "eval cannot ask for that"


def test_a_picture_is_found_wherever_the_record_says(tmp_path: Path) -> None:
    record = cell("fsha", "none", 0, 0.5)
    source = store(tmp_path / "results", [record], panel="../artifacts/any.png")
    (picture,) = source.rglob("panel.png")
    (source / "artifacts").mkdir()
    picture.rename(source / "artifacts" / "any.png")
    page = build(source, tmp_path / "page")
    (shown,) = taken(page / "assets" / "data.js")["cells"]
    assert (page / shown["picture"]["file"]).read_bytes() == (
        source / "artifacts" / "any.png"
    ).read_bytes()
    assert (shown["picture"]["width"], shown["picture"]["height"]) == (160, 90)


def test_a_record_may_publish_pictures_only(tmp_path: Path) -> None:
    record = cell("fsha", "none", 0, 0.5)
    source = store(tmp_path / "deep" / "results", [record], panel="../../outside.png")
    (next(source.rglob("panel.png"))).rename(tmp_path / "deep" / "outside.png")
    with pytest.raises(DataError, match="is not among the records"):
        build(source, tmp_path / "page")
    source = store(tmp_path / "text", [record], panel="record.json")
    with pytest.raises(DataError, match=r"'record\.json' is not a PNG"):
        build(source, tmp_path / "page")
    assert not (tmp_path / "page" / "index.html").exists()


def test_an_id_that_is_no_hash_names_no_file(tmp_path: Path) -> None:
    stream = tmp_path / "sent.jsonl"
    stream.write_text(cell("fsha", "none", 0, 0.5, cell_id="../../x").to_json())
    with pytest.raises(DataError, match="is no SHA-256"):
        build(stream, tmp_path / "page")


def test_without_a_picture_the_page_says_so(tmp_path: Path) -> None:
    records = [cell("fsha", "none", 0, 0.5), cell("none", "none", 1, None)]
    stream = tmp_path / "sent.jsonl"
    stream.write_text("".join(f"{one.to_json()}\n" for one in records))
    page = build(stream, tmp_path / "page")
    cells = taken(page / "assets" / "data.js")["cells"]
    assert [one["picture"] for one in cells] == [None, None]
    assert "No picture came with this record" in cells[0]["missing"]
    assert "mounts no attack" in cells[1]["missing"]
    (found,) = find_records([stream, store(tmp_path / "results", records[:1])])[:1]
    assert found.folder is not None, "the one with its pictures wins"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "html"], "name it with --output FOLDER"),
        (["--format", "csv", "--output", "page"], "csv is printed"),
        (["--format", "html", "--output", "FILE"], "is a file"),
        (["--format", "html", "--output", "FOREIGN"], "holds something else than a leaderboard"),
    ],
)
def test_bad_input_is_a_sentence(
    options: list[str], said: str, built: Built, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "index.html").write_text("<title>My holidays</title>")
    places = {"FILE": str(tmp_path / "file"), "FOREIGN": str(tmp_path / "foreign")}
    result = run(built.source, *(places.get(one, one) for one in options))
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
    assert [one.name for one in (tmp_path / "foreign").iterdir()] == ["index.html"]


def test_without_an_attack_there_is_no_page(tmp_path: Path) -> None:
    source = store(tmp_path / "results", [cell("none", "none", 0, None)])
    result = run(source, "--format", "html", "--output", tmp_path / "page")
    assert result.return_value == Exit.EMPTY
    assert not (tmp_path / "page").exists()


def test_an_install_has_everything_that_a_browser_gets() -> None:
    room = resources.files("splitsec.leaderboard.web")
    configuration = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = configuration["package-data"]["splitsec.leaderboard.web"]
    assert "splitsec.leaderboard.web" in configuration["packages"]
    shipped = [f"{part}/{file.name}" for part in ("assets", "templates")
               for file in room.joinpath(part).iterdir()]  # fmt: skip
    assert len(shipped) >= 6
    for name in shipped:
        assert any(fnmatch(name, pattern) for pattern in patterns), name


# What it says


def test_the_page_grows_little_with_each_cell(built: Built) -> None:
    data = (built.page / "assets" / "data.js").stat().st_size
    assert data / len(built.records) < 2000
    assert built.records[0].cell_id not in (built.page / "index.html").read_text()


def test_strengths_of_a_defense_are_a_curve_in_their_order(built: Built) -> None:
    charts = taken(built.page / "assets" / "data.js")["charts"]
    (chart,) = (one for name, one in charts.items() if name.startswith("defenses"))
    names = [one["name"] for one in chart["points"]]
    (curve,) = chart["curves"]
    assert [names[place] for place in curve] == [f"dcor:alpha={alpha}" for alpha in (0.1, 0.5, 0.9)]
    assert [names[place] for place in chart["front"]] == [
        "dcor:alpha=0.9", "dcor:alpha=0.5", "dcor:alpha=0.1", "none",
    ]  # fmt: skip
    broken = chart["points"][names.index("noise")]
    assert not broken["ranked"]
    assert "not ranked: retains less than 50% of the utility" in broken["lines"]
    assert "late" not in names, "an incomplete row has no number to draw"
    strong = chart["points"][names.index("dcor:alpha=0.9")]
    assert strong["y"][0] == pytest.approx(0.27)
    assert strong["x"][0] == pytest.approx((0.81 - 0.5) / (0.9 - 0.5))


def test_choices_are_in_the_order_a_person_expects() -> None:
    assert choices([10, 2, "none", 2]) == ["none", "2", "10"]


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(mode: int, built: Built) -> None:
    style = (built.page / "assets" / "style.css").read_text()
    root = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[mode]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", root))
    needed = {"ink": 4.5, "muted": 4.5, "accent": 4.5, "warn": 4.5, "line": 3.0}
    needed |= {f"series-{number}": 4.5 for number in range(6)}  # labels of strengths have them
    for name, least in needed.items():
        for ground in ("paper", "raised"):
            low, high = sorted((luminance(colours[name]), luminance(colours[ground])))
            assert (high + 0.05) / (low + 0.05) >= least, f"{name} on {ground}"


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with system_browser() as found:
        yield found


@pytest.fixture
def page(browser: Browser, built: Built) -> Iterator[Page]:
    """The page as it opens from disk; whatever a browser complains about fails the test."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("requestfailed", lambda request: wrong.append(request.url))
    opened.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else
              wrong.append(one.url))  # fmt: skip
    opened.goto((built.page / "index.html").as_uri())
    yield opened
    context.close()
    assert wrong == []


BOARD = "#defenses-1"


def names(page: Page) -> list[str]:
    return [text.split("\n")[0] for text in page.locator(f"{BOARD} tbody th").all_inner_texts()]


def drawn(page: Page) -> None:
    page.locator(f"{BOARD} .plot").scroll_into_view_if_needed()
    page.wait_for_selector(f"{BOARD} .plot .scatterlayer")


def test_it_opens_with_all_rankings_and_draws(page: Page) -> None:
    assert page.locator("[role=tab]").all_inner_texts() == ["Defenses", "Attacks", "Targets"]
    assert page.locator("#board-count").inner_text() == "2 boards, ranked by defenses."
    drawn(page)
    for kind in ("attacks", "targets"):
        page.click(f"#tab-{kind}")
        assert page.locator(f"#panel-{kind} tbody tr").first.is_visible()
        assert not page.locator(BOARD).is_visible()


def test_by_says_which_ranking_is_open_first(
    browser: Browser, built: Built, tmp_path: Path
) -> None:
    other = build(built.source, tmp_path / "page", "--by", "attacks", "--floor", "0")
    opened = browser.new_page()
    opened.goto((other / "index.html").as_uri())
    assert opened.locator("[aria-selected=true]").inner_text() == "Attacks"
    assert opened.locator("#panel-defenses tbody tr").count() > 0
    opened.close()


def test_unranked_rows_are_shown_with_their_reason_as_text(page: Page) -> None:
    text = page.locator(f"{BOARD} tr", has_text="late").inner_text()
    assert "not ranked: " in text
    assert HOSTILE in text, "shown, and not run"
    assert "(mine.py, line 3)" in text
    assert "below 0.50" in page.locator("#reading").inner_text()


def test_tables_sort_with_empty_cells_last(page: Page) -> None:
    header = page.locator(f"{BOARD} th", has=page.get_by_role("button", name="Leakage"))
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    up = names(page)
    assert up == ["noise", "dcor:alpha=0.9", "dcor:alpha=0.5", "dcor:alpha=0.1",
                  "none (undefended)", "late"]  # fmt: skip
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert names(page) == [*reversed(up[:-1]), "late"]
    page.get_by_role("button", name="Defense", exact=True).first.click()
    assert names(page)[0] == "dcor:alpha=0.1"
    assert page.locator(f"{BOARD} [aria-sort]").count() == 1


def test_filters_hold_for_rankings_and_gallery(page: Page) -> None:
    page.select_option("#board-filters [name=data]", "retinamnist")
    assert page.locator(".panel:not(.closed) .board:visible h5").all_inner_texts() == [
        "resnet cut 3, retinamnist at 32 px"
    ]
    assert page.locator("#board-count").inner_text().startswith("1 of 2 boards")
    assert page.locator("#cell-count").inner_text() == "5 of 5 cells shown."
    page.select_option("#cell-filters [name=defense]", "dcor")
    assert page.locator("#cell-count").inner_text() == "No cell fits these choices."
    page.locator("#cell-filters").get_by_role("button", name="Show all").click()
    page.locator("#board-filters").get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelectorAll('.panel:not(.closed) .board:not([hidden])')"
                           ".length === 2")  # fmt: skip
    page.select_option("#cell-filters [name=flag]", "clamped")
    assert page.locator("#cell-count").inner_text() == "10 of 10 cells shown."
    assert page.locator("#cells .marks").first.inner_text().count("were clamped") == 1


def test_hovering_says_which_defense_and_its_worst_attack(page: Page) -> None:
    drawn(page)
    traces = page.locator(f"{BOARD} .scatterlayer .trace")
    places = page.evaluate(
        """board => { const plot = document.querySelector(`${board} .plot`);
        const place = plot.data.findIndex(trace => trace.mode.includes('lines+markers'));
        return [place, plot.data[place].hovertext.findIndex(text => text.includes('0.5'))] }""",
        BOARD,
    )
    page.mouse.move(0, 0)
    traces.nth(places[0]).locator(".point").nth(places[1]).hover(force=True)
    page.wait_for_selector(f"{BOARD} .hoverlayer .hovertext")
    said = page.locator(f"{BOARD} .hoverlayer").text_content()
    for text in ("dcor:alpha=0.5", "leakage 0.47 (0.45 to 0.49)", "worst attack", "rank "):
        assert text in str(said)


def test_a_keyboard_reaches_rows_points_tabs_and_cells(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#rankings"
    page.focus("#tab-defenses")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.id") == "tab-targets"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-defenses"
    drawn(page)
    page.locator(f"{BOARD} .sort").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(f"{BOARD} th[aria-sort]").count() == 1
    page.locator(f"{BOARD} tr", has_text="dcor:alpha=0.9").locator("button").focus()
    page.wait_for_selector(f"{BOARD} .hoverlayer .hovertext")
    assert "dcor:alpha=0.9" in str(page.locator(f"{BOARD} .hoverlayer").text_content())
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "gallery-title"
    assert page.locator("#cell-count").inner_text() == "10 of 10 cells of dcor:alpha=0.9 shown."
    assert set(page.locator("#cells h3").all_inner_texts()) == {
        "fsha against dcor:alpha=0.9", "other against dcor:alpha=0.9",
    }  # fmt: skip
    page.click("#all-rows")
    assert page.locator("#cell-count").inner_text().startswith("12 of 65 cells shown")


def test_every_control_can_be_reached_and_is_named(page: Page) -> None:
    unnamed = page.evaluate(
        """[...document.querySelectorAll('button, select, a, summary')].filter(one =>
        !one.innerText.trim() && !one.ariaLabel && !one.labels?.length
        && !one.querySelector('img[alt]') && one.checkVisibility()).map(one => one.outerHTML)"""
    )
    assert unnamed == []
    small = page.evaluate(
        """[...document.querySelectorAll('button, select')].filter(one => one.checkVisibility()
        && (one.offsetHeight < 24 || one.offsetWidth < 24)).map(one => one.outerHTML)"""
    )
    assert small == []


def test_the_gallery_shows_pictures_with_numbers_and_opens(page: Page, built: Built) -> None:
    first = page.locator("#cells > li").first
    image = first.locator("img")
    image.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#cells img').naturalWidth === 160")
    assert image.get_attribute("loading") == "lazy"
    alt = image.get_attribute("alt") or ""
    assert "leakage 0.65" in alt
    assert "MSE 0.1234 (the guess 0.4321)" in alt
    first.locator("summary").click()
    page.wait_for_selector("#cells .curve .scatterlayer")
    assert first.locator(".curve").count() == 2
    assert "phantoms are drawn" in first.inner_text()
    assert "splitsec eval --attack fsha" in first.locator("pre").inner_text()
    link = first.get_by_role("link", name="The whole record").get_attribute("href")
    record = load_record(built.page / str(link))
    assert record.spec.title().split(" on ")[0].split(" against ")[0] == "fsha"
    page.get_by_role("button", name="Show 12 more of 53").click()
    assert page.locator("#cells > li").count() == 24
    page.select_option("#cell-filters [name=attack]", "none")
    assert "mounts no attack" in page.locator("#cells").inner_text()


def test_a_lost_picture_is_said_in_words(browser: Browser, built: Built, tmp_path: Path) -> None:
    page = build(built.source, tmp_path / "page")
    for picture in (page / "pictures").iterdir():
        picture.unlink()
    opened = browser.new_page()
    opened.goto((page / "index.html").as_uri())
    opened.locator("#cells > li").first.scroll_into_view_if_needed()
    opened.wait_for_selector("#cells .missing")
    assert "cannot be read" in opened.locator("#cells .missing").first.inner_text()
    opened.close()


def test_nothing_is_wider_than_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    page.locator("#cells summary").first.click()
    page.wait_for_selector("#cells .curve .scatterlayer")
    for kind in ("attacks", "targets", "defenses"):
        page.click(f"#tab-{kind}")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    scrolls = page.evaluate(
        "one => [document.querySelector(one).scrollWidth, document.querySelector(one).clientWidth]",
        f"{BOARD} .scroll",
    )
    assert scrolls[0] > scrolls[1], "the table scrolls, in its own container"


def test_dark_is_another_page_and_another_chart(page: Page) -> None:
    drawn(page)
    look = f"""() => [getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.body).color,
        document.querySelector('{BOARD} .plot')._fullLayout.paper_bgcolor,
        document.querySelector('{BOARD} .plot')._fullLayout.font.color]"""
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        f"document.querySelector('{BOARD} .plot')._fullLayout.paper_bgcolor !== '{light[2]}'"
    )
    assert all(one != other for one, other in zip(light, page.evaluate(look), strict=True))


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_a_page_of_little_still_opens(status: str, browser: Browser, tmp_path: Path) -> None:
    little: dict[str, Any] = {"status": status, "history": {"training": {"loss": [float("nan")]}}}
    if status == "failed":
        little |= {"reason": "it diverged", "victims": None, "threat_model": None, "utility": None}
    leakage = 0.5 if status == "ok" else None
    stream = tmp_path / "one.jsonl"
    stream.write_text(cell("fsha", "none", 0, leakage, **little).to_json())
    page = build(stream, tmp_path / "page")
    opened = browser.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto((page / "index.html").as_uri())
    text = opened.locator("#panel-defenses").inner_text()
    assert ("One seed: no row" if status == "ok" else "Nothing to rank yet") in text
    opened.click("#tab-attacks")
    row = opened.locator("#panel-attacks tbody tr").inner_text()
    assert ("0.50" if status == "ok" else "it diverged") in row
    opened.locator("#cells summary").click()
    opened.wait_for_selector("#cells pre")
    opened.close()
    assert wrong == []


def test_on_paper_all_rankings_are_there_and_no_controls(page: Page) -> None:
    page.emulate_media(media="print")
    for kind in ("defenses", "attacks", "targets"):
        assert page.locator(f"#panel-{kind} table").first.is_visible()
    for control in (".filters", ".tabs", ".members", "nav"):
        assert not page.locator(control).first.is_visible()


def test_without_scripts_the_rankings_are_there(browser: Browser, built: Built) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto((built.page / "index.html").as_uri())
    for kind in ("defenses", "attacks", "targets"):
        assert opened.locator(f"#panel-{kind} table").first.is_visible()
    assert opened.locator("noscript").inner_text()
    assert not opened.locator(".filters").first.is_visible()
    context.close()
