"""Prints how often intervals cover the truth, and how often equal rows are ranked apart.

    python tests/evidence/verdicts.py

It takes some minutes on one core. The test suite checks a few of these figures with fewer runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.simulated import WORLDS, coverage, told_apart

RUNS = 2000
IMAGES = 200


def main() -> None:
    """Print both tables as Markdown."""
    print(f"Coverage of the 95 % interval over seeds and {IMAGES} images, {RUNS} runs:\n")
    seeds = (3, 5, 10)
    print("| what varies |", " | ".join(f"{count} seeds" for count in seeds), "|")
    print("|---|---|---|---|")
    for name, world in WORLDS.items():
        shares = [coverage(count, IMAGES, world, RUNS) for count in seeds]
        print(f"| {name} |", " | ".join(f"{share:.1%}" for share in shares), "|", flush=True)
    print(f"\nEqual rows ranked apart, 5 seeds and {IMAGES} images, {RUNS} runs (promised: 5 %):\n")
    rows = (3, 10)
    print("| what varies |", " | ".join(f"{count} rows" for count in rows), "|")
    print("|---|---|---|")
    for name, world in WORLDS.items():
        shares = [told_apart(count, 5, IMAGES, world, RUNS) for count in rows]
        print(f"| {name} |", " | ".join(f"{share:.1%}" for share in shares), "|", flush=True)


if __name__ == "__main__":
    main()
