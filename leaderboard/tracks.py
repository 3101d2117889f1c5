"""Tracks: official grids as data files, with the table or figure made from their records."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from splitsec.cells.cell import Cell
from splitsec.cells.requests import Request
from splitsec.cells.resolve import resolve
from splitsec.errors import UsageError, unknown_name

_PROFILES = ("quick", "standard", "paper")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scale(_Frozen):
    """The size of a track under one profile.

    Attributes:
        data: data set.
        size: image size, or None for the profile's.
        seeds: number of seeds; they run from 0 to n-1.
        threads: CPU threads of a cell, or None for the profile's.
        settings: as for ``--set``; a grid's own settings win.
        grid: replaces the track's grid if the profile needs another one.
    """

    data: str
    size: str | None = None
    seeds: int = Field(default=1, ge=1)
    threads: int | None = None
    settings: tuple[str, ...] = ()
    grid: tuple[Request, ...] = ()

    def applied(self, request: Request, profile: str) -> Request:
        """Return a track's request at this scale.

        Raises:
            UsageError: the size is not a whole number.
        """
        return request.replaced(
            profile=profile,
            data=self.data,
            size=self.size,
            seed=range(self.seeds),
            threads=self.threads,
            settings=[*self.settings, *request.settings],
        )


class ReportClaim(_Frozen):
    """A claim of the report, as a difference that can be computed from records.

    Attributes:
        says: the report's words, or ours for the content of its figures.
        measure: the measure to compare, a column of :func:`splitsec.leaderboard.tables.load`.
        of: columns and values that select the records.
        against: columns and values of the records that they are paired with by seed, or None.
        value: the report's own figure, for a comparison with that instead.
        expects: the difference for which the claim holds.
        margin: a difference within it counts as none.
        why: the reason that it holds or not.
    """

    says: str
    measure: str
    of: dict[str, Any]
    against: dict[str, Any] | None = None
    value: float | None = None
    expects: Literal["higher", "lower", "same"]
    margin: float = Field(default=0.0, ge=0)
    why: str = ""

    @model_validator(mode="after")
    def _one_comparison(self) -> ReportClaim:
        if (self.against is None) == (self.value is None):
            raise ValueError("a claim compares with either 'against' or 'value'")
        return self


class Track(_Frozen):
    """One table or figure.

    Attributes:
        name: name of its file.
        title: text above the table or figure.
        report: description of the report's table or figure.
        note: note on ours for the reader; without numbers, which come from records.
        claims: claims to test on its records.
        kind: how it is drawn.
        rows: columns that distinguish the rows of its table.
        columns: measures of its table, which figures of attacks have too.
        lines: columns that distinguish a figure's lines or pictures.
        curves: curves of a figure, as ``stage/name``.
        report_columns: measures for which the original report has numbers.
        reported: the original report's rows.
        grid: requests to run.
        scales: profile to its size.
    """

    name: str
    title: str
    report: str
    note: str = ""
    claims: tuple[ReportClaim, ...] = ()
    kind: Literal["table", "curves", "images", "masks", "activations"]
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    report_columns: tuple[str, ...] = ()
    reported: tuple[dict[str, Any], ...] = ()
    grid: tuple[Request, ...] = ()
    scales: dict[str, Scale]

    def cells(self, profile: str) -> list[Cell]:
        """Return the track's cells under a profile.

        Raises:
            UsageError: the track has no size for this profile, or a request is invalid.
        """
        if profile not in self.scales:
            known = ", ".join(self.scales)
            raise UsageError(f"track {self.name!r} has no size for profile {profile!r}: {known}")
        scale = self.scales[profile]
        requests = [scale.applied(request, profile) for request in scale.grid or self.grid]
        return [cell for request in requests for cell in resolve(request)]


def published_records(track: str) -> Path | None:
    """Return the folder of a ranked track's published records; None where it is not installed.

    Records are part of a checkout, and of no wheel.
    """
    folder = Path(__file__).resolve().parent / "records" / track
    return folder if folder.is_dir() else None


def list_tracks() -> list[str]:
    """Return the names of all tracks, tables first, in the report's order."""
    files = resources.files("splitsec.leaderboard").joinpath("tracks").iterdir()
    names = [file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")]

    def order(name: str) -> tuple[bool, int, str]:
        digits = "".join(filter(str.isdigit, name))
        return not name.startswith("table"), int(digits or 0), name

    return sorted(names, key=order)


def get_track(name: str) -> Track:
    """Return a track.

    Raises:
        UsageError: no track has that name, or its file is invalid.
    """
    if name not in list_tracks():
        raise UsageError(unknown_name("track", name, list_tracks()))
    file = resources.files("splitsec.leaderboard").joinpath("tracks", f"{name}.toml")
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    scales = {profile: values.pop(profile) for profile in _PROFILES if profile in values}
    try:
        return Track(name=name, scales=scales, **values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"track {name!r}: {where}: {first['msg']}") from None
