"""Draws figures from records and their pictures, each as PNG and SVG."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from splitsec.errors import DataError
from splitsec.escaping import for_figure, one_line
from splitsec.files import write_atomically
from splitsec.leaderboard import tables
from splitsec.records.record import Record

_INCH = 1.3
_STYLES = ("-", (0, (6, 3)), (0, (3, 5)), (0, (1, 7)))  # lines on top of each other show through
_SMOOTHED_OVER = 30  # one thirtieth of a curve is averaged

Pictures = Mapping[str, NDArray[Any]]


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG; ``path`` has no suffix."""
    FigureCanvasAgg(figure)
    files = [path.with_suffix(".png"), path.with_suffix(".svg")]
    for file in files:
        # No date in the file, so that the same records give the same file.
        metadata = {"Software": None} if file.suffix == ".png" else {"Date": None}
        write_atomically(
            file,
            partial(figure.savefig, format=file.suffix[1:], metadata=metadata, dpi=130),
        )
    return files


def curves(
    title: str, records: Sequence[Record], lines: Sequence[str], names: Sequence[str]
) -> Figure:
    """Draw training curves, one panel per curve and one line per combination of ``lines``.

    Args:
        title: text above the figure.
        records: the records; seeds of one line are averaged.
        lines: columns of :func:`splitsec.leaderboard.tables.load` that distinguish lines.
        names: names of the curves, as ``stage/name``.

    Raises:
        DataError: no record has such a curve.
    """
    columns = 2 if len(names) == 4 else min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.2 * columns, 3 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        stage, _, curve = name.partition("/")
        grouped: dict[str, list[list[float]]] = {}
        for record in records:
            values = record.history.get(stage, {}).get(curve)
            if values:
                grouped.setdefault(for_figure(tables.label(record, lines)), []).append(values)
        if not grouped:
            raise DataError(f"no record has the curve {name!r}")
        for (label, runs), style in zip(grouped.items(), itertools.cycle(_STYLES), strict=False):
            _line(axes, label, runs, style)
        axes.set_title(curve, fontsize=10, parse_math=False)
        axes.set_xlabel(_axis(stage, curve), fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        if len(grouped) > 1:
            axes.legend(fontsize=8, frameon=False)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    figure.suptitle(for_figure(textwrap.fill(title, 42 * columns)), fontsize=11)
    return figure


def _axis(stage: str, curve: str) -> str:
    if stage == "training":
        return "epoch" if curve.startswith("validation") else "exchange"
    return "epoch" if curve in ("decoder loss", "kept pairs") else "every tenth exchange"


def _line(axes: Axes, label: str, runs: Sequence[Sequence[float]], style: Any) -> None:
    length = min(map(len, runs))
    values = np.array([run[:length] for run in runs], np.float64)
    window = max(1, length // _SMOOTHED_OVER) if length > 60 else 1
    kernel = np.ones(window) / window
    smooth = np.array([np.convolve(run, kernel, "valid") for run in values])
    steps = np.arange(window, length + 1)
    (drawn,) = axes.plot(steps, smooth.mean(0), linewidth=1.5, label=label, linestyle=style)
    if len(runs) > 1:
        low, high = smooth.min(0), smooth.max(0)
        axes.fill_between(steps, low, high, color=drawn.get_color(), alpha=0.15, linewidth=0)


def images(title: str, rows: Sequence[tuple[str, NDArray[Any]]]) -> Figure:
    """Draw rows of images beside their names.

    Args:
        title: text above the figure.
        rows: name and images of shape (n, C, H, W) as bytes, with C 1 or 3.
    """
    columns = max(len(pictures) for _, pictures in rows)
    figure = Figure(figsize=(1.4 + _INCH * columns, 0.5 + _INCH * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, pictures) in enumerate(rows):
        for column in range(columns):
            axes = grid[line][column]
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if column < len(pictures):
                picture = pictures[column]
                shown = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
                axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        grid[line][0].set_ylabel(
            for_figure(name), rotation=0, ha="right", va="center", fontsize=9, labelpad=6
        )
    figure.suptitle(for_figure(title), fontsize=11)
    return figure


def attacked(
    title: str, records: Sequence[tuple[Record, Pictures]], columns: Sequence[str]
) -> Figure:
    """Draw the first victims and their reconstructions in each record.

    Args:
        title: text above the figure.
        records: records and their pictures.
        columns: columns of :func:`splitsec.leaderboard.tables.load` that distinguish rows.
    """
    first = records[0][1]
    rows = [("original", first["originals"])]
    for record, pictures in records:
        name = one_line(tables.label(record, columns)).replace(", ", ",\n")
        rows.append((name, pictures["reconstructions"]))
    rows.append(("sees nothing:\nbest guess", first["trivial"]))
    return images(title, rows)


def masks(title: str, pictures: Pictures) -> Figure:
    """Draw held-out images, their masks and the predicted ones."""
    return images(
        title,
        [
            ("image", pictures["held_out"]),
            ("actual mask", 255 * pictures["masks"]),
            ("predicted", 255 * pictures["predicted"]),
        ],
    )


def activations(title: str, pictures: Pictures) -> Figure:
    """Draw a few channels of each client layer's activations for one image."""
    named = sorted(
        (name for name in pictures if name.startswith("layer ")),
        key=lambda name: int(name.split()[1]),
    )
    if not named:
        raise DataError("the record keeps no activations: the client's layers are not a sequence")
    rows = [("image", pictures["held_out"][:1])]
    for name in named:
        maps = pictures[name].astype(np.float32)
        low, high = maps.min(), maps.max()
        scaled = (255 * (maps - low) / max(high - low, 1e-6)).astype(np.uint8)
        rows.append((name, scaled[:, None]))
    return images(title, rows)
