"""The leaderboard's page in the system's browser: complete, and easy to use without a mouse too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from support.browser import system_browser
from support.published_records import HOSTILE, Built, build, build_once
from support.records import cell


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_once(tmp_path_factory.mktemp("leaderboard"))


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
    opened.on(
        "request",
        lambda one: None if one.url.startswith(("file:", "data:")) else wrong.append(one.url),
    )
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


@pytest.mark.slow
def test_by_says_which_ranking_is_open_first(
    browser: Browser, built: Built, tmp_path: Path
) -> None:
    other = build(built.source, tmp_path / "page", "--by", "attacks", "--floor", "0")
    opened = browser.new_page()
    opened.goto((other / "index.html").as_uri())
    assert opened.locator("[aria-selected=true]").inner_text() == "Attacks"
    assert opened.locator("#panel-defenses tbody tr").count() > 0
    opened.close()


@pytest.mark.slow
def test_unranked_rows_are_shown_with_their_reason_as_text(page: Page) -> None:
    text = page.locator(f"{BOARD} tr", has_text="late").inner_text()
    assert "not ranked: " in text
    assert HOSTILE in text, "shown, and not run"
    assert "(mine.py, line 3)" in text
    assert "below 0.50" in page.locator("#reading").inner_text()


@pytest.mark.slow
def test_tables_sort_with_empty_cells_last(page: Page) -> None:
    header = page.locator(f"{BOARD} th", has=page.get_by_role("button", name="Leakage"))
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    up = names(page)
    assert up == [
        "noise",
        "dcor:alpha=0.9",
        "dcor:alpha=0.5",
        "dcor:alpha=0.1",
        "none (undefended)",
        "late",
    ]
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert names(page) == [*reversed(up[:-1]), "late"]
    page.get_by_role("button", name="Defense", exact=True).first.click()
    assert names(page)[0] == "dcor:alpha=0.1"
    assert page.locator(f"{BOARD} [aria-sort]").count() == 1


@pytest.mark.slow
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
    page.wait_for_function(
        "document.querySelectorAll('.panel:not(.closed) .board:not([hidden])').length === 2"
    )
    page.select_option("#cell-filters [name=flag]", "randomised-defense")
    assert page.locator("#cell-count").inner_text() == "10 of 10 cells shown."
    assert page.locator("#cells .marks").first.inner_text().count("draws random numbers") == 1


@pytest.mark.slow
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


@pytest.mark.slow
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
        "fsha against dcor:alpha=0.9",
        "other against dcor:alpha=0.9",
    }
    page.click("#all-rows")
    assert page.locator("#cell-count").inner_text().startswith("12 of 65 cells shown")


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_gallery_shows_pictures_with_numbers_and_opens(page: Page, built: Built) -> None:
    first = page.locator("#cells > li").first
    image = first.locator("img")
    image.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#cells img').naturalWidth === 160")
    assert image.get_attribute("loading") == "lazy"
    alt = image.get_attribute("alt") or ""
    assert "leakage 0.65" in alt
    assert "MSE 0.1512 (the guess 0.4321)" in alt
    first.locator("summary").click()
    page.wait_for_selector("#cells .curve .scatterlayer")
    assert first.locator(".curve").count() == 2
    assert "phantoms are drawn" in first.inner_text()
    assert "splitsec eval --attack fsha" in first.locator("pre").inner_text()
    called = re.search(r"it is cell (\w{10})", first.inner_text())
    assert called is not None
    (record,) = (one for one in built.records if one.cell_id.startswith(called[1]))
    assert record.spec.attack == "fsha"
    page.get_by_role("button", name="Show 12 more of 53").click()
    assert page.locator("#cells > li").count() == 24
    page.select_option("#cell-filters [name=attack]", "none")
    assert "mounts no attack" in page.locator("#cells").inner_text()


@pytest.mark.slow
def test_choices_are_in_the_address(browser: Browser, page: Page, built: Built) -> None:
    page.select_option("#board-filters [name=cut]", "3")
    page.select_option("#cell-filters [name=attack]", "fsha")
    page.select_option("#cell-filters [name=order]", "most")
    assert page.url.partition("#")[2] == "cut=3&attack=fsha&order=most"
    shown = page.locator("#cell-count").inner_text()
    other = browser.new_page()
    other.goto(page.url)
    assert other.locator("#cell-count").inner_text() == shown
    assert other.locator("#board-filters [name=cut]").input_value() == "3"
    assert other.locator("#board-count").inner_text() == page.locator("#board-count").inner_text()
    other.goto(f"{(built.page / 'index.html').as_uri()}#attack=none&cut=99")
    assert other.locator("#cell-filters [name=attack]").input_value() == "none"
    assert other.locator("#board-filters [name=cut]").input_value() == "", "there is no such cut"
    assert "of 53 cells" not in other.locator("#cell-count").inner_text()
    other.close()
    page.locator("#cell-filters button[type=reset]").click()
    page.wait_for_function("location.hash === '#cut=3'")


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("status", ["ok", "failed"])
def test_a_page_of_little_still_opens(status: str, browser: Browser, tmp_path: Path) -> None:
    little: dict[str, Any] = {"status": status, "history": {"training": {"loss": [float("nan")]}}}
    if status == "failed":
        little |= {"reason": "it diverged", "victims": None, "threat_model": None, "utility": None}
    leakage = 0.5 if status == "ok" else None
    stream = tmp_path / "one.jsonl"
    stream.write_text(cell("fsha", "none", 0, leakage, **little).sealed().to_json())
    page = build(stream, tmp_path / "page")
    opened = browser.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto((page / "index.html").as_uri())
    text = opened.locator("#panel-defenses").inner_text()
    assert ("One seed: no row" if status == "ok" else "no attack counts here") in text
    opened.click("#tab-attacks")
    row = opened.locator("#panel-attacks tbody tr").inner_text()
    assert ("0.50" if status == "ok" else "it diverged") in row
    opened.locator("#cells summary").click()
    opened.wait_for_selector("#cells pre")
    opened.close()
    assert wrong == []


@pytest.mark.slow
def test_on_paper_all_rankings_are_there_and_no_controls(page: Page) -> None:
    page.emulate_media(media="print")
    for kind in ("defenses", "attacks", "targets"):
        assert page.locator(f"#panel-{kind} table").first.is_visible()
    for control in (".filters", ".tabs", ".members", "nav"):
        assert not page.locator(control).first.is_visible()


@pytest.mark.slow
def test_without_scripts_the_rankings_are_there(browser: Browser, built: Built) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto((built.page / "index.html").as_uri())
    for kind in ("defenses", "attacks", "targets"):
        assert opened.locator(f"#panel-{kind} table").first.is_visible()
    assert opened.locator("noscript").inner_text()
    assert not opened.locator(".filters").first.is_visible()
    context.close()


def test_it_opens_with_what_a_reader_came_for(page: Page) -> None:
    fronts = page.locator("#answer .front")
    assert fronts.count() > 0
    first = fronts.first
    said = first.locator(".answer").inner_text()
    assert said.startswith("At 95 % of the utility, ")
    assert first.locator("tbody th").count() == first.locator("tbody tr").count() > 0
    first.locator(".plot").scroll_into_view_if_needed()
    page.wait_for_selector("#answer .plot .scatterlayer")
    page.set_viewport_size({"width": 390, "height": 800})
    head, table = first.locator("tbody th").first, first.locator(".scroll")
    table.evaluate("one => one.scrollTo(400, 0)")
    box = head.bounding_box()
    assert box is not None
    assert 0 <= box["x"] < 60, "the name stays where it can be seen"
