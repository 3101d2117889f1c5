"""Prints how a detector's threshold divides honest sessions from hijacked ones.

    SPLITSEC_DATA=... python tests/evidence/detectors.py [--data NAME] [--honest 20] [--hijacked 5]

Every session runs to its end with a threshold of zero, and its scores are read from the detector.
A session is ended at a threshold by the first mean of ``window`` scores below it. A minute for each
hijacked session on one thread, and a quarter of that for an honest one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.defenses.gradient_scrutiny import GradientScrutiny
from splitsec.progress import Silent
from splitsec.running.runs import run_cells

THRESHOLDS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)
SERVERS = {
    "fsha": "hijacks from the first batch",
    "fsha:honest=150": "behaves for 150 exchanges",
    "fsha:task=0.5": "keeps the task alive",
}
"""Malicious servers, in words."""


@contextmanager
def detectors() -> Iterator[list[GradientScrutiny]]:
    """Collect the detectors that are made in the block; each session of a cell makes one."""
    made: list[GradientScrutiny] = []
    begin = GradientScrutiny.__init__

    def begins(self: GradientScrutiny, parameters: Any) -> None:
        begin(self, parameters)
        made.append(self)

    GradientScrutiny.__init__ = begins  # type: ignore[method-assign]
    try:
        yield made
    finally:
        GradientScrutiny.__init__ = begin  # type: ignore[method-assign]


def scores_of(attack: str, data: str, cut: str, seed: int) -> list[float]:
    """Return the detector's scores in the last session of a cell."""
    asked = Request(
        attack=attack,
        defense="gradient-scrutiny:threshold=0",
        data=data,
        target="resnet",
        cut=cut,
        seed=str(seed),
        size="32",
        threads=1,
    )
    with detectors() as made, tempfile.TemporaryDirectory() as folder:
        (record,) = run_cells(resolve(asked), Path(folder), Silent())
    if record.status != "ok":
        raise SystemExit(f"{record.spec.title()}: {record.reason}")
    return next(one.scores for one in reversed(made) if one.scores)


def ended(scores: list[float], threshold: float, window: int = 10) -> int | None:
    """Return after how many scores the session ends, or None if it does not."""
    for count in range(window, len(scores) + 1):
        if sum(scores[count - window : count]) / window < threshold:
            return count
    return None


def main() -> None:
    """Run the sessions and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="retinamnist")
    parser.add_argument("--cut", default="3")
    parser.add_argument("--honest", type=int, default=20, help="honest sessions")
    parser.add_argument("--hijacked", type=int, default=5, help="sessions of each server")
    parser.add_argument("--from-seed", type=int, default=0)
    given = parser.parse_args()
    first, usual = given.from_seed, GradientScrutiny.Parameters()
    where = given.data, given.cut
    honest = [scores_of("none", *where, first + one) for one in range(given.honest)]
    hijacked = {
        server: [scores_of(server, *where, first + one) for one in range(given.hijacked)]
        for server in SERVERS
    }
    print(
        f"{given.data}, ResNet-34, cut {given.cut}, {usual.first} batches before the first score, "
        f"window {usual.window}; {given.honest} honest sessions, {given.hijacked} of each server"
    )
    print()
    print("| threshold | false alarms |" + "".join(f" {words} |" for words in SERVERS.values()))
    print("|---|---|" + "---|" * len(SERVERS))
    for threshold in THRESHOLDS:
        alarms = sum(ended(one, threshold) is not None for one in honest)
        cells = [f"{threshold:g}", f"{alarms} of {len(honest)}"]
        for sessions in hijacked.values():
            found = [usual.first - 1 + n for one in sessions if (n := ended(one, threshold))]
            when = f", at exchange {median(found):.0f}" if found else ""
            cells.append(f"{len(found)} of {len(sessions)}{when}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
