"""How long a leaderboard takes over many records: the first time, once they are indexed, as a page.

The records are the published ones over and over, with other seeds, so as large as records are. The
whole command is timed, in a process of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from hashlib import sha256
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from machine import seconds
from tables import report

from splitsec.records.store import load_records, record_folder
from support.browser import system_browser

PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "records"
ROUNDS = 3


def fill(store: Path, number: int) -> int:
    """Write so many records into a store; return their bytes."""
    published = load_records([PUBLISHED])
    size = 0
    for place, record in enumerate(islice(cycle(published), number)):
        seed = record.spec.seed + 100 * (place // len(published))
        spec = record.spec.model_copy(update={"seed": seed})
        cell_id = sha256(str(place).encode()).hexdigest()
        made = record.model_copy(update={"spec": spec, "cell_id": cell_id}).sealed()
        file = record_folder(store, made) / "record.json"
        file.parent.mkdir(parents=True)
        size += file.write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return size


def leaderboard(store: Path) -> None:
    command = [sys.executable, "-m", "splitsec", "leaderboard", str(store), "--format", "csv"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("number", [100, 1_000, 10_000])
def test_leaderboard(number: int, benchmark: Any, tmp_path: Path) -> None:
    size = fill(tmp_path, number)
    first = seconds(lambda: leaderboard(tmp_path))
    benchmark.pedantic(leaderboard, (tmp_path,), rounds=ROUNDS)
    shutil.rmtree(tmp_path)  # pytest would keep half a gigabyte of three runs
    report(
        benchmark,
        "leaderboard",
        {
            "records": number,
            "MB": size / 1e6,
            "the first time, with the index, s": first,
            "with an index that is there, s": benchmark.stats.stats.median,
        },
    )


@pytest.mark.parametrize("number", [1_000, 10_000])
def test_page(number: int, benchmark: Any, tmp_path: Path) -> None:
    store, page = tmp_path / "store", tmp_path / "page"
    fill(store, number)
    command = [sys.executable, "-m", "splitsec", "leaderboard", str(store)]
    command += ["--format", "html", "--output", str(page)]
    made = seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    shutil.rmtree(store)
    with system_browser() as browser:
        opened = browser.new_page()

        def visit() -> None:
            opened.goto((page / "index.html").as_uri())
            opened.wait_for_selector("#cells > li")

        benchmark.pedantic(visit, rounds=ROUNDS, warmup_rounds=1)
        chosen = seconds(lambda: opened.select_option("#cell-filters [name=attack]", "fsha"))
    report(
        benchmark,
        "page",
        {
            "cells": number,
            "to make it, s": made,
            "MB": sum(file.stat().st_size for file in page.rglob("*") if file.is_file()) / 1e6,
            "to open it, s": benchmark.stats.stats.median,
            "to choose an attack, s": chosen,
        },
    )
    shutil.rmtree(page)
