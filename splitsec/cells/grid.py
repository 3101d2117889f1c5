"""Grid files: requests written down, so that a whole grid is one command.

Reading one needs neither torch nor a plug-in; its cells do.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from splitsec.errors import UsageError, unknown_name
from splitsec.isolation import Isolation

if TYPE_CHECKING:
    from splitsec.cells.cell import Cell


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Grid(_Frozen):
    """One request, as ``splitsec eval`` takes it; what varies is a list or text with commas.

    Attributes:
        attack: attacks.
        defense: defenses.
        target: targets, or None for the profile's.
        data: data sets, or None for the profile's.
        cut: cut layers, or None for the target's default.
        size: image sizes in pixels, or None for the profile's.
        channels: 1 or 3.
        clients: number of clients.
        public_from: ``"same"`` or ``"shifted"``.
        settings: as of ``--set``.
        sweeps: as of ``--sweep``.
    """

    attack: str
    defense: str = "none"
    target: str | None = None
    data: str | None = None
    cut: str | None = None
    size: str | None = None
    channels: Literal[1, 3] = 3
    clients: int = Field(default=1, ge=1)
    public_from: Literal["same", "shifted"] = "same"
    settings: tuple[str, ...] = ()
    sweeps: tuple[str, ...] = ()

    @field_validator("attack", "defense", "target", "data", "cut", "size", mode="before")
    @classmethod
    def _joined(cls, value: object) -> object:
        if isinstance(value, list):
            return ",".join(map(str, value))
        return str(value) if isinstance(value, int) else value


class GridFile(_Frozen):
    """A file of grids.

    Attributes:
        title: what it is for.
        profile: where all other settings come from.
        seeds: seeds 0 to n-1.
        threads: CPU threads of a cell, or None for the profile's.
        settings: as of ``--set``, for every grid; a grid's own win.
        grid: the requests.
    """

    title: str = ""
    profile: str = "quick"
    seeds: int = Field(default=1, ge=1)
    threads: int | None = Field(default=None, ge=1)
    settings: tuple[str, ...] = ()
    grid: tuple[Grid, ...] = Field(min_length=1)

    def cells(self, isolation: Isolation | None = None) -> list[Cell]:
        """Return all cells, each once.

        Args:
            isolation: how attacks are kept apart; by default they run in this process.

        Raises:
            UsageError: an unknown name, parameter or cut, or a value out of range.
            PluginError: a plug-in cannot be loaded.
        """
        cells: dict[str, Cell] = {}
        for grid in self.grid:
            resolved = cells_of(
                grid,
                profile=self.profile,
                seeds=self.seeds,
                threads=self.threads,
                settings=self.settings,
                isolation=isolation,
            )
            cells |= {cell.spec.model_dump_json(): cell for cell in resolved}
        return list(cells.values())


def cells_of(
    grid: Grid,
    *,
    profile: str,
    seeds: int,
    threads: int | None,
    settings: tuple[str, ...],
    isolation: Isolation | None = None,
) -> list[Cell]:
    """Resolve one grid under the settings that several share; its own settings win.

    Raises:
        UsageError: see :func:`splitsec.cells.resolve.resolve`.
        PluginError: likewise.
    """
    from splitsec.cells.resolve import resolve

    asked = grid.model_dump(exclude={"settings"})
    return resolve(
        **asked,
        profile=profile,
        seeds=range(seeds),
        threads=threads,
        settings=[*settings, *grid.settings],
        isolation=isolation,
    )


def load_grid(path: Path) -> GridFile:
    """Read a grid file.

    Raises:
        UsageError: it is not there, no TOML, or asks for what is not known.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the grid {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    try:
        return GridFile.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{path}: {_sentence(error, values)}") from None


def _sentence(error: ValidationError, values: Mapping[str, Any]) -> str:
    """Return what is wrong with a grid file, in one sentence."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        inside = len(first["loc"]) > 1
        fields = (Grid if inside else GridFile).model_fields
        return unknown_name(
            f"key of {where.rpartition('.')[0] or 'the file'}:", str(first["loc"][-1]), fields
        )
    if where == "grid":
        return f"grid: at least one [[grid]] is due, and there are {len(values.get('grid', []))}"
    return f"{where}: {first['msg']} (got {first['input']!r})"
