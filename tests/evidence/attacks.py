"""Prints what attacks recover at each cut: medians over seeds, beside the figures aimed at.

    SPLITSEC_DATA=... python tests/evidence/attacks.py results/attacks [--seeds 5]

It runs the cells of ``attacks.toml`` that the folder does not have yet, some minutes each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from splitsec.metrics.schema import VictimScores
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
    rows: dict[tuple[int, str], list[Record]] = defaultdict(list)
    for record in load_records([given.results]):
        rows[record.spec.cut, record.spec.attack].append(record)
    print("| cut | attack | seeds | held-out MSE skill | aimed at | training MSE skill |", end="")
    print(" leakage | identified | attack, s | converged |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (cut, attack), records in sorted(rows.items()):
        print(f"| {cut} | {attack} | {row(records, AIMED[cut])} |")


def row(records: list[Record], aimed: float) -> str:
    """Return the medians of records that differ in their seed, as cells of a table."""
    complete = [one for one in records if one.status == "ok"]
    held_out = median(skill(one.victims.held_out) for one in complete if one.victims)
    training = median(
        skill(one.victims.training) for one in complete if one.victims and one.victims.training
    )
    leakage = median(one.leakage.value or 0 for one in complete if one.leakage)
    found = [
        one.victims.held_out.privacy.identification for one in complete if one.victims is not None
    ]
    identified = median(max(one.structure, one.pixel) for one in found)
    seconds = median(one.timings["attack"] for one in complete)
    converged = sum("attack-not-converged" not in one.flags for one in complete)
    return (
        f"{len(complete)} of {len(records)} | {held_out:.3f} | {aimed} | {training:.3f} | "
        f"{leakage:.3f} | {identified:.0%} | {seconds:.0f} | {converged} of {len(complete)}"
    )


def skill(scores: VictimScores) -> float:
    """Return the skill under MSE."""
    assert scores.skill.mse is not None, "RetinaMNIST's images differ"
    return scores.skill.mse


if __name__ == "__main__":
    main()
