"""Prints a page that compares all attacks on each cut and behind each defense.

    SPLITSEC_DATA=... python tests/evidence/compared.py results/compared > docs/attacks-compared.md

It runs the cells of ``compared.toml`` that the folder does not have yet, some minutes each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from grids import run_grid

from attacks import Row, rows_of
from splitsec.records.record import Record

PAGE = """# Attacks compared

RetinaMNIST at 32 px, ResNet-34, profile `quick`, {seeds}; printed by
`python tests/evidence/compared.py results/compared`.

- *Leakage* and *identified* are those of the victims that leak more, training or held-out.
- *MSE skill*: a perfect copy scores 1 and the best blind guess 0; anything worse is negative.
- *Seconds* are those of the attack on one thread of a shared machine.
- *Converged* says whether the attack's own errors had stopped falling. One that had not says
  nothing about a defense: `sdar` and `fora` train for 20,000 and 40,000 steps in their papers, and
  for some hundred here.
- A star marks attacks that need more than a split-learning server has; see
  [threat models](threat-models.md).
"""

HEAD = """| attack | leakage | MSE skill, training | held-out | identified | seconds | converged |
|---|---|---|---|---|---|---|"""


def main() -> None:
    """Run what is missing and print the page."""
    print(page(run_grid(__file__, __doc__)))


def page(records: Sequence[Record]) -> str:
    """Return the page in Markdown, with the attack that recovers most first in each table."""
    tables: dict[tuple[str, int], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    unscored: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for record in records:
        spec, where = record.spec, (record.spec.defense, record.spec.cut)
        name = f"`{spec.attack}`" + ("*" if "oracle-access" in record.flags else "")
        of_attack = next(rows_of(record), None)  # those of an ensemble's members follow
        if of_attack is not None:
            tables[where][name].append(of_attack[1])
        elif record.status != "ok":
            unscored[where][name] = f"{record.status}: {record.reason}"
    counts = {len(rows) for table in tables.values() for rows in table.values()}
    seeds = "one seed" if counts == {1} else f"medians over {min(counts)} to {max(counts)} seeds"
    parts = [PAGE.format(seeds=seeds)]
    for where in sorted(tables, key=lambda one: (one[0] != "none", one)):
        defense, cut = where
        title = "Undefended" if defense == "none" else f"Behind `{defense}`"
        rows = tables[where]
        ordered = sorted(rows, key=lambda name: -leakage(rows[name]))
        lines = [f"| {name} | {in_words(rows[name])} |" for name in ordered]
        missing = unscored[where].items()
        lines += [f"| {name} | {why} | | | | | |" for name, why in missing if name not in rows]
        parts.append("\n".join([f"## {title}, cut {cut}", HEAD, *lines]) + "\n")
    return "\n".join(parts)


def leakage(rows: Sequence[Row]) -> float:
    """Return the median leakage of rows that differ in their seed."""
    return median(row.leakage for row in rows)


def in_words(rows: Sequence[Row]) -> str:
    """Return the medians of rows that differ in their seed, as cells of a table."""
    converged = sum(row.converged for row in rows)
    said = ("no", "yes")[converged] if len(rows) == 1 else f"{converged} of {len(rows)}"
    return (
        f"{leakage(rows):.2f} | {median(row.training for row in rows):.2f} | "
        f"{median(row.held_out for row in rows):.2f} | "
        f"{median(row.identified for row in rows):.0%} | "
        f"{median(row.seconds for row in rows):.0f} | {said}"
    )


if __name__ == "__main__":
    main()
