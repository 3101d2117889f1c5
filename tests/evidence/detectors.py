"""Prints how the thresholds of detectors divide honest sessions from hijacked ones.

    SPLITSEC_DATA=... python tests/evidence/detectors.py [--data NAME] [--honest 20] [--hijacked 5]

Every session runs to its end with a detector that never ends it, and a threshold ends it at the
first mean of ``window`` scores below it; with splitout, at the first median above it. A hijacked
session takes a minute on one thread, and an honest one a quarter of that.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median, median_low
from typing import Any, NamedTuple

from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.plugins.defense import Defense
from splitsec.plugins.loading import load_plugin
from splitsec.progress import Silent
from splitsec.running.runs import run_cells

SERVERS = {
    "fsha": "hijacks from the first batch",
    "fsha:honest=150": "behaves for 150 exchanges",
    "fsha:task=0.5": "keeps the task alive",
}
"""Malicious servers, in words."""


class Scores(NamedTuple):
    """What a detector made of one session.

    Attributes:
        values: its scores.
        steps: the exchange of each.
    """

    values: Sequence[float]
    steps: Sequence[int]


class Measure(NamedTuple):
    """One way to detect.

    Attributes:
        name: in words.
        defense: the detector that never ends a session.
        window: scores whose mean counts.
        thresholds: to try.
        above: whether a median above a threshold ends a session, not a mean below it.
    """

    name: str
    defense: str
    window: int
    thresholds: Sequence[float]
    above: bool = False

    def ended(self, scores: Scores, threshold: float) -> int | None:
        """Return at which exchange the session ends, or None if it does not."""
        for count in range(self.window, len(scores.values) + 1):
            last = scores.values[count - self.window : count]
            if median_low(last) > threshold if self.above else fmean(last) < threshold:
                return scores.steps[count - 1]
        return None

    def scores(self, detector: Any) -> Scores:
        """Return the scores of a detector after a session."""
        count = len(detector.scores)
        values = detector.gaps[-count:] if self.name == "gap" else detector.scores
        first = getattr(detector.parameters, "first", 0)
        steps = getattr(detector, "steps", None) or range(first - 1, first - 1 + len(values))
        return Scores(values, list(steps))


MEASURES = (
    Measure(
        "gap",
        "gradient-scrutiny:measure=published,threshold=-1",
        10,
        (-0.01, 0.0, 0.01, 0.02, 0.03, 0.05, 0.1),
    ),
    Measure(
        "published",
        "gradient-scrutiny:measure=published,threshold=-1",
        10,
        (0.02, 0.025, 0.03, 0.04, 0.05, 0.1, 0.5),
    ),
    Measure(
        "splitguard",
        "splitguard:threshold=0",
        3,
        (0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    ),
    Measure(
        "splitout",
        "splitout:threshold=1e9",
        10,
        (1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 8.0),
        above=True,
    ),
)


@contextmanager
def detectors(name: str) -> Iterator[list[Defense[Any]]]:
    """Collect the detectors that are made in the block; each session of a cell makes one."""
    made: list[Defense[Any]] = []
    cls = load_plugin("defense", name).cls
    begin = cls.__init__

    def begins(self: Defense[Any], parameters: Any) -> None:
        begin(self, parameters)
        made.append(self)

    cls.__init__ = begins  # to hear of each
    try:
        yield made
    finally:
        cls.__init__ = begin  # as it was


def detector_after(attack: str, defense: str, data: str, cut: str, seed: int) -> Defense[Any]:
    """Return the detector of the last session of a cell."""
    asked = Request(
        attack=attack,
        defense=defense,
        data=data,
        target="resnet",
        cut=cut,
        seed=str(seed),
        size="32",
        threads=1,
    )
    name = defense.partition(":")[0]
    with detectors(name) as made, tempfile.TemporaryDirectory() as folder:
        (record,) = run_cells(resolve(asked), Path(folder), Silent())
    if record.status != "ok":
        raise SystemExit(f"{record.spec.title()}: {record.reason}")
    return next(one for one in reversed(made) if getattr(one, "scores", None))


def main() -> None:
    """Run the sessions and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="retinamnist")
    parser.add_argument("--cut", default="3")
    parser.add_argument("--honest", type=int, default=20, help="honest sessions")
    parser.add_argument("--hijacked", type=int, default=5, help="sessions of each server")
    parser.add_argument("--from-seed", type=int, default=0)
    parser.add_argument("--only", choices=[one.name for one in MEASURES], help="one measure")
    given = parser.parse_args()
    chosen = [one for one in MEASURES if given.only in (None, one.name)]
    where = given.data, given.cut
    print(f"{given.data}, ResNet-34, cut {given.cut}; {given.honest} honest sessions, ", end="")
    print(f"{given.hijacked} of each server\n")
    servers = "".join(f" {words} |" for words in SERVERS.values())
    print(f"| measure | threshold | false alarms |{servers}")
    print("|---|---|---|" + "---|" * len(SERVERS), flush=True)
    for defense in dict.fromkeys(one.defense for one in chosen):
        own = [one for one in chosen if one.defense == defense]
        seeds = range(given.from_seed, given.from_seed + max(given.honest, given.hijacked))
        honest = [detector_after("none", defense, *where, seed) for seed in seeds[: given.honest]]
        hijacked = [
            [detector_after(server, defense, *where, seed) for seed in seeds[: given.hijacked]]
            for server in SERVERS
        ]
        for measure in own:
            _print(measure, honest, hijacked)


def _print(
    measure: Measure, honest: Sequence[Defense[Any]], hijacked: Sequence[Sequence[Defense[Any]]]
) -> None:
    calm = [measure.scores(one) for one in honest]
    for threshold in measure.thresholds:
        alarms = sum(measure.ended(one, threshold) is not None for one in calm)
        cells = [measure.name, f"{threshold:g}", f"{alarms} of {len(calm)}"]
        for sessions in hijacked:
            ends = [measure.ended(measure.scores(one), threshold) for one in sessions]
            found = [one for one in ends if one is not None]
            when = f", at exchange {median(found):.0f}" if found else ""
            cells.append(f"{len(found)} of {len(sessions)}{when}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
