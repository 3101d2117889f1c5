"""Prints how a detector's threshold divides honest sessions from hijacked ones.

    SPLITSEC_DATA=... python tests/evidence/detectors.py [--data NAME] [--honest 20] [--hijacked 5]

Every session runs to its end, and the gaps and published scores of all batches are read from the
detector. A session is ended at a threshold by the first mean of ``window`` scores below it. A
hijacked session takes a minute on one thread, and an honest one a quarter of that.
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

THRESHOLDS = {
    "gap": (-0.01, 0.0, 0.01, 0.02, 0.03, 0.05, 0.1),
    "published": (0.02, 0.025, 0.03, 0.04, 0.05, 0.1, 0.5),
}
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

    GradientScrutiny.__init__ = begins  # type: ignore[method-assign]  # to hear of each
    try:
        yield made
    finally:
        GradientScrutiny.__init__ = begin  # type: ignore[method-assign]  # as it was


def scores_of(attack: str, data: str, cut: str, seed: int) -> dict[str, list[float]]:
    """Return the detector's scores in the last session of a cell, by its measures."""
    asked = Request(
        attack=attack,
        defense="gradient-scrutiny:measure=published,threshold=-1",
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
    last = next(one for one in reversed(made) if one.scores)
    return {"gap": last.gaps[-len(last.scores) :], "published": last.scores}


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
    servers = "".join(f" {words} |" for words in SERVERS.values())
    print(f"| measure | threshold | false alarms |{servers}")
    print("|---|---|---|" + "---|" * len(SERVERS))
    for measure, threshold in ((one, level) for one in THRESHOLDS for level in THRESHOLDS[one]):
        alarms = sum(ended(one[measure], threshold) is not None for one in honest)
        cells = [measure, f"{threshold:g}", f"{alarms} of {len(honest)}"]
        for sessions in hijacked.values():
            ends = [ended(one[measure], threshold) for one in sessions]
            found = [usual.first - 1 + one for one in ends if one is not None]
            when = f", at exchange {median(found):.0f}" if found else ""
            cells.append(f"{len(found)} of {len(sessions)}{when}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
