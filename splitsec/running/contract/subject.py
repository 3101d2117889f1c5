"""The plug-in under test, the record of its calls, and the small cells that test it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from splitsec.cells.cell import Cell
from splitsec.cells.configured import ConfiguredPlugin
from splitsec.cells.requests import make_request
from splitsec.cells.resolve import resolve
from splitsec.devices import CPU, Device
from splitsec.errors import NotApplicable
from splitsec.plugins.loading import summary_of
from splitsec.plugins.names import PLURALS
from splitsec.progress import Silent
from splitsec.records.record import Record
from splitsec.running.contract.report import Outcome
from splitsec.running.contract.surroundings import SurroundingsWatch
from splitsec.running.runs import run_cells

NO_CELL = Outcome("skipped", "it needs a cell that ran in one of the checks above")
"""Outcome of a check whose cells did not run or were left out by ``--only``."""

SMALL = {
    "training.epochs": 1,
    "training.batch_size": 8,
    "counts.private": 32,
    "counts.public": 24,
    "counts.validation": 8,
    "counts.held_out": 8,
    "counts.victims": 8,
}
"""Settings of cells that show whether something works, not how well."""


def small_cells(settings: dict[str, Any] | None = None, **request: Any) -> list[Cell]:
    """Return small cells, by default without attack or defense, at 16 px and on one thread.

    Args:
        settings: settings in addition to :data:`SMALL`, such as ``{"training.epochs": 5}``.
        **request: other fields of :class:`splitsec.cells.requests.Request`.
    """
    asked: dict[str, Any] = {"attack": "none", "defense": "none", "size": 16, "threads": 1}
    asked["settings"] = {**SMALL, **(settings or {})}
    return resolve(make_request({**asked, **request}))


@dataclass
class Subject:
    """A plug-in under test.

    Attributes:
        configured: its watched class and its parameters.
        request: its name or path, with parameters.
        folder: temporary folder for records.
        watch: what its calls did.
        device: where its cells run.
        tried: purpose to cells and their records, for later checks.
    """

    configured: ConfiguredPlugin
    request: str
    folder: Path
    watch: SurroundingsWatch
    device: Device = CPU
    tried: dict[str, tuple[Cell, Record]] = field(default_factory=dict)

    @property
    def cls(self) -> type[Any]:
        """The class."""
        return self.configured.plugin.cls

    def make(self) -> Any:
        """Return an object of a class that is made from parameters alone."""
        return self.cls(self.configured.parameters)

    def resolve(self, settings: dict[str, Any] | None = None, **request: Any) -> list[Cell]:
        """Return small cells that use the plug-in; arguments as for :func:`small_cells`."""
        kind = self.configured.plugin.kind
        cells = small_cells(settings, **{**request, kind: self.request})
        watched: dict[str, Any] = {kind: self.configured}
        return [replace(cell, device=self.device, **watched) for cell in cells]

    def run(self, cells: list[Cell], store: str = "cells") -> list[Record]:
        """Run cells as ``splitsec eval`` does, and return their records in order."""
        by_spec = {
            record.spec.model_dump_json(): record
            for record in run_cells(cells, self.folder / store, Silent())
        }
        return [by_spec[cell.spec.model_dump_json()] for cell in cells]

    def run_one(self, cells: list[Cell]) -> Record:
        """Run one cell, and return its record.

        Raises:
            NotApplicable: the cell was skipped; then the check is, too.
        """
        (record,) = self.run(cells)
        if record.status == "skipped":
            raise NotApplicable(str(record.reason))
        return record


class Check(NamedTuple):
    """A check.

    Attributes:
        name: its name.
        look: looks at a plug-in.
        seconds: how long it usually takes, measured with built-in plug-ins on two CPU cores.
    """

    name: str
    look: Callable[[Subject], Outcome]
    seconds: float = 0.1


def documented(subject: Subject) -> Outcome:
    """Check that the plug-in and its parameters are documented."""
    cls, kind = subject.cls, subject.configured.plugin.kind
    if not (cls.__doc__ or "").strip():
        return Outcome("failed", f"class {cls.__name__} has no docstring; say what it does")
    fields = cls.Parameters.model_fields
    silent = [name for name, given in fields.items() if not given.description]
    if silent:
        return Outcome(
            "failed",
            f"parameter {', '.join(silent)} has no description; give it "
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
            "begin it with the method, the paper and the deviations from it",
        )
    if not fields:
        return Outcome("ok", "it is documented and has no parameters")
    return Outcome("ok", f"it and its parameters are documented: {', '.join(fields)}")


def left_alone(subject: Subject) -> Outcome:
    """Check that no call so far changed the shared state of the process."""
    changes = subject.watch.changes
    if changes:
        said = "; ".join(f"{what} in {method}()" for what, method in sorted(changes.items()))
        return Outcome(
            "failed",
            f"it changes state that the whole process shares: {said}; draw from the generator "
            "that it receives, and restore what it sets",
        )
    calls = sum(subject.watch.calls.values())
    if not calls:
        return Outcome("skipped", "none of its methods were called")
    return Outcome("ok", f"{calls} calls left global generators, threads, dtype, folder unchanged")


def repeats(subject: Subject, purpose: str) -> Outcome:
    """Check that a cell gives the same numbers when it runs again.

    Args:
        subject: the plug-in.
        purpose: key of the cell in ``subject.tried``.
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
            "numbers from the generator that it receives, and keep nothing from run to run",
        )
    return Outcome("ok", "the same cell, run twice, gives the same numbers")
