"""Draws the pictures of a cell: the reconstructions beside the originals, and training curves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from splitsec.records.record import Record

Images = NDArray[np.float32]

_FORMATS = {"MSE": "{:.4f}", "PSNR": "{:.1f}", "SSIM": "{:.2f}", "LPIPS": "{:.2f}"}
_UNITS = {"PSNR": "PSNR, dB"}
_LARGEST_DIFFERENCE = 0.5  # drawn in the brightest colour
_SMOOTHED_OVER = 20  # one twentieth of a curve is averaged
_INCH, _LEFT, _LINE, _TOP = 1.45, 1.2, 0.185, 0.5  # inches: an image, margins, a line of text


class _Row(NamedTuple):
    name: str
    images: Images
    is_difference: bool = False


def draw_panel(
    path: Path,
    *,
    title: str,
    originals: Images,
    reconstructions: Images,
    trivial: Images,
    scores: Sequence[Mapping[str, float | None]],
) -> None:
    """Draw originals, reconstructions, differences and the best blind guess.

    Args:
        path: the PNG to write; ``splitsec.files.write_atomically`` makes the write atomic.
        title: text above the picture.
        originals: shape (n, C, H, W), in [0, 1], C being 1 or 3.
        reconstructions: the same shape.
        trivial: the same shape; the guesses of the strongest blind attacker.
        scores: per column, measure to value of the reconstruction; None if not available.
    """
    difference = np.abs(originals - reconstructions).mean(1, keepdims=True)
    rows = [
        _Row("original", originals),
        _Row("recovered", reconstructions),
        _Row("difference", difference, is_difference=True),
        _Row("sees nothing:\nbest guess", trivial),
    ]
    columns, lines = len(originals), len(scores[0]) if scores else 0
    width = _LEFT + _INCH * columns + 0.1
    text = _LINE * lines + 0.25
    height = _TOP + _INCH * len(rows) + text + 0.1
    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    # One pair of axes in inches: a pair for each image would take most of the time.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for place, row in enumerate(rows):
        # The scores belong to the difference above them, not to the guess below.
        below = height - _TOP - _INCH * (place + 1) - (text if place == len(rows) - 1 else 0)
        for column in range(columns):
            _show(axes, row.images[column], row.is_difference, _LEFT + _INCH * column, below)
        _label(axes, below + _INCH / 2, row.name)
        if row.is_difference:
            _scale(axes, below + 0.26)
            _write_scores(axes, scores, below)
    heading, size = fit_title(title, width)
    axes.text(width / 2, height - 0.25, heading, ha="center", va="center", fontsize=size)
    axes.set(xlim=(0, width), ylim=(0, height))
    figure.savefig(path, format="png", metadata={"Software": None})


def fit_title(title: str, inches: float) -> tuple[str, float]:
    """Return a title in lines that fit, and their font size: the largest up to 12 points.

    Args:
        title: text of one line.
        inches: width of the picture.
    """
    for size in (12.0, 10.0, 8.0, 7.0, 6.0, 5.0):
        lines = textwrap.wrap(title, int(72 * (inches - 0.2) / (0.65 * size)))
        if len(lines) * 1.3 * size <= 72 * _TOP:
            break
    return "\n".join(lines), size


def _label(axes: Axes, y: float, text: str) -> None:
    axes.text(_LEFT - 0.12, y, text, ha="right", va="center", ma="right", fontsize=9.5)


def _show(axes: Axes, image: Images, is_difference: bool, x: float, y: float) -> None:
    side = _INCH - 0.06
    axes.imshow(
        image[0] if len(image) == 1 else image.transpose(1, 2, 0),
        cmap="inferno" if is_difference else "gray",
        vmin=0,
        vmax=_LARGEST_DIFFERENCE if is_difference else 1,
        interpolation="nearest",
        extent=(x, x + side, y, y + side),
        aspect="auto",
    )


def _scale(axes: Axes, y: float) -> None:
    """Draw the colour scale of the differences, left of their row."""
    left, right = 0.2, 0.95
    colours = np.linspace(0, 1, 64)[None]
    axes.imshow(colours, cmap="inferno", aspect="auto", extent=(left, right, y, y + 0.09))
    for x, value in ((left, "0"), (right, f"{_LARGEST_DIFFERENCE:g}")):
        axes.text(x, y - 0.03, value, ha="center", va="top", fontsize=8)


def _write_scores(axes: Axes, scores: Sequence[Mapping[str, float | None]], top: float) -> None:
    """Write one line per measure: its name on the left, a value below each column."""
    for line, name in enumerate(scores[0] if scores else ()):
        y = top - 0.08 - _LINE * (line + 0.5)
        _label(axes, y, _UNITS.get(name, name))
        for column, score in enumerate(scores):
            value = score[name]
            text = "n/a" if value is None else _FORMATS.get(name, "{:.3g}").format(value)
            x = _LEFT + _INCH * (column + 0.5) - 0.03
            axes.text(x, y, text, ha="center", va="center", fontsize=9.5)


class Curve(NamedTuple):
    """A curve of a record's history, and the unit of its horizontal axis."""

    title: str
    values: list[float]
    steps: float  # the last value's place on the horizontal axis
    axis: str


def draw_curves(path: Path, record: Record) -> None:
    """Draw the honest session's loss and the attack's own curves.

    Args:
        path: the PNG to write; ``splitsec.files.write_atomically`` makes the write atomic.
        record: the record whose ``history`` is drawn.
    """
    curves = curves_of(record)
    columns = min(3, max(len(curves), 1))
    rows = -(-max(len(curves), 1) // columns)
    width, height = 4.2 * columns, 2.8 * rows + 0.5
    figure = Figure(figsize=(width, height), dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    # Margins in inches: matplotlib's layout engines draw every text twice to find them.
    figure.subplots_adjust(
        left=0.85 / width,
        right=1 - 0.2 / width,
        bottom=0.5 / height,
        top=1 - 0.65 / height,
        wspace=1.05 / (4.2 - 1.05),
        hspace=0.85 / (2.8 - 0.85),
    )
    for axes, curve in zip(grid, curves, strict=False):
        _plot(axes, curve)
    for axes in grid[len(curves) :]:
        axes.set_visible(False)
    heading, size = fit_title(record.spec.title(), width)
    figure.suptitle(heading, fontsize=size, parse_math=False)
    figure.savefig(path, format="png", metadata={"Software": None})


def curves_of(record: Record) -> list[Curve]:
    """Return all curves that hold values, and the units of their horizontal axes.

    The honest loss and an active attack's curves span their sessions' exchanges; a passive attack
    chooses its own unit.
    """
    active = record.threat_model is not None and record.threat_model.active
    curves = []
    for stage, named in record.history.items():
        honest = stage == "training"
        exchanges = record.session.get("honest_exchanges" if honest else "attacked_exchanges")
        for name, values in named.items():
            if not values:
                continue
            title = f"honest training: {name}" if honest else f"attack: {name}"
            if exchanges and (honest or active):
                curves.append(Curve(title, values, exchanges, "exchange"))
            else:
                curves.append(Curve(title, values, len(values), "value"))
    return curves


def _plot(axes: Axes, curve: Curve) -> None:
    values = np.array(curve.values, np.float64)
    steps = np.arange(1, len(values) + 1) * (curve.steps / len(values))
    window = max(1, len(values) // _SMOOTHED_OVER)
    alone = "o" if len(values) == 1 else None  # a line of one point would not be seen
    colour = "0.75" if window > 1 else "C0"
    axes.plot(steps, values, color=colour, linewidth=0.8 + (window == 1), marker=alone)
    if window > 1:
        smooth = np.convolve(values, np.ones(window) / window, "valid")
        label = f"mean of {window} values"
        axes.plot(steps[window - 1 :], smooth, color="C0", linewidth=1.6, label=label)
        axes.legend(fontsize=7, frameon=False, loc="best")
    # Few ticks and a title that is put in its place: measuring texts takes most of the time.
    axes.locator_params(nbins=5)
    axes.set_title(curve.title, y=1, fontsize=10, parse_math=False)
    axes.set_xlabel(curve.axis, fontsize=9)
    axes.set_ylabel(curve.title.rpartition(": ")[2], fontsize=9, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
