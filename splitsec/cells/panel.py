"""Draws the pictures of a cell: the reconstructions beside the originals, and training curves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from splitsec.records.record import Record

Images = NDArray[np.float32]
Values = NDArray[np.floating[Any]]

_FORMATS = {"MSE": "{:.4f}", "PSNR": "{:.1f}", "SSIM": "{:.2f}", "LPIPS": "{:.2f}"}
_UNITS = {"PSNR": "PSNR, dB"}
_LARGEST_DIFFERENCE = 0.5  # drawn in the brightest colour
_SMOOTHED_OVER = 20  # one twentieth of a curve is averaged
_INCH, _LEFT, _LINE, _TOP = 1.45, 1.2, 0.185, 0.5  # inches: an image, margins, a line of text
_CELL, _PLOT = (4.2, 2.8), (3.15, 1.95)  # inches: a curve with its texts, and its frame


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
    width, height = _CELL[0] * columns, _CELL[1] * rows + 0.5
    figure = Figure(figsize=(width, height), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))  # in inches, as in the panel and for the same reason
    axes.set_axis_off()
    for place, curve in enumerate(curves):
        row, column = divmod(place, columns)
        corner = (_CELL[0] * column + 0.85, height - 0.65 - _CELL[1] * row - _PLOT[1])
        _plot(axes, curve, *corner)
    heading, size = fit_title(record.spec.title(), width)
    style: dict[str, Any] = {"va": "center", "fontsize": size, "parse_math": False}
    axes.text(width / 2, height - 0.2, heading, ha="center", **style)
    axes.set(xlim=(0, width), ylim=(0, height))
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


class _Scale(NamedTuple):
    """Where the values of one axis of a plot are drawn, from ``start`` on, in inches."""

    low: float
    high: float
    start: float
    length: float

    @classmethod
    def of(cls, values: Values, start: float, length: float) -> _Scale:
        """Return a scale that shows all finite values."""
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        middle = (low + high) / 2
        half = 0.55 * (high - low) or 0.05 * (abs(middle) or 1.0)
        return cls(middle - half, middle + half, start, length)

    def place(self, values: Values) -> Values:
        """Return the places of values."""
        return self.start + self.length * (values - self.low) / (self.high - self.low)

    def ticks(self) -> Values:
        """Return some round values on the scale."""
        locator = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10])
        found = np.asarray(locator.tick_values(self.low, self.high))
        shown: Values = found[(found >= self.low) & (found <= self.high)] + 0.0  # no -0
        return shown


def _plot(axes: Axes, curve: Curve, left: float, bottom: float) -> None:
    """Draw a curve into a frame with its lower left corner there, in inches."""
    width, height = _PLOT
    values = np.array(curve.values, np.float64)
    steps = np.arange(1, len(values) + 1) * (curve.steps / len(values))
    across, up = _Scale.of(steps, left, width), _Scale.of(values, bottom, height)
    style: dict[str, Any] = {"ha": "center", "va": "center", "parse_math": False}
    lines = []
    for tick, x in zip(across.ticks(), across.place(across.ticks()), strict=True):
        lines.append([(x, bottom - 0.04), (x, bottom + height)])
        axes.text(x, bottom - 0.13, f"{tick:.6g}", fontsize=8, **style)
    for tick, y in zip(up.ticks(), up.place(up.ticks()), strict=True):
        lines.append([(left - 0.04, y), (left + width, y)])
        axes.text(left - 0.07, y, f"{tick:.6g}", fontsize=8, **style | {"ha": "right"})
    axes.add_collection(LineCollection(lines, colors="0.88", linewidths=0.8))
    axes.add_patch(Rectangle((left, bottom), width, height, fill=False, linewidth=0.8))
    window = max(1, len(values) // _SMOOTHED_OVER)
    alone = "o" if len(values) == 1 else None  # a line of one point would not be seen
    colour = "0.75" if window > 1 else "C0"
    points = across.place(steps), up.place(values)
    axes.plot(*points, color=colour, linewidth=0.8 + (window == 1), marker=alone)
    below = bottom - 0.33
    if window > 1:
        smooth = np.convolve(points[1], np.ones(window) / window, "valid")
        axes.plot(points[0][window - 1 :], smooth, color="C0", linewidth=1.6)
        label = f"mean of {window} values"
        axes.text(left + width, below, label, color="C0", fontsize=7, **style | {"ha": "right"})
    name = curve.title.rpartition(": ")[2]
    axes.text(left + width / 2, bottom + height + 0.12, curve.title, fontsize=10, **style)
    axes.text(left + width / 2, below, curve.axis, fontsize=9, **style)
    axes.text(left - 0.68, bottom + height / 2, name, fontsize=9, rotation=90, **style)
