"""The reference pages are what docs/reference/generate.py makes of today's docstrings."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from splitsec import Attack, View
from support.documented import DOCS, module

generate = module("docs/reference/generate.py")
PAGES: dict[Path, str] = generate.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_it_is_current(page: Path) -> None:
    written = page.read_text(encoding="utf-8")
    assert written == PAGES[page], "run python docs/reference/generate.py"


def test_it_has_every_method_that_an_author_overrides_or_calls() -> None:
    page = PAGES[DOCS / "reference" / "plugins.md"]
    for name, _ in inspect.getmembers(Attack, inspect.isfunction):
        assert name.startswith("_") or f"#### Attack.{name}\n" in page
    assert "\nquery(images: Tensor) -> Tensor\n" in page
    assert "- `image_shape`: shape of one image" in page
    assert not any(f"View.{name}" in page for name in generate.FRAMEWORK if hasattr(View, name))


def test_it_has_types_defaults_and_descriptions_of_fields() -> None:
    page = PAGES[DOCS / "reference" / "plugins.md"]
    assert "- `batch_size: int = 32`: pairs per step; report 32" in page
    assert "- `parameters: dict[str, Any] = dict()`: all parameters of the source" in page
    assert "    learning_rate: float | None = None,\n)" in page
