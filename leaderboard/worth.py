"""The utility that a defense retains, and whether it can be told at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from splitsec.leaderboard.placing import columns_of
from splitsec.leaderboard.samples import Resampler, ratio_of, stacked
from splitsec.metrics.figures import SHARE, Estimate, Limits
from splitsec.metrics.intervals import MINIMUM_SEEDS, error_of_interval, standard_error
from splitsec.metrics.noninferiority import CostVerdict, Needs, judge_cost
from splitsec.metrics.two_level import Sample, over_seeds_and_images
from splitsec.records.record import Record
from splitsec.records.wording import MARGINS

UNKNOWN_WORTH = "what a defense retains of the utility is not shown"
"""How a note begins that says why."""

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
        if solved_by_colour(own, MARGINS[str(measure)]):
            notes[-1] += (
                "; no undefended model is better than the mean colour, so the utility of this "
                "board cannot show what a defense costs"
            )
    return notes


def solved_by_colour(cells: pd.DataFrame, margin: float) -> bool:
    """Return whether no undefended model is better than the mean colour by more than a margin.

    Then a defense may erase everything but the hue and cost nothing. False where it is not known.
    """
    known = cells.dropna(subset=["linear colour", "utility"])
    undefended = known[known["defense"] == "none"].groupby("target")["utility"].mean()
    if not len(undefended):
        return False
    return bool(undefended.max() - known["linear colour"].mean() <= margin)


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


UTILITY_FLOOR = 0.5
"""Share of the undefended model's utility below which a defense is not ranked."""


def samples_of_worth(
    cells: pd.DataFrame, resampler: Resampler, seeds: Iterable[int]
) -> tuple[Sample, float]:
    """Return the utility over seeds, and the trivial predictor's; neither depends on the attack.

    Args:
        cells: of one defense, with a utility at each of the seeds.
        resampler: has the answers for the held-out images.
        seeds: the seeds, in order.
    """
    known = cells.dropna(subset=["utility"]).drop_duplicates("seed").set_index("seed")
    chosen = known.loc[list(seeds)]
    on_images = [resampler.utility(one) for one in chosen["place"]]
    utility = stacked(chosen["utility"], on_images, resampler.held_out)
    return utility, float(chosen["trivial"].mean())


class Worth(NamedTuple):
    """What a defense leaves of the utility.

    Attributes:
        retained: the share that it retains, with its interval.
        sample: that share, per seed and on resampled images.
        loss: of utility, per seed and on resampled images.
        cost: whether the loss is within the margin.
    """

    retained: Estimate
    sample: Sample
    loss: Sample
    cost: CostVerdict


def worth_with(
    cells: pd.DataFrame, undefended: pd.DataFrame, resampler: Resampler, margin: float
) -> Worth | None:
    """Return what a defense leaves of the utility; None if no seed has both utilities.

    Retained is ``(utility - trivial) / (undefended utility - trivial)``, of means over the seeds
    that both have, and within what a utility in [0, 1] allows.

    Args:
        cells: cells with the defense.
        undefended: cells without one.
        resampler: of the board.
        margin: the largest loss of utility that counts as none.
    """
    have = [set(one.dropna(subset=["utility", "trivial"])["seed"]) for one in (cells, undefended)]
    seeds = sorted(have[0] & have[1])
    if not seeds:
        return None
    utility, _ = samples_of_worth(cells, resampler, seeds)
    whole, trivial = samples_of_worth(undefended, resampler, seeds)
    above = whole.mean - trivial
    if above <= 0:
        return None
    share = ratio_of(utility.plus(-trivial), whole.plus(-trivial))
    limits = Limits(-trivial / above, (1 - trivial) / above)
    losses = whole.minus(utility)
    cost = judge_cost(losses, margin, SHARE.of_differences())
    return Worth(over_seeds_and_images(share, limits), share, losses, cost)


class Rules(NamedTuple):
    """What a board is judged by.

    Attributes:
        floor: share of the undefended model's utility that a ranked defense retains.
        margin: largest loss of utility that counts as none; None for that of
            :data:`MARGINS`.
    """

    floor: float = UTILITY_FLOOR
    margin: float | None = None


def add_worth(
    rows: list[dict[str, Any]],
    group: pd.DataFrame,
    resampler: Resampler,
    rules: Rules,
    notes: list[str],
) -> None:
    """Add what each defense retains of the utility and costs; below the floor it has no rank.

    Args:
        rows: of defenses, each with its ``name`` and ``reason``; receive the columns.
        group: the board's cells.
        resampler: of the board.
        rules: floor and margin.
        notes: receives sentences.
    """
    undefended = group[group["defense"] == "none"]
    why_not = doubt(undefended.groupby("seed")[["utility", "trivial", "error"]].first())
    if why_not is not None and rows:
        notes.append(f"{UNKNOWN_WORTH}: {why_not}")
    measure = next(iter(group["measure"].dropna()), "auc")
    margin = MARGINS[measure] if rules.margin is None else rules.margin
    by_colour = solved_by_colour(group, margin)  # a note says so; no cost is judged then
    costs: dict[str, Worth] = {}
    for row in rows:
        worth = None
        if why_not is None:
            cells = group[group["defense"] == row["name"]]
            worth = worth_with(cells, undefended, resampler, margin)
        row.update(columns_of("retained", Estimate(None) if worth is None else worth.retained))
        row["retained sample"] = None if worth is None else worth.sample
        if worth is not None and row["name"] != "none" and not by_colour:
            costs[row["name"]] = worth
            row["loss"] = worth.loss
            row.update(columns_of("cost", worth.cost.cost))
            row.update({"margin": margin, "cost verdict": worth.cost.outcome})
            could = worth.cost.needs or Needs(None, None)
            row["seeds that could tell"], row["images that could tell"] = could
        if row["reason"] is not None:
            continue
        if worth is None or worth.retained.value is None:
            row["reason"] = "what it retains of the utility cannot be told"
        elif worth.retained.value < rules.floor:
            row["reason"] = f"retains less than {rules.floor:.0%} of the utility"
    notes += _about_costs(costs, _MEASURES[measure], margin)


_MEASURES = {"auc": "AUC", "jaccard": "Jaccard"}


def _about_costs(costs: Mapping[str, Worth], measure: str, margin: float) -> list[str]:
    """Return what could tell the costs that cannot be told, and what their intervals are over."""
    few = [name for name, worth in costs.items() if len(worth.sample.per_seed) < MINIMUM_SEEDS]
    if few:
        return [f"what a defense costs is judged from {MINIMUM_SEEDS} seeds on"]
    unknown = [
        f"{name} ({needs_in_words(worth.cost.needs)})"
        for name, worth in costs.items()
        if worth.cost.needs is not None
    ]
    if not unknown:
        return []
    paired = all(worth.sample.on_images is not None for worth in costs.values())
    alone = "" if paired else "; judged by seeds alone, since no answers per image are known"
    return [
        f"whether it costs more than {margin:g} of {measure} cannot be told of "
        f"{', '.join(unknown)}{alone}"
    ]


def needs_in_words(needs: Needs) -> str:
    """Return what could tell a cost from its margin."""
    if needs == Needs(None, None):
        return "no number of seeds or held-out images alone could tell"
    ways = []
    if needs.seeds is not None:
        ways.append(f"{needs.seeds} seeds")
    if needs.images is not None:
        ways.append(f"{needs.images} held-out images")
    return f"{' or '.join(ways)} could tell, if the cost is as measured"
