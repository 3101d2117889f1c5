"""Pictures: they are written, are the same twice, and show what they were given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from splitsec.cells.panel import curves_of, draw_curves, draw_panel, fit_title
from support.records import make_record


def images(count: int, channels: int, seed: int = 0, size: int = 8) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return generator.random((count, channels, size, size), dtype=np.float32)


def draw(path: Path, count: int, channels: int, lpips: float | None = 0.2) -> NDArray[np.uint8]:
    scores = {"MSE": 0.0123, "PSNR": 18.3, "SSIM": 0.61, "LPIPS": lpips}
    draw_panel(
        path,
        title="fsha against dcor on resnet cut 3, phantom-fundus 32 px, seed 0",
        originals=images(count, channels),
        reconstructions=images(count, channels, seed=1),
        trivial=images(count, channels, seed=2),
        scores=[scores] * count,
    )
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 10])
def test_the_panel_is_a_png_that_is_wide_as_its_columns(
    tmp_path: Path, count: int, channels: int
) -> None:
    picture = draw(tmp_path / "panel.png", count, channels)
    assert picture.shape[1] > 150 * count
    assert picture.std() > 10
    if channels == 1:
        # Grey images are drawn grey: colour is left to the difference and its scale.
        row = picture[70 : 70 + 100].astype(int)
        assert (row.max(-1) - row.min(-1)).max() == 0


def test_the_panel_shows_the_pixels_it_was_given(tmp_path: Path) -> None:
    black, white = np.zeros((1, 3, 4, 4), np.float32), np.ones((1, 3, 4, 4), np.float32)
    path = tmp_path / "panel.png"
    draw_panel(path, title="t", originals=black, reconstructions=white, trivial=black, scores=[{}])
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    column = picture[:, picture.shape[1] - 100]
    dark = np.flatnonzero(column.max(-1) < 30)
    runs = np.split(dark, np.flatnonzero(np.diff(dark) > 1) + 1)
    # The original and the guess are black, the recovered image between them is white.
    assert [len(run) > 150 for run in runs] == [True, True]


def test_missing_lpips_is_drawn_and_the_picture_is_the_same_twice(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 2, 3, lpips=None)
    draw(tmp_path / "b.png", 2, 3, lpips=None)
    draw(tmp_path / "c.png", 2, 3, lpips=0.2)
    first = (tmp_path / "a.png").read_bytes()
    assert first == (tmp_path / "b.png").read_bytes()
    assert first != (tmp_path / "c.png").read_bytes()


def test_curves_of_every_kind(tmp_path: Path) -> None:
    history = make_record().history
    nan = float("nan")
    histories = {
        "usual": history,
        "none": {},
        "diverged": {"attack": {"loss": [1.0, nan, nan]}},
        "one value": {"training": {"loss": [1.0]}},
        "no formula": {"attack": {"$\\x$": [1.0]}},
    }
    sizes = {}
    for name, one in histories.items():
        path = tmp_path / f"{name}.png"
        draw_curves(path, make_record(history=one))
        sizes[name] = Image.open(path).size
    # Two curves hold values; the empty one gets no axes.
    assert sizes["usual"][0] == 2 * sizes["one value"][0]


def test_the_horizontal_axis_counts_exchanges_where_it_can() -> None:
    active = {curve.title: curve for curve in curves_of(make_record())}
    assert active["honest training: loss"].steps == 160
    assert active["attack: client loss"].steps == 600
    assert active["attack: client loss"].axis == "exchange"
    passive = {curve.title: curve for curve in curves_of(make_record(threat_model={}))}
    assert passive["attack: client loss"].steps == 60
    assert passive["attack: client loss"].axis == "value"


@pytest.mark.parametrize("inches", [2.75, 4.2, 12.9])
@pytest.mark.parametrize("settings", [0, 8])
def test_a_title_fits_above_its_picture(inches: float, settings: int) -> None:
    title = (
        "adra against dcor:alpha=0.9 on resnet cut 3, retinamnist 32 px" + ", counts=1" * settings
    )
    text, size = fit_title(title, inches)
    figure = Figure(figsize=(inches, 3), dpi=110)
    drawn = figure.text(0.5, 0.5, text, fontsize=size)
    box = drawn.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert text.replace("\n", " ") == title
    assert box.width <= 110 * inches
    assert box.height <= 110 * 0.5
