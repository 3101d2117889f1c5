"""The reference pages are what docs/reference/generate.py makes of today's docstrings."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from splitsec import Attack, View
from support.documented import DOCS, module

generate = module("docs/reference/generate.py")


@pytest.fixture(scope="module")
def made() -> dict[Path, str]:
    """The pages as they should be; they are made in seconds, which no other test waits for."""
    pages: dict[Path, str] = generate.pages()
    return pages


def test_they_are_current(made: dict[Path, str]) -> None:
    assert made
    for page, text in made.items():
        assert page.read_text(encoding="utf-8") == text, "run python docs/reference/generate.py"


def test_it_has_every_method_that_an_author_overrides_or_calls(made: dict[Path, str]) -> None:
    page = made[DOCS / "reference" / "plugins.md"]
    for name, _ in inspect.getmembers(Attack, inspect.isfunction):
        assert name.startswith("_") or f"#### Attack.{name}\n" in page
    assert "\nquery(images: Tensor) -> Tensor\n" in page
    assert "- `image_shape`: shape of one image" in page
    assert not any(f"View.{name}" in page for name in generate.FRAMEWORK if hasattr(View, name))


def test_it_has_types_defaults_and_descriptions_of_fields(made: dict[Path, str]) -> None:
    page = made[DOCS / "reference" / "plugins.md"]
    assert "- `batch_size: int = 32`: pairs per step; report 32" in page
    assert "- `parameters: dict[str, Any] = dict()`: all parameters of the source" in page
    assert "    learning_rate: float | None = None,\n)" in page
