"""Prints how well a server predicts masks and labels that clients keep.

    SPLITSEC_DATA=... python tests/evidence/labels.py results/labels

It runs the cells of ``labels.toml`` that the folder does not have yet, some minutes each;
``seeds`` in that file says how many there are of each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from statistics import mean

from grids import run_grid

from splitsec.metrics.label_schema import LabelScore, LabelSource
from splitsec.records.record import Record
from splitsec.records.wording import LABEL_SOURCES

VICTIMS = ("training", "held_out")


def main() -> None:
    """Run what is missing and print a table in Markdown."""
    cells: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in run_grid(__file__, __doc__):
        if record.labels is not None:
            cells[record.spec.data, record.spec.cut].append(record)
    print("| data, cut | seeds | predicted from | training | skill | held-out | skill |")
    print("|---|---|---|---|---|---|---|")
    for (data, cut), records in sorted(cells.items()):
        for texts in rows(records):
            print(f"| {data}, {cut} | {len(records)} | {' | '.join(texts)} |")


def rows(records: list[Record]) -> Iterator[list[str]]:
    """Yield the rows of records that differ in their seed: means over seeds, as text."""
    every = [scores(records, victims) for victims in VICTIMS]
    for source, words in LABEL_SOURCES.items():
        yield [words, *(text for found in every for text in in_words(found.get(source, [])))]
    prior = [mean(one.prior for own in found.values() for one in own) for found in every]
    yield ["nothing", f"{prior[0]:.3f}", "0", f"{prior[1]:.3f}", "0"]
    utility = [one.utility for one in records if one.utility is not None]
    reached = mean(getattr(one, one.measure) for one in utility)
    yield ["(the clients' own model)", "", "", f"{reached:.3f}", ""]


def scores(records: list[Record], victims: str) -> dict[LabelSource, list[LabelScore]]:
    """Return the scores of one set of victims by source, one per record."""
    found: dict[LabelSource, list[LabelScore]] = defaultdict(list)
    for record in records:
        for source, one in getattr(record.labels, victims).items():
            found[source].append(one)
    return found


def in_words(found: list[LabelScore]) -> tuple[str, str]:
    """Return the mean score and the mean skill, or nothing where there is none."""
    if not found:
        return "", ""
    return f"{mean(one.score for one in found):.3f}", f"{mean(one.skill or 0 for one in found):.2f}"


if __name__ == "__main__":
    main()
