"""Tracks: official grids, as data, and what is drawn from their records."""

from __future__ import annotations

import tomllib
from importlib import resources
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
    """How large a track is under one profile.

    Attributes:
        data: data set.
        size: image size, or None for the profile's.
        seeds: seeds 0 to n-1.
        threads: CPU threads of a cell, or None for the profile's.
        settings: as of ``--set``; a grid's own settings win.
        grid: replaces the track's grid where the profile needs another one.
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
    """Something that the report says, as a difference that records can tell.

    Attributes:
        says: the report's words, or ours for what its figures show.
        measure: what is compared, a column of :func:`splitsec.leaderboard.tables.load`.
        of: columns and values that tell the records at issue.
        against: columns and values of the records that they are paired with by seed, or None.
        value: the report's own figure, to be compared with instead.
        expects: what the difference must be for the claim to hold.
        margin: a difference within it counts as none.
        why: what makes it hold, or not.
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
        name: of its file.
        title: above the table or figure.
        report: what the report shows there.
        note: what a reader should know of ours; no numbers, which come from records.
        claims: what is tested on its records.
        kind: how it is drawn.
        rows: columns that tell the rows of its table apart.
        columns: measures of its table, which figures of attacks have too.
        lines: columns that tell a figure's lines or pictures apart.
        curves: of a figure, as ``stage/name``.
        report_columns: measures for which the original report has figures.
        reported: the original report's rows.
        grid: what is run.
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
            UsageError: the track has no size for this profile, or asks for what cannot be.
        """
        if profile not in self.scales:
            known = ", ".join(self.scales)
            raise UsageError(f"track {self.name!r} has no size for profile {profile!r}: {known}")
        scale = self.scales[profile]
        requests = [scale.applied(request, profile) for request in scale.grid or self.grid]
        return [cell for request in requests for cell in resolve(request)]


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
        UsageError: there is none of that name, or its file is wrong.
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
