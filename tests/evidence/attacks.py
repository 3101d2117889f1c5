"""Prints what attacks recover at each cut and behind defenses: medians over seeds.

    SPLITSEC_DATA=... python tests/evidence/attacks.py results/attacks

It runs the cells of ``attacks.toml`` that the folder does not have yet, some minutes each;
``seeds`` in that file says how many there are of each. With 5,000 queries the strongest attack
should reach a held-out MSE skill of 0.98 at cut 3, 0.95 at cut 5 and 0.87 at cut 7. A server that
only listens should reach a leakage of 0.45 at cut 5 by the formula of protocol 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean, median
from typing import NamedTuple

from grids import run_grid

from splitsec.metrics.schema import VictimScores
from splitsec.records.members import MemberScores
from splitsec.records.record import Record

TRIVIAL_4 = ("mean-image", "median-image", "random-image", "constant")
"""The blind attackers of protocol 4."""


def main() -> None:
    """Run what is missing and print a table in Markdown."""
    print_table(run_grid(__file__, __doc__))


def print_table(records: Sequence[Record]) -> None:
    """Print one row for each attack, and each member of an ensemble, on each cut and defense."""
    rows: dict[tuple[int, str, str], list[Row]] = defaultdict(list)
    for record in records:
        for name, row in rows_of(record):
            rows[record.spec.cut, record.spec.defense, name].append(row)
    print("| cut | defense | attack | seeds | MSE skill, held-out | training | leakage |", end="")
    print(" by protocol 4 | identified | attack, s | converged |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for (cut, defense, attack), several in sorted(rows.items()):
        print(f"| {cut} | {defense} | {attack} | {in_words(several)} |")


class Row(NamedTuple):
    """The figures of one attack of one seed."""

    held_out: float
    training: float
    leakage: float
    protocol_4: float | None
    identified: float
    seconds: float
    converged: bool


def rows_of(record: Record) -> Iterator[tuple[str, Row]]:
    """Yield the figures of an attack and, of an ensemble, those of its members, by name."""
    if record.victims is None or record.victims.training is None or record.leakage is None:
        return
    victims = record.victims.training, record.victims.held_out
    yield (
        record.spec.attack,
        row(
            *(MemberScores.of(one) for one in victims),
            max(by_protocol_4(one) for one in victims),
            record.timings["attack"],
            converged="attack-not-converged" not in record.flags,
        ),
    )
    for one in record.members:
        if one.status == "ok":
            figures = one.training, one.held_out, None, one.seconds
            yield f"{one.attack} in it", row(*figures, converged=one.converged)


def row(
    training: MemberScores | None,
    held_out: MemberScores | None,
    protocol_4: float | None,
    seconds: float,
    *,
    converged: bool,
) -> Row:
    """Return figures of both sets of victims; leakage is that of the set that leaks more."""
    assert training is not None and held_out is not None, "no attack has private pairs"
    found = [one.identification for one in (training, held_out)]
    return Row(
        skill(held_out),
        skill(training),
        max(training.leakage or 0, held_out.leakage or 0),
        protocol_4,
        max(max(one.structure, one.pixel) for one in found),
        seconds,
        converged,
    )


def by_protocol_4(scores: VictimScores) -> float:
    """Return leakage as protocol 4 defined it, at least 0.

    It is the mean of three skills, none of them floored, over the best of four blind attackers.
    """
    privacy, trivial = scores.privacy, [scores.trivial[name] for name in TRIVIAL_4]
    assert privacy.lpips is not None, "LPIPS needs weights"
    skills = [
        1 - privacy.mse.mean / min(one.mse for one in trivial),
        1 - (1 - privacy.ssim.mean) / min(1 - one.ssim for one in trivial),
        1 - privacy.lpips.mean / min(one.lpips or 1 for one in trivial),
    ]
    return max(0.0, mean(skills))


def in_words(rows: Sequence[Row]) -> str:
    """Return the medians of rows that differ in their seed, as cells of a table."""
    held_out, training, leakage, protocol_4, identified, seconds, _ = zip(*rows, strict=True)
    old = [one for one in protocol_4 if one is not None]
    converged = sum(one.converged for one in rows)
    return (
        f"{len(rows)} | {median(held_out):.3f} | {median(training):.3f} | {median(leakage):.3f} | "
        f"{f'{median(old):.3f}' if old else ''} | {median(identified):.0%} | "
        f"{median(seconds):.0f} | {converged} of {len(rows)}"
    )


def skill(scores: MemberScores) -> float:
    """Return the skill under MSE."""
    assert scores.skill.mse is not None, "RetinaMNIST's images differ"
    return scores.skill.mse


if __name__ == "__main__":
    main()
