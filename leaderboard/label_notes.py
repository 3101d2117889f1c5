"""What a reader of a board must know of labels that clients keep."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean

from splitsec.metrics.schema import NOTHING_RECOVERED
from splitsec.records.record import Record


def label_notes(records: Iterable[Record]) -> list[str]:
    """Return how well servers predict labels that clients keep, behind each defense.

    Of each cell the best source counts, and of each defense the mean over its cells of the attack
    that predicts best.

    Args:
        records: of one board.
    """
    skills: dict[tuple[str, str], list[float]] = {}
    for record in records:
        best = None if record.labels is None else record.labels.best()
        if best is not None and best[1].skill is not None:
            named = (record.spec.named("defense"), record.spec.named("attack"))
            skills.setdefault(named, []).append(max(best[1].skill, 0.0))
    worst: dict[str, float] = {}
    for (defense, _), values in skills.items():
        worst[defense] = max(worst.get(defense, 0.0), mean(values))
    if not worst or max(worst.values()) <= NOTHING_RECOVERED:
        return []
    listed = ", ".join(f"{defense} {skill:.2f}" for defense, skill in sorted(worst.items()))
    return [
        "the clients keep their labels or masks, yet the server predicts them; skill of the "
        f"predictions (0: no traffic needed, 1: exact) by defense: {listed}"
    ]
