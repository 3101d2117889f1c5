"""The examples in docstrings that plug-in authors read: each runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import splitsec.plugins
from splitsec.randomness import globally_seeded

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> Iterator[str]:
    """Yield the modules that authors import from."""
    yield from ("splitsec.shapes", "splitsec.progress", "splitsec.errors")
    for found in pkgutil.walk_packages(splitsec.plugins.__path__, "splitsec.plugins."):
        yield found.name


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for name in modules() for test in finder.find(importlib.import_module(name))]
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
def test_it_prints_what_it_says(example: doctest.DocTest) -> None:
    report: list[str] = []
    with globally_seeded(0):
        failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append)
    assert not failed, "".join(report)
