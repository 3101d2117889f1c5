"""A cell of the report at its own size, for two exchanges: shapes, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.real_size import of_the_report

SCRIPT = Path(__file__).parents[1] / "evidence" / "paper.py"
MOST_GB = 8.0


def test_every_table_and_figure_has_a_kind() -> None:
    kinds = of_the_report()
    named = {name for kind in kinds for name in kind.tracks}
    assert named == {
        "table1",
        "table2",
        "table3",
        *(f"figure{n}" for n in (1, 2, 3, *range(5, 11))),
    }
    assert {kind.cut_down.spec.size for kind in kinds} == {224, 228}
    assert {kind.cut_down.spec.profile for kind in kinds} == {"paper"}


@pytest.mark.slow
def test_a_client_of_the_report_fits_into_memory() -> None:
    """The others are in what ``python tests/evidence/paper.py`` prints."""
    number = next(n for n, kind in enumerate(of_the_report()) if "figure1" in kind.tracks)
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), str(number)], stdout=subprocess.PIPE, text=True, check=True
    )
    *_, seconds, hours, _, memory, outcome = json.loads(ran.stdout)
    assert outcome == "ok"
    assert float(seconds) > 0
    assert float(hours) > 0
    assert float(memory) < MOST_GB
