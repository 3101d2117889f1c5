"""Reads grid files: TOML files of requests, which one command runs.

Reading a file needs neither torch nor plug-ins; making its cells (:mod:`.resolve`) needs both.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from splitsec.cells.requests import Request, SettingTexts, setting_texts
from splitsec.errors import UsageError, unknown_name
from splitsec.isolation import Isolation

if TYPE_CHECKING:  # the cells need torch
    from splitsec.cells.cell import Cell


class GridFile(BaseModel):
    """A file of grids; its requests are completed with the file's shared values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(default="", description="Purpose of the grid, for the reader.")
    profile: str = Field(
        default="quick", description="Gives every setting that the file leaves open."
    )
    seeds: int = Field(default=1, ge=1, description="Number of seeds; they run from 0 to N-1.")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of each cell; the profile's by default."
    )
    margin: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Largest loss of utility that counts as none; 0.02 of an AUC and 0.01 of a "
        "Jaccard by default.",
    )
    settings: SettingTexts = Field(
        default=(), description="As for --set, for all grids; a grid's own settings win."
    )
    grid: tuple[Request, ...] = Field(
        min_length=1, description="One [[grid]] or several, with the keys below."
    )

    @field_validator("grid", mode="before")
    @classmethod
    def _with_shared(cls, tables: object, info: ValidationInfo) -> object:
        """Add the file's shared values to each table."""
        if not isinstance(tables, list | tuple):
            return tables
        said = info.data  # without invalid values, which are reported first
        shared: dict[str, Any] = {"seed": range(said.get("seeds", 1))}
        shared |= {name: said[name] for name in ("profile", "threads") if name in said}
        settings = said.get("settings", ())
        return [
            {**shared, **table, "settings": _all_settings(settings, table.get("settings", ()))}
            if isinstance(table, dict)
            else table
            for table in tables
        ]

    def with_threads(self, threads: int) -> GridFile:
        """Return the same grids with another number of CPU threads for each cell.

        Raises:
            UsageError: the number is less than 1.
        """
        grid = tuple(one.replaced(threads=threads) for one in self.grid)
        return self.model_copy(update={"threads": threads, "grid": grid})

    def cells(self, isolation: Isolation | None = None) -> list[Cell]:
        """Return all cells, each once.

        Args:
            isolation: how attacks are isolated; by default they run in this process.

        Raises:
            UsageError: an unknown name, parameter or cut, or a value out of range.
            PluginError: a plug-in cannot be loaded.
        """
        from splitsec.cells.resolve import resolve

        cells = [cell for request in self.grid for cell in resolve(request, isolation)]
        return list({cell.spec.model_dump_json(): cell for cell in cells}.values())


def load_grid(path: Path) -> GridFile:
    """Read a grid file.

    Raises:
        UsageError: the file is missing, is not TOML, or has unknown keys or values.
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


def _all_settings(shared: Sequence[str], own: object) -> object:
    """Return the file's settings followed by the table's, which win."""
    texts = setting_texts(own)
    return [*shared, *texts] if isinstance(texts, list | tuple) else own


def _sentence(error: ValidationError, values: Mapping[str, Any]) -> str:
    """Return the first error of a grid file as one sentence."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        inside = len(first["loc"]) > 1
        fields = (Request if inside else GridFile).model_fields
        return unknown_name(
            f"key of {where.rpartition('.')[0] or 'the file'}:", str(first["loc"][-1]), fields
        )
    if where == "grid":
        return f"grid: expected at least one [[grid]], found {len(values.get('grid', []))}"
    return f"{where}: {first['msg']} (got {first['input']!r})"
