"""Draws leakage against utility for a report, as SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from splitsec.leaderboard.report_rows import Limits, ReportRow
from splitsec.metrics.figures import Estimate

_LIMIT, _UNDEFENDED, _DEFENDED = "#9a3412", "#0b5fae", "#00735c"


def tradeoff(rows: Sequence[ReportRow], limits: Limits) -> str:
    """Return an SVG of each row's leakage against its utility, with the limit of leakage.

    Args:
        rows: the rows, numbered from 1; those without a utility are left out.
        limits: what the person allows.
    """
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "splitsec"}):
        figure = Figure(figsize=(6.4, 3.6))
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        for number, row in enumerate(rows, 1):
            if row.utility.value is not None and row.leakage.value is not None:
                _point(axes, number, row, (row.utility.value, row.leakage.value))
        if limits.leakage is not None:
            _limit(axes, limits.leakage)
        xlabel = f"what the model is worth ({rows[0].measure})"
        axes.set(ylim=(0, 1.02), xlabel=xlabel, ylabel="leakage")
        axes.grid(color="#e7e7e1")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        held = io.StringIO()
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg)", "", held.getvalue(), flags=re.DOTALL)


def _point(axes: Axes, number: int, row: ReportRow, at: tuple[float, float]) -> None:
    colour = _UNDEFENDED if row.undefended else _DEFENDED
    axes.errorbar(
        [at[0]],
        [at[1]],
        xerr=_bar(row.utility),
        yerr=_bar(row.leakage),
        fmt="o",
        color=colour,
        elinewidth=0.8,
        markersize=5,
    )
    axes.annotate(
        str(number), at, xytext=(5, 5), textcoords="offset points", fontsize=9, color=colour
    )


def _bar(estimate: Estimate) -> list[list[float]] | None:
    """Return how far the interval reaches to both sides of the value, as matplotlib takes it."""
    value, low, high = estimate
    if value is None or low is None or high is None:
        return None
    return [[max(value - low, 0)], [max(high - value, 0)]]


def _limit(axes: Axes, leakage: float) -> None:
    axes.axhline(leakage, color=_LIMIT, linestyle="--", linewidth=1)
    axes.text(
        0.99,
        leakage,
        "your limit",
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="bottom",
        color=_LIMIT,
        fontsize=9,
    )
