"""Prints what attacks recover at each cut: medians over seeds, beside the figures aimed at.

    SPLITSEC_DATA=... python tests/evidence/attacks.py results/attacks [--seeds 5]

It runs the cells of ``attacks.toml`` that the folder does not have yet, some minutes each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from splitsec.records.members import MemberScores
from splitsec.records.record import Record
from splitsec.records.store import load_records

GRID = Path(__file__).with_suffix(".toml")
AIMED = {3: 0.98, 5: 0.95, 7: 0.87}
"""Held-out MSE skill with 5,000 queries that the strongest attack should reach, by cut."""


def main() -> None:
    """Run what is missing and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of the records")
    parser.add_argument("--seeds", default="5", help="number of seeds")
    given = parser.parse_args()
    command = [sys.executable, "-m", "splitsec", "run", str(GRID), "--seeds", given.seeds]
    subprocess.run([*command, "--output", str(given.results)], check=True)
    rows: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for record in load_records([given.results]):
        for name, row in rows_of(record):
            rows[record.spec.cut, name].append(row)
    print("| cut | attack | seeds | held-out MSE skill | aimed at | training MSE skill |", end="")
    print(" leakage | identified | attack, s | converged |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (cut, attack), several in sorted(rows.items()):
        print(f"| {cut} | {attack} | {in_words(several, AIMED[cut])} |")


class Row(NamedTuple):
    """The figures of one attack of one seed."""

    held_out: float
    training: float
    leakage: float
    identified: float
    seconds: float
    converged: bool


def rows_of(record: Record) -> Iterator[tuple[str, Row]]:
    """Yield the figures of an ensemble and of its members, by name."""
    if record.victims is None or record.victims.training is None or record.leakage is None:
        return
    found = MemberScores.of(record.victims.training), MemberScores.of(record.victims.held_out)
    converged = "attack-not-converged" not in record.flags
    yield record.spec.attack, row(*found, record.timings["attack"], converged=converged)
    for one in record.members:
        if one.status == "ok":
            converged = one.converged
            yield one.attack, row(one.training, one.held_out, one.seconds, converged=converged)


def row(
    training: MemberScores | None, held_out: MemberScores | None, seconds: float, *, converged: bool
) -> Row:
    """Return figures of both sets of victims; leakage is that of the set that leaks more."""
    assert training is not None and held_out is not None, "no member has private pairs"
    found = held_out.identification
    return Row(
        skill(held_out),
        skill(training),
        max(training.leakage or 0, held_out.leakage or 0),
        max(found.structure, found.pixel),
        seconds,
        converged,
    )


def in_words(rows: Sequence[Row], aimed: float) -> str:
    """Return the medians of rows that differ in their seed, as cells of a table."""
    held_out, training, leakage, identified, seconds, _ = map(median, zip(*rows, strict=True))
    converged = sum(one.converged for one in rows)
    return (
        f"{len(rows)} | {held_out:.3f} | {aimed} | {training:.3f} | {leakage:.3f} | "
        f"{identified:.0%} | {seconds:.0f} | {converged} of {len(rows)}"
    )


def skill(scores: MemberScores) -> float:
    """Return the skill under MSE."""
    assert scores.skill.mse is not None, "RetinaMNIST's images differ"
    return scores.skill.mse


if __name__ == "__main__":
    main()
