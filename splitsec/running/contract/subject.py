"""The plug-in that is checked, what was seen of it, and the small cells that it is tried in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from splitsec.cells.cell import Cell
from splitsec.cells.configured import ConfiguredPlugin
from splitsec.cells.requests import make_request
from splitsec.cells.resolve import resolve
from splitsec.plugins.loading import summary_of
from splitsec.plugins.names import PLURALS
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.contract.report import Outcome
from splitsec.running.contract.surroundings import SurroundingsWatch
from splitsec.running.runs import run_cells

NO_CELL = Outcome("skipped", "it needs a cell that ran in one of the checks above")
"""Of a check whose cells could not be run, or were left out by ``--only``."""

SMALL = {
    "training.epochs": 1,
    "training.batch_size": 8,
    "counts.private": 32,
    "counts.public": 24,
    "counts.validation": 8,
    "counts.held_out": 8,
    "counts.victims": 8,
}
"""Settings of the cells that say whether something works, not how well."""


def small_cells(settings: dict[str, Any] | None = None, **request: Any) -> list[Cell]:
    """Return small cells, by default without attack or defense, on 16 px and one thread.

    Args:
        settings: beside :data:`SMALL`, such as ``{"training.epochs": 5}``.
        **request: other fields of :class:`splitsec.cells.requests.Request`.
    """
    asked: dict[str, Any] = {"attack": "none", "defense": "none", "size": 16, "threads": 1}
    asked["settings"] = {**SMALL, **(settings or {})}
    return resolve(make_request({**asked, **request}))


@dataclass
class Subject:
    """A plug-in under test.

    Attributes:
        configured: its class, watched, with its parameters.
        request: how it was asked for, parameters and all.
        folder: for records; nobody keeps it.
        watch: what was seen of it.
        tried: cells with their records that other checks look at again, by what they are for.
    """

    configured: ConfiguredPlugin
    request: str
    folder: Path
    watch: SurroundingsWatch
    tried: dict[str, tuple[Cell, Record]] = field(default_factory=dict)

    @property
    def cls(self) -> type[Any]:
        """The class."""
        return self.configured.plugin.cls

    def make(self) -> Any:
        """Return an object of the class, where parameters are all that it is made from."""
        return self.cls(self.configured.parameters)

    def resolve(self, settings: dict[str, Any] | None = None, **request: Any) -> list[Cell]:
        """Return small cells that use the plug-in; as :func:`small_cells`."""
        kind = self.configured.plugin.kind
        cells = small_cells(settings, **{**request, kind: self.request})
        watched: dict[str, Any] = {kind: self.configured}
        return [replace(cell, **watched) for cell in cells]

    def run(self, cells: list[Cell], store: str = "cells") -> list[Record]:
        """Run cells as ``splitsec eval`` does, and return their records in order."""
        by_spec = {
            record.spec.model_dump_json(): record
            for record in run_cells(cells, self.folder / store, Silent())
        }
        return [by_spec[cell.spec.model_dump_json()] for cell in cells]


class Check(NamedTuple):
    """A check: its name, and what looks at the plug-in."""

    name: str
    look: Callable[[Subject], Outcome]


def documented(subject: Subject) -> Outcome:
    """Check that the plug-in and its parameters say what they are."""
    cls, kind = subject.cls, subject.configured.plugin.kind
    if not (cls.__doc__ or "").strip():
        return Outcome("failed", f"class {cls.__name__} has no docstring; say what it does")
    fields = cls.Parameters.model_fields
    silent = [name for name, given in fields.items() if not given.description]
    if silent:
        return Outcome(
            "failed",
            f"parameter {', '.join(silent)} says nothing of itself; give it "
            "Field(default, description=...) with the unit and the paper's value",
        )
    due = [name for name, given in fields.items() if given.is_required()]
    if due:
        return Outcome(
            "failed", f"parameter {', '.join(due)} has no default; give each parameter one"
        )
    if not summary_of(Path(subject.configured.plugin.source)):
        return Outcome(
            "warning",
            f"the file has no docstring, so `splitsec list {PLURALS[kind]}` has nothing to show; "
            "begin it with method, paper and what deviates from it",
        )
    if not fields:
        return Outcome("ok", "it says what it is, and has no parameters")
    return Outcome("ok", f"it and its parameters say what they are: {', '.join(fields)}")


def left_alone(subject: Subject) -> Outcome:
    """Check that nothing which the process shares was changed, in any call so far."""
    changes = subject.watch.changes
    if changes:
        said = "; ".join(f"{what} in {method}()" for what, method in sorted(changes.items()))
        return Outcome(
            "failed",
            f"it changes what the whole process shares: {said}; draw from the generator that it "
            "is given, and put back what it sets",
        )
    calls = sum(subject.watch.calls.values())
    if not calls:
        return Outcome("skipped", "none of its methods were called")
    return Outcome("ok", f"global generators, threads, dtype, folder as before in {calls} calls")


def repeats(subject: Subject, purpose: str) -> Outcome:
    """Check that a cell which was run gives the same numbers when it is run again.

    Args:
        subject: the plug-in.
        purpose: under which the cell is found.
    """
    if purpose not in subject.tried:
        return NO_CELL
    cell, record = subject.tried[purpose]
    (again,) = subject.run([cell], "again")
    if again.numbers() != record.numbers():
        differ = [
            name for name, value in again.numbers().items() if record.numbers()[name] != value
        ]
        return Outcome(
            "failed",
            f"the same cell gave other numbers the second time ({', '.join(differ)}); draw random "
            "numbers from the generator that it is given, and keep nothing from run to run",
        )
    return Outcome("ok", "the same cell, run twice, gives the same numbers")
