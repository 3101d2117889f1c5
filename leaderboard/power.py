"""How many seeds and images a difference needs, from the records that are there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from splitsec.leaderboard.ranking import RowSamples, rank
from splitsec.metrics.intervals import MINIMUM_SEEDS
from splitsec.metrics.noninferiority import needs
from splitsec.metrics.two_level import Sample, variances
from splitsec.records.official import is_official
from splitsec.records.record import Record
from splitsec.records.wording import MARGINS

DIFFERENCE = 0.05
"""Difference in leakage that is asked for by default."""


def power_table(
    records: Iterable[Record], difference: float = DIFFERENCE, margin: float | None = None
) -> pd.DataFrame:
    """Return how many seeds and images it takes to see differences from the undefended model.

    The variances over seeds and over images are those of the paired differences in the records,
    of which images are resampled. A number shows the difference in 80 % of experiments, at 5 %.

    Args:
        records: any records, of which claims are left out; boards are those of
            :func:`splitsec.leaderboard.ranking.rank`.
        difference: of leakage, above 0.
        margin: of utility, above 0; 0.02 of an AUC and 0.01 of a Jaccard by default.

    Returns:
        One row per board, defense and figure (``leakage``, ``AUC`` or ``Jaccard``), with
        ``difference``, ``seeds`` and ``images`` as they are, the standard deviation of one seed
        ``over seeds``, the standard error over these ``images``, and ``seeds needed`` and
        ``images needed``, each with the other as it is; missing where no number would do or
        nothing is known. Empty if no defense can be compared.
    """
    rows = []
    for board in rank(filter(is_official, records), "defenses"):
        none = board.samples.get("none")
        for name, own in board.samples.items():
            if none is None or name == "none":
                continue
            lines = _lines(own, none, difference, margin)
            rows += [{"board": board.title, "defense": name, **line} for line in lines]
    return pd.DataFrame(rows)


def _lines(
    own: RowSamples, none: RowSamples, difference: float, margin: float | None
) -> list[dict[str, Any]]:
    lines = []
    if len(own.leakage.per_seed) == len(none.leakage.per_seed) > 1:
        found = own.leakage.minus(none.leakage)
        lines.append({"figure": "leakage", **_numbers(found, difference)})
    if own.loss is not None and own.measure is not None and len(own.loss.per_seed) > 1:
        name = "AUC" if own.measure == "auc" else "Jaccard"
        asked = MARGINS[own.measure] if margin is None else margin
        lines.append({"figure": name, **_numbers(own.loss, asked)})
    return lines


def _numbers(sample: Sample, difference: float) -> dict[str, Any]:
    found, wanted = variances(sample), needs(sample, difference)
    known = sample.on_images is not None
    return {
        "difference": difference,
        "seeds": len(sample.per_seed),
        "images": sample.images if known else None,
        "over seeds": (found.seeds * found.number) ** 0.5,
        "over images": found.images**0.5 if known else None,
        "seeds needed": wanted.seeds,
        "images needed": wanted.images,
    }


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a power table as text, but for its boards."""
    lines = []
    for row in table.to_dict("records"):
        resampled = not pd.isna(row["images"])
        images = resampled and row["seeds"] >= MINIMUM_SEEDS
        lines.append(
            {
                "defense": row["defense"],
                "figure": row["figure"],
                "difference": f"{row['difference']:g}",
                "sd of seeds": f"{row['over seeds']:.3f}",
                "error of images": f"{row['over images']:.3f}" if resampled else "unknown",
                "seeds": str(row["seeds"]),
                "seeds needed": _needed(row["seeds needed"]),
                "images": f"{row['images']:.0f}" if resampled else "unknown",
                "images needed": _needed(row["images needed"]) if images else "unknown",
            }
        )
    return pd.DataFrame(lines)


def _needed(number: float | None) -> str:
    return "no number" if number is None or math.isnan(number) else f"{number:.0f}"
