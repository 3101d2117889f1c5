"""Cells of the report at its own size, cut down to a few exchanges on drawn images."""

from __future__ import annotations

from typing import NamedTuple

from splitsec.cells.cell import Cell
from splitsec.cells.resolve import resolve
from splitsec.leaderboard.tracks import get_track, list_tracks

DRAWN = {"classification": "phantom-fundus", "segmentation": "phantom-cxr"}
COUNTS = {"private": 64, "public": 64, "validation": 8, "held_out": 12, "victims": 6}
SHORT = {"adra": ["attack.adra.epochs=1"], "fsha": ["attack.fsha.iterations=2"]}


class RealSize(NamedTuple):
    """One kind of cell.

    Attributes:
        tracks: rows of the report that have such cells.
        whole: the cell, as the report has it.
        cut_down: the same networks and sizes, for two exchanges.
    """

    tracks: list[str]
    whole: Cell
    cut_down: Cell


def of_the_report() -> list[RealSize]:
    """Return each kind of cell under the profile ``paper`` once."""
    found: dict[str, RealSize] = {}
    for name in list_tracks():
        track = get_track(name)
        scale = track.scales["paper"]
        for request in scale.grid or track.grid:
            asked = scale.applied(request, "paper").replaced(seed="0")
            cells = resolve(asked)
            task = "segmentation" if cells[0].spec.target == "unet" else "classification"
            short = asked.replaced(
                data=DRAWN[task],
                size=[cells[0].spec.size],
                settings=[
                    *asked.settings,
                    *(f"counts.{part}={count}" for part, count in COUNTS.items()),
                    "training.epochs=1",
                    *(
                        one
                        for attack, own in SHORT.items()
                        if attack in asked.attack
                        for one in own
                    ),
                ],
            )
            for whole, cut_down in zip(cells, resolve(short), strict=True):
                kind = cut_down.spec.model_dump_json()
                kept = found.setdefault(kind, RealSize([], whole, cut_down))
                if name not in kept.tracks:
                    kept.tracks.append(name)
    return list(found.values())
