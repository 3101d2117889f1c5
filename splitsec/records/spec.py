"""The specification of one cell: everything that was asked, with every parameter resolved."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from splitsec.escaping import one_line, short_name
from splitsec.training.settings import Training
from splitsec.versioned import VersionedModel

COUNTS = ("private", "public", "validation", "held_out", "victims")
"""Numbers of images that a request may set, as ``--set counts.private=200``."""


RECORDED = "recorded"
"""Name of the target, and of the data, of traffic that another framework recorded."""


class CellSpec(VersionedModel):
    """Everything that was asked of one cell, with every parameter resolved.

    Attributes:
        target: plain name of the target.
        cut: index of the client's last layer.
        data: name of the data set.
        size: height and width of the images, pixels.
        channels: 1 or 3.
        clients: number of clients.
        attack: plain name of the attack.
        defense: plain name of the defense.
        profile: the profile that gave the defaults.
        seed: seed of the initial weights, the batch order, the attack and the defense.
        partition: seed of the data's partition.
        partition_commitment: hash of the secret that the partition is derived from, if any; see
            :mod:`splitsec.data.secret`.
        public_from: population of the attacker's images: the private images' or a shifted one.
        private: number of images of all clients together.
        public: number of images of the attacker.
        validation: number of images that choose between attackers who see nothing.
        held_out: number of images that train nothing.
        victims: number of images that are attacked and scored, at most: so many of the clients'
            training images, and so many of the held-out ones.
        threads: CPU threads.
        precision: in which clients and an honest server compute; boards do not mix them.
        training: the clients' settings.
        parameters: from target, data, attack and defense to all their parameters.
        changed: from these, ``training`` and ``counts`` to the names of the settings that are not
            the defaults of the profile; None in a record that is older than this field. It
            follows from the rest, and is not part of the cell's id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    later: ClassVar[tuple[str, ...]] = ("partition_commitment", "changed", "precision")

    target: str
    cut: int
    data: str
    size: int = Field(ge=1)
    channels: Literal[1, 3] = 3
    clients: int = Field(default=1, ge=1)
    attack: str
    defense: str
    profile: str
    seed: int = Field(ge=0, lt=2**63)
    partition: int = Field(default=0, ge=0, lt=2**63)
    partition_commitment: str | None = None
    public_from: Literal["same", "shifted"] = "same"
    private: int = Field(ge=2)
    public: int = Field(ge=0)
    validation: int = Field(ge=1)
    held_out: int = Field(ge=2)
    victims: int = Field(ge=1)
    threads: int = Field(ge=1)
    precision: Literal["float32", "bf16"] = "float32"
    training: Training
    parameters: dict[str, dict[str, Any]]
    changed: dict[str, list[str]] | None = None

    @property
    def cut_name(self) -> str:
        """What the cut is called: its index, or the submodule of a whole network."""
        if self.target == RECORDED:
            return "as recorded"
        return str(self.parameters.get("target", {}).get("at") or self.cut)

    def named(self, kind: str) -> str:
        """Return a plug-in's name with the parameters that are not its defaults.

        Args:
            kind: attack, defense, target or data.

        Returns:
            Such as ``dcor:alpha=0.9``; of a path the last name alone.
        """
        given = self.parameters.get(kind, {})
        changed = {name: given.get(name) for name in (self.changed or {}).get(kind, ())}
        if kind == "target":
            changed.pop("at", None)  # which is the cut
        return with_values(getattr(self, kind), changed)

    def settings(self) -> list[str]:
        """Return the other settings that are not the defaults, such as ``training.epochs=5``."""
        changed = self.changed or {}
        training = self.training.model_dump()
        said = [
            f"training.{name}={training[name]}"
            for name in changed.get("training", ())
            if name in training
        ]
        said += [
            f"counts.{name}={getattr(self, name)}"
            for name in COUNTS
            if name in changed.get("counts", ())
        ]
        if self.clients > 1:
            said.append(f"clients={self.clients}")
        if self.precision != "float32":
            said.append(f"precision={self.precision}")
        if self.public_from != "same":
            said.append(f"public_from={self.public_from}")
        return said

    def title(self) -> str:
        """Return a short name that a person recognises the cell by; nothing unusual is left out."""
        return f"{self.title_of_seeds()}, seed {self.seed}"

    def title_of_seeds(self) -> str:
        """Return the name that it has together with the same cell under other seeds."""
        cell = (
            f"{self._shown('attack')} against {self._shown('defense')} on {self._shown('target')} "
            f"cut {short_name(self.cut_name)}, {self._shown('data')} {self.size} px"
        )
        return ", ".join([cell, *map(one_line, self.settings())])

    def brief(self) -> str:
        """Return a shorter name, for where several cells of a grid are shown side by side."""
        return (
            f"{self._shown('attack')} against {self._shown('defense')}, cut "
            f"{short_name(self.cut_name)}, seed {self.seed}"
        )

    def _shown(self, kind: str) -> str:
        return short_name(self.named(kind))


def with_values(name: str, values: Mapping[str, Any]) -> str:
    """Return a name and values, such as ``dcor:alpha=0.9``; see :func:`value_in_words`."""
    shown = ",".join(f"{one}={value_in_words(value)}" for one, value in values.items())
    return f"{name}:{shown}" if shown else name


def value_in_words(value: object) -> str:
    """Return a parameter's value in short: text as it is, the last name of a path, else JSON."""
    if isinstance(value, str):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return json.dumps(value)
