"""The utility that a defense retains, and whether it can be told at all."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from splitsec.metrics.figures import Estimate, Limits
from splitsec.metrics.intervals import error_of_interval, ratio_estimate, standard_error
from splitsec.records.record import Record
from splitsec.records.wording import MARGINS

CLEAR = 3
"""Standard errors by which the undefended model must beat the trivial predictor."""


def worth_of(record: Record) -> dict[str, Any]:
    """Return a record's utility, that of predictors to compare it with, and its standard error.

    Returns:
        ``measure``, the name of the measure; ``utility``; ``trivial``; ``linear pixels`` and
        ``linear colour``, of linear models; and ``error``, the standard error of ``utility`` over
        held-out images; None for what is missing.
    """
    utility = record.utility
    if utility is None:
        names = ("measure", "utility", "trivial", "linear pixels", "linear colour", "error")
        return dict.fromkeys(names)
    value, low, high = utility.estimate(utility.measure)
    return {
        "measure": utility.measure,
        "utility": value,
        "trivial": utility.trivial[utility.measure],
        "linear pixels": utility.linear_pixels,
        "linear colour": utility.linear_colour,
        "error": None if low is None or high is None else error_of_interval(low, high),
    }


def linear_notes(cells: pd.DataFrame) -> list[str]:
    """Return what a reader of the utility must know of linear models on the same images.

    Args:
        cells: with the columns of :func:`worth_of`, ``defense`` and ``target``.
    """
    known = cells.dropna(subset=["linear pixels", "linear colour", "utility"])
    notes = []
    for measure, own in known.groupby("measure"):
        name = "AUC" if measure == "auc" else "Jaccard"
        colour = own["linear colour"].mean()
        notes.append(
            f"a linear model on the pixels reaches {name} {own['linear pixels'].mean():.2f}, on "
            f"the mean colour {colour:.2f}"
        )
        undefended = own[own["defense"] == "none"].groupby("target")["utility"].mean()
        if len(undefended) and undefended.max() - colour <= MARGINS[str(measure)]:
            notes[-1] += (
                "; no undefended model is better than the mean colour, so the utility of this "
                "board cannot show what a defense costs"
            )
    return notes


def doubt(undefended: pd.DataFrame) -> str | None:
    """Return why no utility retained can be told, or None if it can.

    What a model retains is a share of what the undefended model is worth above the trivial
    predictor. Where that is not clearly above 0, the share may be any number.

    Args:
        undefended: ``utility``, ``trivial`` and ``error`` of undefended cells, one row per seed.
    """
    known = undefended.dropna(subset=["utility", "trivial"])
    if known.empty:
        return "no undefended cell has a utility"
    above = (known["utility"] - known["trivial"]).to_numpy(float)
    over_seeds = standard_error(above) if len(above) > 1 else 0.0
    error = math.hypot(over_seeds, known["error"].astype(float).mean())  # all seeds share images
    if above.mean() > CLEAR * error:
        return None
    return (
        f"undefended, the model's utility of {known['utility'].mean():.2f} does not beat the "
        f"trivial predictor's {known['trivial'].mean():.2f} by {CLEAR} standard errors"
        + ("" if math.isnan(error) else f" of {error:.2f}")
    )


def retained(worth: pd.DataFrame, undefended: pd.DataFrame) -> Estimate:
    """Return the share of the undefended model's utility that a defense retains.

    Args:
        worth: ``utility`` and ``trivial`` with the defense, by seed.
        undefended: the same without a defense.

    Returns:
        ``(utility - trivial) / (undefended utility - trivial)``, means over the seeds that both
        have; within what a utility in [0, 1] allows.
    """
    both = worth.join(undefended.add_suffix(" undefended"), how="inner")
    both = both.dropna(subset=["utility", "trivial", "utility undefended"])
    parts = (both["utility"] - both["trivial"]).to_numpy(float)
    wholes = (both["utility undefended"] - both["trivial undefended"]).to_numpy(float)
    if not len(wholes) or wholes.mean() <= 0:
        return Estimate(None)
    trivial, whole = float(both["trivial"].mean()), float(wholes.mean())
    return ratio_estimate(parts, wholes, Limits(-trivial / whole, (1 - trivial) / whole))
