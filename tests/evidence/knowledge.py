"""Leakage of attackers who are told nothing, a label, or k principal components.

Prints the tables of docs/reading.md, for all data sets::

    SPLITSEC_DATA=... python tests/evidence/knowledge.py [--longer 10]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor

from splitsec.metrics.victims import Baselines
from support.blind import (
    SPECS,
    Bracket,
    bracket,
    hostile_guesses,
    label_guesses,
    labels_of,
    told_components,
)

TOLD = (0, 1, 3, 5, 10, 30, 100)


def row(baselines: Baselines, images: Tensor) -> tuple[float, float]:
    """Return leakage and the rate of identification."""
    scored = baselines.score(images)
    return scored.scores.leakage.mean or 0.0, scored.errors.rate()


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def blind(found: Bracket, longer: int) -> list[str]:
    """Return the largest leakage without and with the victims' labels, as cells of a table."""
    guesses = hostile_guesses(found, longer, known=len(found.data.public))
    worst = max(guesses, key=lambda name: row(found.baselines, guesses[name])[0])
    told = label_guesses(found.data, found.references)(labels_of(found.data, "held_out"))
    with_labels = max(row(found.told, images)[0] for images in told.values())
    unaware = max(row(found.baselines, images)[0] for images in told.values())
    largest = row(found.baselines, guesses[worst])[0]
    return [f"{largest:.4f}", worst, f"{with_labels:.4f}", f"{unaware:.4f}"]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--longer", type=int, default=1, help="times as many steps of the searches")
    parser.add_argument("--data", choices=SPECS, nargs="*", default=list(SPECS))
    given = parser.parse_args()
    components, guesses = [], []
    for name in given.data:
        found = bracket(name)
        if isinstance(found, str):
            raise SystemExit(found)
        told = [row(found.baselines, told_components(found, count)) for count in TOLD]
        components.append([name, *(f"{leaked:.3f} ({rate:.0%})" for leaked, rate in told)])
        guesses.append([name, *blind(found, given.longer)])
        print(components[-1], guesses[-1], file=sys.stderr)
    print(table(["data", *(f"k = {count}" for count in TOLD)], components))
    print()
    names = ["data", "blind", "by", "told labels, judged as told", "told labels, judged as blind"]
    print(table(names, guesses))


if __name__ == "__main__":
    main()
