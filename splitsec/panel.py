"""Pictures of a cell: what was recovered, and how training went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from splitsec.record import Record

_FORMATS = {"MSE": "{:.4f}", "PSNR": "{:.1f} dB", "SSIM": "{:.2f}", "LPIPS": "{:.2f}"}
_SMOOTHED_OVER = 50  # one fiftieth of a curve is averaged


def draw_panel(  # noqa: PLR0913 - the rows of the picture
    path: Path,
    *,
    title: str,
    originals: NDArray[np.float32],
    reconstructions: NDArray[np.float32],
    trivial: NDArray[np.float32],
    scores: list[dict[str, float]],
) -> None:
    """Draw originals, reconstructions, differences and the guess of who sees nothing.

    Args:
        path: the PNG to write.
        title: above the picture.
        originals: shape (n, C, H, W), in [0, 1].
        reconstructions: the same shape.
        trivial: the same shape.
        scores: per column, measure to value.
    """
    columns = len(originals)
    rows = {
        "original": originals,
        "recovered": reconstructions,
        "|difference|, to 0.5": np.abs(originals - reconstructions).mean(1, keepdims=True),
        "sees nothing": trivial,
    }
    lines = max(len(score) for score in scores)
    figure = Figure(figsize=(1.1 + 1.45 * columns, 0.7 + 1.45 * len(rows) + 0.19 * lines), dpi=130)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, (name, images) in zip(grid, rows.items(), strict=True):
        for column, axes in enumerate(axes_row):
            difference = "difference" in name
            _show(axes, images[column], cmap="inferno" if difference else "gray",
                  top=0.5 if difference else 1.0)  # fmt: skip
        axes_row[0].set_ylabel(name, fontsize=10, rotation=90, labelpad=6)
    for column, score in enumerate(scores):
        text = "\n".join(f"{name} {_FORMATS[name].format(value)}" for name, value in score.items())
        grid[-1][column].set_xlabel(text, fontsize=9)
    figure.suptitle(title, fontsize=12)
    height = figure.get_figheight()
    figure.subplots_adjust(
        left=0.5 / figure.get_figwidth(), right=0.995, top=1 - 0.45 / height,
        bottom=(0.19 * lines + 0.15) / height, wspace=0.05, hspace=0.08,
    )  # fmt: skip
    figure.savefig(path, format="png", metadata={"Software": None})


def _show(axes: Axes, image: NDArray[np.float32], cmap: str, top: float) -> None:
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    axes.imshow(pixels, cmap=cmap, vmin=0, vmax=top, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_curves(path: Path, record: Record) -> None:
    """Draw the honest session's loss and the attack's own curves.

    Args:
        path: the PNG to write.
        record: its ``history`` is drawn.
    """
    curves = [
        (f"honest training: {name}" if stage == "training" else name, values)
        for stage, named in record.history.items()
        for name, values in named.items()
        if values
    ]
    columns = min(3, max(len(curves), 1))
    rows = -(-max(len(curves), 1) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.7 * rows + 0.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, values) in zip(grid, curves, strict=False):
        window = max(1, len(values) // _SMOOTHED_OVER)
        steps = np.linspace(0, 1, len(values))
        axes.plot(steps, values, color="0.75", linewidth=0.8)
        if window > 1:
            smooth = np.convolve(values, np.ones(window) / window, "valid")
            axes.plot(steps[window - 1 :], smooth, color="C0", linewidth=1.6)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("share of the session", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    for axes in grid[len(curves) :]:
        axes.set_visible(False)
    figure.suptitle(record.spec.title(), fontsize=11)
    figure.savefig(path, format="png", metadata={"Software": None})
