"""The examples in the docstrings that plug-in authors read: each runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import splitsec.plugins
from splitsec.randomness import globally_seeded
from support.documented import module

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> Iterator[str]:
    """Yield the modules that authors import from."""
    yield from ("splitsec.shapes", "splitsec.progress", "splitsec.devices", "splitsec.errors")
    for found in pkgutil.walk_packages(splitsec.plugins.__path__, "splitsec.plugins."):
        yield found.name


def examples() -> Iterator[doctest.DocTest]:
    """Yield examples that know nothing but the class or function that they belong to."""
    finder = doctest.DocTestFinder()
    for name in modules():
        home = importlib.import_module(name)
        for test in finder.find(home):
            own = test.name.removeprefix(name).lstrip(".").partition(".")[0]
            test.globs = {own: getattr(home, own)} if own else {}
            if test.examples:
                yield test


EXAMPLES = {test.name: test for test in examples()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_prints_what_it_says(name: str) -> None:
    report: list[str] = []
    with globally_seeded(0):
        failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(EXAMPLES[name], out=report.append)
    assert not failed, "".join(report)


def test_everything_in_the_authors_reference_has_an_example() -> None:
    sections = module("docs/reference/generate.py").PLUGINS.items()
    named = {name for title, names in sections for name in names if title != "Errors"}
    assert named <= EXAMPLES.keys()
