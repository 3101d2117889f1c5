"""Turns cells into messages for other processes, and messages or records into cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import BaseModel, Field

from splitsec.cells.cell import Cell
from splitsec.cells.changes import with_changes
from splitsec.cells.configured import (
    ConfiguredPlugin,
    described,
    is_apart,
    isolations,
    with_parameters,
)
from splitsec.devices import CPU, Device
from splitsec.isolation import Isolation
from splitsec.isolation.unloaded import UNLOADED, Description, UnloadedRequest, describe
from splitsec.plugins.loading import load_plugin
from splitsec.plugins.names import KINDS, Kind
from splitsec.records.spec import CellSpec


class CellMessage(BaseModel):
    """A message that describes a cell to another process on this machine.

    Attributes:
        spec: its specification.
        plugins: kind to the plug-in's name or path, such as ``./mine.py:Mine``.
        isolation: how its attack is isolated.
        apart: how its clients are isolated.
        unloaded: descriptions of plug-ins that must not be loaded there, by kind.
        device: where its models and batches live there.
    """

    spec: CellSpec
    plugins: dict[Kind, str]
    isolation: Isolation | None
    apart: Isolation | None = None
    unloaded: dict[Kind, Description] = Field(default_factory=dict)
    device: Device = CPU

    @classmethod
    def of(cls, cell: Cell) -> CellMessage:
        """Return the message of a cell."""
        plugins = {one.plugin.kind: one.plugin.spec for one in cell.plugins}
        return cls(
            spec=cell.spec,
            plugins=plugins,
            isolation=cell.isolation,
            apart=cell.apart,
            unloaded=cell.descriptions,
            device=cell.device,
        )


def load_cell(sent: CellMessage) -> Cell:
    """Build a cell from its message; another process resolved it before.

    Args:
        sent: the message.

    Raises:
        PluginError: a plug-in cannot be loaded.
        UsageError: a plug-in no longer has such parameters.
    """

    def load(kind: Kind) -> ConfiguredPlugin:
        if kind in sent.unloaded:
            return described(sent.unloaded[kind], sent.spec.profile)
        plugin = load_plugin(kind, sent.plugins[kind])
        return with_parameters(plugin, sent.spec.parameters[kind], sent.spec.profile)

    attack, defense, target, data = map(load, KINDS)
    kept = sent.isolation, sent.apart
    return Cell(sent.spec, attack, defense, target, data, *kept, sent.device)


def build_again(
    spec: CellSpec, plugins: Mapping[Kind, str], isolation: Isolation | None = None
) -> Cell:
    """Build a cell from the specification of its record.

    Args:
        spec: the specification.
        plugins: kind to the plug-in's name or path on this machine.
        isolation: as for :func:`resolve`.

    Raises:
        PluginError: a plug-in cannot be loaded.
        UsageError: a plug-in no longer has such parameters.
    """
    kept, unloaded = isolations(plugins, isolation), {}
    for kind in UNLOADED:
        if isolation is not None and is_apart(kind, plugins[kind], isolation):
            request = UnloadedRequest(plugins[kind], [spec.parameters[kind]])
            (unloaded[kind],) = describe(kind, [request], spec.profile, isolation)
    cell = load_cell(
        CellMessage(
            spec=spec,
            plugins=dict(plugins),
            isolation=kept.attack,
            apart=kept.clients,
            unloaded=unloaded,
        )
    )
    # The record is somebody's; which of its values are not the defaults is seen here.
    return replace(cell, spec=with_changes(spec, cell.plugins))
