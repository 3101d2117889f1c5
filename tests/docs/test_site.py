"""The documentation as a person opens it from disk: built, searched, nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.browser import system_browser
from support.documented import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built with warnings as errors."""
    if importlib.util.find_spec("mkdocs") is None:
        reason = 'MkDocs is not installed; pip install -e ".[docs]"'
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_the_search_works_from_disk_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    wrong: list[str] = []
    with system_browser() as browser:
        page = browser.new_context(offline=True).new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda one: None if one.url.startswith(("file:", "data:")) else wrong.append(one.url),
        )
        for name in ("start.html", "methods/attacks.html"):
            page.goto((site / name).as_uri())
            # Keys, since the search listens to nothing else once it is ready.
            page.locator("input[name=query]").press_sequentially("gradient_scale")
            first = page.wait_for_selector(".md-search-result__item a")
            assert first is not None
            address = (first.get_attribute("href") or "").partition("?")[0]
            assert address.startswith(site.as_uri())
        page.goto((site / "leaderboard" / "index.html").as_uri())
        assert page.query_selector_all("table")
    assert not wrong


def test_pages_show_no_marker_and_no_role_of_docstrings(site: Path) -> None:
    for file in site.glob("*/*.html"):
        if file.parent.name in ("methods", "reference"):
            text = file.read_text(encoding="utf-8")
            assert "<!-- cards" not in text
            assert ":class:" not in text
            assert ":mod:" not in text
