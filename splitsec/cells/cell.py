"""One cell of a grid: its specification, its plug-ins and the keys of its random numbers.

:mod:`.resolve` makes cells from a request; :mod:`.evaluation` runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from splitsec.cells import identity
from splitsec.cells.changes import with_changes
from splitsec.cells.configured import ConfiguredPlugin, isolations
from splitsec.devices import CPU, Device
from splitsec.errors import UsageError
from splitsec.isolation import Isolation
from splitsec.isolation.unloaded import Description, described_by
from splitsec.plugins.data_spec import DataSpec
from splitsec.plugins.names import Kind
from splitsec.plugins.target import SplitModel, Target, split_target
from splitsec.randomness import seeded_global_generator
from splitsec.records.spec import CellSpec
from splitsec.shapes import Shape

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Cell:
    """One cell of a grid, ready to run.

    Attributes:
        spec: everything that decides its numbers, except the hashes of code and images.
        attack: the loaded attack.
        defense: the loaded defense.
        target: the loaded target.
        data: the loaded source of the images.
        isolation: how its attack is isolated, or None if it runs in this process; not part of
            the cell's id.
        apart: how its clients are isolated, or None if they are in this process; not part of the
            cell's id.
        device: where its models and batches live; not part of the cell's id.
        member_of: specification of the ensemble's cell, if its attack is a member.
    """

    spec: CellSpec
    attack: ConfiguredPlugin
    defense: ConfiguredPlugin
    target: ConfiguredPlugin
    data: ConfiguredPlugin
    isolation: Isolation | None = None
    apart: Isolation | None = None
    device: Device = CPU
    member_of: CellSpec | None = None

    @cached_property
    def members(self) -> tuple[Cell, ...]:
        """For an ensemble, one cell per member, as if that were the attack; else empty."""
        return tuple(self._member(one) for one in self.attack.members)

    def _member(self, attack: ConfiguredPlugin) -> Cell:
        values = {
            "attack": attack.plugin.name,
            "parameters": {**self.spec.parameters, "attack": attack.values()},
        }
        spec = with_changes(self.spec.model_copy(update=values), (attack, *self.plugins[1:]))
        specs = {one.plugin.kind: one.plugin.spec for one in (attack, *self.plugins[1:])}
        isolation = isolations(specs, self.isolation).attack
        return replace(self, spec=spec, attack=attack, isolation=isolation, member_of=self.spec)

    @property
    def title(self) -> str:
        """A short name of the cell; that of a member begins with its ensemble."""
        if self.member_of is None:
            return self.spec.title()
        return f"{self.member_of.named('attack')}: {self.spec.title()}"

    @property
    def image(self) -> Shape:
        """Shape of one image."""
        return Shape(self.spec.channels, self.spec.size, self.spec.size)

    @property
    def plugins(
        self,
    ) -> tuple[ConfiguredPlugin, ConfiguredPlugin, ConfiguredPlugin, ConfiguredPlugin]:
        """Attack, defense, target and data."""
        return self.attack, self.defense, self.target, self.data

    @property
    def descriptions(self) -> dict[Kind, Description]:
        """Descriptions of its plug-ins that are not loaded in this process, by kind."""
        found = {one.plugin.kind: described_by(one.plugin) for one in self.plugins}
        return {kind: one for kind, one in found.items() if one is not None}

    def data_spec(self) -> DataSpec:
        """Return the part of the specification that decides the images.

        Raises:
            UsageError: the images are too small, or there are too few for the clients.
        """
        spec = self.spec
        for name, least in (("private", 2), ("held_out", 1), ("victims", 1)):
            count = getattr(spec, name)
            if count < least * spec.clients:
                raise UsageError(
                    f"{spec.clients} clients need {least * spec.clients} {name} images or more, "
                    f"and there are {count}; ask for fewer clients or --set counts.{name}"
                )
        return validated(
            DataSpec,
            {
                "name": spec.data,
                "plugin": None if self.data.plugin.spec == spec.data else self.data.plugin.spec,
                "parameters": spec.parameters["data"],
                "size": spec.size,
                "channels": spec.channels,
                "partition": spec.partition,
                "partition_commitment": spec.partition_commitment,
                "private": spec.private,
                "public": spec.public,
                "validation": spec.validation,
                "held_out": spec.held_out,
                "clients": spec.clients,
                "public_from": spec.public_from,
            },
        )

    def cell_id(self, data_sha256: str) -> str:
        """Return the hash of everything that decides the numbers.

        Args:
            data_sha256: hash of the decoded images and labels.
        """
        return identity.cell_id(self.identity(data_sha256))

    def identity(self, data_sha256: str) -> dict[str, Any]:
        """Return everything that decides the numbers, as JSON values.

        Args:
            data_sha256: hash of the decoded images and labels.
        """
        return identity.identity(self.spec, self.plugins, data_sha256)

    def session_key(self) -> str:
        """Return the hash of everything that decides the honest session."""
        return identity.session_key(self.spec, self.plugins)

    def client_key(self) -> dict[str, Any]:
        """Return the values that initialisation and batch order depend on."""
        return identity.client_key(self.spec, self.target)


def validated(cls: type[M], values: Mapping[str, Any]) -> M:
    """Build a specification, or raise a UsageError that names the invalid value."""
    try:
        return cls(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {first['msg']} (got {first['input']!r})") from None


def build_model(
    cell: Cell, target: Target[Any], outputs: int, stage: str = "initialisation"
) -> SplitModel:
    """Build a cell's split target on its device; each stage name gives its own initial weights.

    Weights are drawn on the CPU, so that a seed means the same on every device.

    Raises:
        UsageError: the target cannot be split at this cut.
        PluginError: the target raised, or did not return a split model.
    """
    with seeded_global_generator(stage, cell.client_key()):
        model = split_target(cell.target.label, target, cell.image, outputs, cell.spec.cut)
    return cell.device.put(model)
